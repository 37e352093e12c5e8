//! Functions to complete from signature and docstring, and longer ones than pretraining shows, after `HumanEval`.
//!
//! ```text
//! Complete this function.
//! def f(x):
//!     """Add 3 to x."""
//! ```

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::example::Example;
use crate::grade::fences;
use crate::grade::program::indented;
use crate::sandbox::Walls;
use crate::tiny::code::{program, step, written};
use crate::tiny::operations::{ARITHMETIC, CHOICES, COMPARISONS, REDUCTIONS, TEXTS};
use crate::tiny::problem::{Generated, GradedBy, Problem, Wording, as_is};
use crate::tiny::words::pick;

/// The task `tiny-code-hard`.
pub const TINY_CODE_HARD: Generated = Generated {
    name: "tiny-code-hard",
    about: "Python functions to complete from a docstring, in shapes the model has never seen, after HumanEval",
    problem,
    ask: as_is,
    graded_by: GradedBy::Program(program_of),
    walls: Walls::All,
};

const FORMAL: &[&str] = &[
    "Complete this Python function.",
    "Write the rest of the function.",
    "Here is a Python function that is not done. Please write all of it.",
    "The body of this function is missing. Write the function.",
    "Please complete the Python function below.",
];
const CASUAL: &[&str] = &[
    "can u complete this?",
    "hey pls write the rest of this function",
    "so how do i write the rest of this?",
    "need the rest of this python function",
    "this one is not done, gimme all of it pls",
];

/// Draws one problem of `tiny-code-hard`.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let steps = match rng.random_range(0..100) {
        0..20 => vec![step(rng, ARITHMETIC)],
        20..40 => vec![step(rng, ARITHMETIC), step(rng, ARITHMETIC)],
        40..48 => vec![step(rng, CHOICES)],
        48..56 => vec![step(rng, REDUCTIONS)],
        56..62 => vec![step(rng, TEXTS)],
        62..75 => vec![step(rng, ARITHMETIC), step(rng, COMPARISONS)],
        75..85 => vec![step(rng, REDUCTIONS), step(rng, COMPARISONS)],
        _ => vec![step(rng, ARITHMETIC), step(rng, ARITHMETIC), step(rng, ARITHMETIC)],
    };
    let program = program(rng, steps);
    let wording = Wording::draw(rng);
    let request = match wording {
        Wording::Formal => pick(rng, FORMAL),
        Wording::Casual => pick(rng, CASUAL),
    };
    let question = format!("{request}\n{}\n    {}", program.signature(), program.docstring());
    written(rng, wording, question, &program)
}

/// The program in a completion. One without a `def` is taken as the body of the function in the question.
fn program_of(example: &Example, completion: &str) -> String {
    let code = fences::program(completion);
    if code.contains("def ") {
        return code.into();
    }
    let head = example.question.find("def ").map_or("", |at| &example.question[at..]);
    format!("{head}\n{}", indented(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Tests;
    use crate::sandbox::tests::python_is_missing;
    use crate::task::{RIGHT, Task, WRONG};
    use crate::tiny::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        if !python_is_missing() {
            check_family(&TINY_CODE_HARD);
        }
    }

    #[test]
    fn bodies_and_whole_functions_are_graded() {
        if python_is_missing() {
            return;
        }
        let question = "Complete this Python function.\ndef f(x):\n    \"\"\"Add 3 to x.\"\"\"";
        let example = Example::program(question, "", Tests::asserts(["assert f(1) == 4"]));
        for (completion, reward) in [
            ("return x + 3", RIGHT),
            ("    return x + 3", RIGHT),
            ("\n    return x + 3\n", RIGHT),
            ("y = x\nreturn y + 3", RIGHT),
            ("# add 3 to x\ndef f(x):\n    return x + 3", RIGHT),
            ("```python\nreturn x + 3\n```", RIGHT),
            ("return x - 3", WRONG),
            ("def g(x):\n    return x + 3", WRONG),
            ("", WRONG),
        ] {
            assert_eq!(TINY_CODE_HARD.rewards(&[(&example, completion)]).unwrap(), [reward], "{completion:?}");
        }
    }
}
