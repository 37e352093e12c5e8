//! Answers that are programs: found in the text, run in the sandbox.

use super::fences;
use crate::error::TaskError;
use crate::example::Example;
use crate::sandbox::{self, Program};
use crate::task::reward;

/// Runs every completion against the asserts of its example.
pub(crate) fn rewards(graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
    rewards_of(graded, |_, completion| fences::program(completion).into())
}

/// Runs the program that `program_of` makes of each completion against the asserts of its example.
pub(crate) fn rewards_of(
    graded: &[(&Example, &str)],
    program_of: impl Fn(&Example, &str) -> String,
) -> Result<Vec<f32>, TaskError> {
    let program = |(example, completion): &(&Example, &str)| Program {
        code: program_of(example, completion),
        checks: example.tests.iter().flat_map(|tests| [tests.prelude.clone(), tests.code.clone()]).collect(),
    };
    let programs: Vec<Program> = graded.iter().map(program).collect();
    Ok(sandbox::passed(&programs)?.into_iter().map(reward).collect())
}
