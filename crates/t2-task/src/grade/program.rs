//! Answers that are programs: found in the text, run in the sandbox.

use super::{Grade, fences};
use crate::error::TaskError;
use crate::example::Example;
use crate::sandbox::{Outcome, Program, Sandbox};

/// The metric that a program is graded by, as the lm-evaluation-harness and evalplus call it.
const PASS_AT_1: &str = "pass@1,none";

/// Runs the program that `program_of` makes of each completion against the tests of its example.
pub(crate) fn grade(
    sandbox: &Sandbox,
    graded: &[(&Example, &str)],
    program_of: impl Fn(&Example, &str) -> String,
) -> Result<Vec<Grade>, TaskError> {
    let program = |(example, completion): &(&Example, &str)| Program {
        code: program_of(example, completion),
        tests: example.tests.clone().unwrap_or_default(),
    };
    let programs: Vec<Program> = graded.iter().map(program).collect();
    let outcomes = sandbox.run(&programs)?;
    let grade = |(Program { code, .. }, outcome): (Program, Outcome)| {
        let grade = Grade::new(Some(code), [(PASS_AT_1, outcome.is_passed())]);
        match outcome {
            Outcome::Passed => grade,
            Outcome::Failed { why } => Grade { why: Some(why), ..grade },
        }
    };
    Ok(programs.into_iter().zip(outcomes).map(grade).collect())
}

/// The program that `completion` holds. Where the question is a program that lacks its end, one without the function which
/// is asked for continues it, as a model does that only continues texts.
pub(crate) fn whole(example: &Example, completion: &str) -> String {
    let program = fences::program(completion);
    let asked = example.tests.as_ref().map_or(&[][..], |tests| &tests.entry_points);
    let defined = |source: &str| {
        let defines = |name: &String| source.lines().any(|line| line.trim_start().starts_with(&format!("def {name}(")));
        !asked.is_empty() && asked.iter().all(defines)
    };
    match defined(&example.question) && !defined(&program) {
        true => format!("{}{program}", example.question),
        false => program.into_owned(),
    }
}
