//! Who grades the answers to a data set, by the name that its description gives.

use crate::error::TaskError;
use crate::example::Example;
use crate::grade::{self, FINAL, GRADERS, Grade, Grader, LIKELIHOOD, PROGRAM, program, wanted};
use crate::sandbox::{self, Walls};

/// Who grades an answer. One to an example with tests is graded by running them, whoever else grades.
#[derive(Clone, Copy, Debug)]
pub(super) enum GradedBy {
    /// A function of the text.
    Text(&'static Grader),
    /// The sandbox alone.
    Program,
}

impl GradedBy {
    pub(super) fn find(name: &str) -> Result<Self, String> {
        if name == PROGRAM.name {
            return Ok(Self::Program);
        }
        grade::grader(name).map(Self::Text).ok_or_else(|| {
            let known = GRADERS.iter().map(|grader| grader.info.name).chain([PROGRAM.name]);
            format!("there is no grader `{name}`; use one of {}", known.collect::<Vec<_>>().join(", "))
        })
    }

    /// The name and the version, `gsm8k@1`; of choices that are weighed those of that grader; where examples may have
    /// tests beside a grader of text, those of both.
    pub(super) fn versioned(self, is_weighed: bool, may_have_tests: bool) -> String {
        match self {
            _ if is_weighed => LIKELIHOOD.to_string(),
            Self::Text(grader) if may_have_tests => format!("{}+{PROGRAM}", grader.info),
            Self::Text(grader) => grader.info.to_string(),
            Self::Program => PROGRAM.to_string(),
        }
    }

    /// Whether a right answer is there to compare with.
    pub(super) fn takes(self, example: &Example) -> Result<(), String> {
        match self {
            Self::Program if example.tests.is_none() => {
                Err("there are no tests to run; expected a key `tests.code` that gives some".into())
            }
            Self::Text(grader)
                if grader.info == FINAL && example.tests.is_none() && wanted(&example.reference).is_empty() =>
            {
                Err(format!(
                    "the final answer of `{}` is empty; expected one behind `####`, in `\\boxed{{}}`, or alone",
                    example.reference
                ))
            }
            _ => Ok(()),
        }
    }

    /// What is said of each completion.
    pub(super) fn grade(self, walls: Walls, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        let has_tests = |example: &Example| example.tests.is_some() || matches!(self, Self::Program);
        let programs: Vec<_> = graded.iter().copied().filter(|(example, _)| has_tests(example)).collect();
        let mut run = program::grade(sandbox::shared(walls), &programs, program::whole)?.into_iter();
        let grades = graded.iter().map(|(example, completion)| match self {
            Self::Text(grader) if !has_tests(example) => grader.grade(&example.reference, &example.choices, completion),
            _ => run.next().expect("every program got a grade"),
        });
        Ok(grades.collect())
    }
}
