//! Graders by name, as a description of a data set names them.

use crate::error::TaskError;
use crate::example::Example;
use crate::grade::{Grade, fences, final_answer, program, same_final_answer};
use crate::sandbox::{self, Walls};

/// Who grades an answer. An example with tests is graded by running them, whoever the grader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grader {
    /// The number, letter or text that an answer arrives at.
    Final,
    Gsm8k,
    Math,
    Choice,
    Exact,
    YesNo,
    /// A program, run against its tests.
    Program,
    /// The first word.
    Topic,
}

const GRADERS: [(&str, Grader); 8] = [
    ("final", Grader::Final),
    ("gsm8k", Grader::Gsm8k),
    ("math", Grader::Math),
    ("choice", Grader::Choice),
    ("exact", Grader::Exact),
    ("yes-no", Grader::YesNo),
    ("program", Grader::Program),
    ("topic", Grader::Topic),
];

impl Grader {
    pub(crate) fn find(name: &str) -> Option<Self> {
        GRADERS.iter().find(|(known, _)| *known == name).map(|(_, grader)| *grader)
    }

    pub(crate) fn names() -> Vec<&'static str> {
        GRADERS.iter().map(|(name, _)| *name).collect()
    }

    /// The name and the version, `gsm8k@1`.
    pub(crate) fn versioned(self) -> String {
        let name = GRADERS.iter().find(|(_, grader)| *grader == self).map_or("own", |(name, _)| *name);
        format!("{name}@1")
    }

    /// What the grader says of each completion.
    pub(crate) fn grade(self, walls: Walls, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        let programs: Vec<_> = graded.iter().copied().filter(|(example, _)| example.tests.is_some()).collect();
        let mut run = program::grade(sandbox::shared(walls), &programs, whole_program)?.into_iter();
        let grades = graded.iter().map(|(example, completion)| match example.tests.is_some() {
            true => run.next().expect("every program got a grade"),
            false => self.grade_text(example, completion),
        });
        Ok(grades.collect())
    }

    fn grade_text(self, example: &Example, completion: &str) -> Grade {
        let extracted = match self {
            Self::Topic => first_word(completion).map(Into::into),
            _ => final_answer(&example.reference, completion),
        };
        Grade::new(vec![("exact_match,none", self.is_right(&example.reference, completion))], extracted)
    }

    fn is_right(self, reference: &str, completion: &str) -> bool {
        match self {
            Self::Topic => first_word(completion).is_some_and(|word| word.eq_ignore_ascii_case(reference)),
            _ => same_final_answer(reference, completion),
        }
    }
}

/// The program that `completion` holds. One that lacks the function which is asked for continues the question, as a model
/// does that only continues texts.
fn whole_program(example: &Example, completion: &str) -> String {
    let program = fences::program(completion);
    let asked = example.tests.as_ref().map_or(&[][..], |tests| &tests.entry_points);
    let defines = |name: &String| program.lines().any(|line| line.trim_start().starts_with(&format!("def {name}")));
    match asked.iter().all(defines) {
        true => program.into_owned(),
        false => format!("{}{program}", example.question),
    }
}

fn first_word(completion: &str) -> Option<&str> {
    let word = completion.split_whitespace().next()?.trim_matches(|c: char| !c.is_alphanumeric());
    (!word.is_empty()).then_some(word)
}
