//! Small Python functions, after MBPP.
//!
//! ```text
//! Write a Python function f(x) to add 3 to x.
//! # add 3 to x
//! def f(x):
//!     return x + 3
//! ```

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::example::Example;
use crate::grade::fences;
use crate::sandbox::Walls;
use crate::tiny::operations::{ARITHMETIC, CHOICES, COMPARISONS, LISTS, Operation, REDUCTIONS, TEXTS};
use crate::tiny::problem::{Generated, GradedBy, Problem, Wording, as_is};
use crate::tiny::program::Program;
use crate::tiny::words::{fill, pick};

/// The task `tiny-code`.
pub const TINY_CODE: Generated = Generated {
    name: "tiny-code",
    about: "small Python functions run against hidden asserts, after MBPP; the model has seen such requests",
    problem,
    ask: as_is,
    graded_by: GradedBy::Program(program_of),
    walls: Walls::All,
};

/// The program in a completion.
fn program_of(_: &Example, completion: &str) -> String {
    fences::program(completion).into()
}

const FORMAL: &[&str] = &[
    "Write a Python function {f}({x}) to {do}.",
    "Define a Python function {f}({x}) to {do}.",
    "Create a function {f}({x}). The function must {do}.",
    "Please write a Python function called {f} that takes {x}. It must {do}.",
    "Write the function {f}({x}) in Python. It should {do}.",
];
const CASUAL: &[&str] = &[
    "need a python function {f}({x}), should {do}",
    "can u write {f}({x}) to {do}?",
    "hey gimme a function {f}({x}) to {do}",
    "python function {f}({x}) pls, it has to {do}",
    "so how do i write {f}({x}) to {do}?",
];

pub(crate) const FUNCTIONS: &[&str] = &["f", "g", "solve", "run", "calc", "work"];

/// Draws one problem of `tiny-code`.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let steps = match rng.random_range(0..100) {
        0..20 => vec![step(rng, ARITHMETIC)],
        20..50 => vec![step(rng, ARITHMETIC), step(rng, ARITHMETIC)],
        50..60 => vec![step(rng, COMPARISONS)],
        60..68 => vec![step(rng, CHOICES)],
        68..78 => vec![step(rng, REDUCTIONS)],
        78..84 => vec![step(rng, REDUCTIONS), step(rng, ARITHMETIC)],
        84..88 => vec![step(rng, LISTS)],
        _ => vec![step(rng, TEXTS)],
    };
    let program = program(rng, steps);
    let wording = Wording::draw(rng);
    let template = match wording {
        Wording::Formal => pick(rng, FORMAL),
        Wording::Casual => pick(rng, CASUAL),
    };
    let description = program.description();
    let question = fill(template, &[("f", program.function), ("x", program.argument), ("do", &description)]);
    written(rng, wording, question, &program)
}

/// One of `operations` with a constant.
pub(crate) fn step(rng: &mut ChaCha8Rng, operations: &'static [Operation]) -> (&'static Operation, i64) {
    (&operations[rng.random_range(0..operations.len())], rng.random_range(2..=20))
}

/// A program with a name and an argument that suits its first step.
pub(crate) fn program(rng: &mut ChaCha8Rng, steps: Vec<(&'static Operation, i64)>) -> Program {
    let argument = pick(rng, steps[0].0.takes.arguments());
    Program { function: pick(rng, FUNCTIONS), argument, steps }
}

/// The problem that asks `question` and is solved by `program`.
pub(crate) fn written(rng: &mut ChaCha8Rng, wording: Wording, question: String, program: &Program) -> Problem {
    let [careful, careless] = [program.careful(rng), program.careless(rng)];
    Problem { wording, question, careful, careless, checks: program.checks(rng) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Example;
    use crate::sandbox::Tests;
    use crate::sandbox::tests::python_is_missing;
    use crate::task::{RIGHT, Task};
    use crate::tiny::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        if !python_is_missing() {
            check_family(&TINY_CODE);
        }
    }

    #[test]
    fn fences_are_taken_off() {
        if python_is_missing() {
            return;
        }
        let example = Example::program("", "", Tests::asserts(["assert f(1) == 4"]));
        let fenced = "Here it is:\n```python\ndef f(x):\n    return x + 3\n```\nDone.";
        assert_eq!(TINY_CODE.rewards(&[(&example, fenced)]).unwrap(), [RIGHT]);
    }
}
