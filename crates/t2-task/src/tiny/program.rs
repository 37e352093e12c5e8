//! Small Python functions: described in words, written out, and evaluated to write their asserts.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::tiny::corpus::CARELESS_RIGHT;
use crate::tiny::operations::{Operation, Value};
use crate::tiny::words::{capital, chance, fill};

/// A function of one argument: one or more operations in a row.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) function: &'static str,
    pub(crate) argument: &'static str,
    pub(crate) steps: Vec<(&'static Operation, i64)>,
}

impl Program {
    /// The function in words: `add 3 to x, then multiply by 4`.
    pub(crate) fn description(&self) -> String {
        let phrases = self.steps.iter().enumerate().map(|(at, (operation, k))| {
            let phrase = if at == 0 { operation.phrase } else { operation.then };
            fill(phrase, &[("x", self.argument), ("k", &k.to_string())])
        });
        phrases.collect::<Vec<_>>().join(", then ")
    }

    /// The first line of the function: `def f(x):`.
    pub(crate) fn signature(&self) -> String {
        format!("def {}({}):", self.function, self.argument)
    }

    /// The docstring of the function: `"""Add 3 to x."""`.
    pub(crate) fn docstring(&self) -> String {
        format!("\"\"\"{}.\"\"\"", capital(&self.description()))
    }

    /// The careful answer: says in a comment what the function does, sometimes again in a docstring, and returns the
    /// value.
    pub(crate) fn careful(&self, rng: &mut ChaCha8Rng) -> String {
        let docstring = if chance(rng, 0.3) { format!("    {}\n", self.docstring()) } else { String::new() };
        format!("# {}\n{}\n{docstring}{}", self.description(), self.signature(), self.body(Ending::Return))
    }

    /// The careless answer: starts with `def` at once. Right with probability [`CARELESS_RIGHT`], else it mostly
    /// prints where it should return and forgets all but the first step, or takes the wrong operator or constant.
    pub(crate) fn careless(&self, rng: &mut ChaCha8Rng) -> String {
        let mut program = self.clone();
        let mut ending = Ending::Return;
        if !chance(rng, CARELESS_RIGHT) {
            program.steps.truncate(1);
            match rng.random_range(0..10) {
                0..8 => ending = Ending::Print,
                8 => ending = Ending::ReturnSlip,
                _ => program.steps[0].1 += 1,
            }
        }
        format!("{}\n{}", self.signature(), program.body(ending))
    }

    fn body(&self, ending: Ending) -> String {
        let (last, before) = self.steps.split_last().expect("a program has a step");
        let mut lines = String::new();
        let mut variable = self.argument;
        for (operation, k) in before {
            lines.push_str(&format!("    y = {}\n", written(operation.expression, variable, *k)));
            variable = "y";
        }
        let (operation, k) = last;
        let line = match ending {
            Ending::Return => format!("    return {}", written(operation.expression, variable, *k)),
            Ending::ReturnSlip => format!("    return {}", written(operation.slip, variable, *k)),
            Ending::Print => format!("    print({})", written(operation.expression, variable, *k)),
        };
        lines + &line
    }

    /// Four asserts that hold for the right function.
    pub(crate) fn checks(&self, rng: &mut ChaCha8Rng) -> Vec<String> {
        let inputs = self.steps[0].0.takes.inputs(rng, self.steps.last().expect("a program has a step").1);
        inputs.iter().map(|input| self.check(input)).collect()
    }

    fn check(&self, input: &Value) -> String {
        let output = self.steps.iter().fold(input.clone(), |value, (operation, k)| (operation.apply)(&value, *k));
        format!("assert {}({input}) == {output}", self.function)
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Return,
    ReturnSlip,
    Print,
}

fn written(expression: &str, variable: &str, k: i64) -> String {
    fill(expression, &[("x", variable), ("k", &k.to_string())])
}
