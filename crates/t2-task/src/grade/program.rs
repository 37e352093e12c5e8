//! Answers that are programs, run in the sandbox.

use super::Grade;
use crate::error::TaskError;
use crate::example::Example;
use crate::sandbox::{Outcome, Program, Sandbox};

/// The metric that a program is graded by, as the lm-evaluation-harness and evalplus call it.
pub(crate) const PASS_AT_1: &str = "pass@1,none";

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
        let grade = Grade::new(vec![(PASS_AT_1, outcome.is_passed())], Some(code));
        match outcome {
            Outcome::Passed => grade,
            Outcome::Failed { why } => Grade { why: Some(why), ..grade },
        }
    };
    Ok(programs.into_iter().zip(outcomes).map(grade).collect())
}
