//! A generated problem, and the task that is a stream of them.

use std::collections::HashSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::TaskError;
use crate::example::Example;
use crate::grade::{Grade, GraderInfo, PROGRAM, program};
use crate::sandbox::{self, Tests, Walls};
use crate::split::Split;
use crate::task::Task;

/// How many seeds a task draws its problems from. Large enough for 3000 distinct test questions in every family.
const SEEDS: u64 = 60_000;

/// The metric of families that are graded as text.
const EXACT_MATCH: &str = "exact_match";

/// What grades families that are graded as text.
const TINY: GraderInfo =
    GraderInfo { name: "tiny", version: 1, about: "a number, a letter or a word, as the generated family asks for it" };

/// One problem with the answers of two voices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How the question is put.
    pub wording: Wording,
    /// What is asked.
    pub question: String,
    /// The answer of a careful author: shows the work and is right.
    pub careful: String,
    /// The answer of a careless author: skips the work and is usually wrong. Differs from the careful one from the
    /// first word on.
    pub careless: String,
    /// Hidden Python asserts, for programs.
    pub checks: Vec<String>,
}

impl Problem {
    /// The problem as an example, with the careful answer.
    pub(crate) fn example(self) -> Example {
        let tests = (!self.checks.is_empty()).then(|| Tests::asserts(self.checks));
        Example { tests, ..Example::new(self.question, self.careful) }
    }
}

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// `Tom has 4 apples. He buys 3 more. How many apples does Tom have?`
    Formal,
    /// `so tom got 4 apples, then buys 3 more, how many apples now?`
    Casual,
}

impl Wording {
    /// Draws either wording with the same probability.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        if rng.random_bool(0.5) { Wording::Formal } else { Wording::Casual }
    }
}

/// How completions of a generated task are graded.
#[derive(Clone, Copy)]
pub enum GradedBy {
    /// Whether a completion is right, as text.
    Text(fn(&Example, &str) -> bool),
    /// The program that a completion gives, which is run against the tests of its example.
    Program(fn(&Example, &str) -> String),
}

/// A task whose problems are generated.
#[derive(Clone, Copy)]
pub struct Generated {
    /// The name on the command line.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
    /// Draws one problem.
    pub problem: fn(&mut ChaCha8Rng) -> Problem,
    /// Makes what the model is asked from the question of a problem. The split is decided by the question alone, so
    /// that a problem held out from one task is held out from every other task that shows it.
    pub ask: fn(&str) -> String,
    /// What grades completions.
    pub graded_by: GradedBy,
    /// What stands between programs and the machine.
    pub walls: Walls,
}

impl Task for Generated {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> &str {
        self.about
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        let mut seen = HashSet::new();
        let examples = (0..SEEDS)
            .map(|seed| (seed, (self.problem)(&mut ChaCha8Rng::seed_from_u64(seed))))
            .filter(|(_, problem)| split.holds(&problem.question))
            .filter(|(_, problem)| seen.insert(problem.question.clone()))
            .map(|(seed, problem)| {
                let question = (self.ask)(&problem.question);
                Example { id: seed.to_string(), question, ..problem.example() }
            });
        Ok(examples.take(limit).collect())
    }

    fn within(&self, walls: Walls) -> Option<Box<dyn Task>> {
        Some(Box::new(Self { walls, ..*self }))
    }

    fn grader(&self) -> String {
        match self.graded_by {
            GradedBy::Text(_) => TINY.to_string(),
            GradedBy::Program(_) => PROGRAM.to_string(),
        }
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok(self.grade(graded)?.iter().map(|grade| grade.reward).collect())
    }

    fn grade(&self, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        match self.graded_by {
            GradedBy::Text(is_right) => {
                let grade = |(example, completion): &(&Example, &str)| {
                    Grade::new(None, [(EXACT_MATCH, is_right(example, completion))])
                };
                Ok(graded.iter().map(grade).collect())
            }
            GradedBy::Program(program_of) => program::grade(sandbox::shared(self.walls), graded, program_of),
        }
    }
}

/// Puts nothing around a question.
pub fn as_is(question: &str) -> String {
    question.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Asserts what every family promises: careful answers are right, careless ones mostly are not, and the two
    /// differ from the first word on; both wordings are common; documents are short.
    #[track_caller]
    pub(crate) fn check_family(task: &Generated) {
        let problems: Vec<_> = (0..500).map(|seed| (task.problem)(&mut ChaCha8Rng::seed_from_u64(seed))).collect();
        let examples: Vec<_> = problems.iter().map(|problem| problem.clone().example()).collect();
        let share_right = |answers: Vec<&str>| {
            let graded: Vec<_> = examples.iter().zip(answers).collect();
            let rewards = task.rewards(&graded).expect("graded");
            rewards.iter().filter(|r| **r == crate::task::RIGHT).count() as f32 / rewards.len() as f32
        };
        assert_eq!(share_right(problems.iter().map(|p| p.careful.as_str()).collect()), 1.0, "careful, {}", task.name);
        let careless = share_right(problems.iter().map(|p| p.careless.as_str()).collect());
        assert!((0.05..0.30).contains(&careless), "careless {careless}, {}", task.name);
        let formal = problems.iter().filter(|p| p.wording == Wording::Formal).count();
        assert!((200..300).contains(&formal), "{formal} formal, {}", task.name);
        for p in &problems {
            assert!(p.question.len() + p.careful.len() < 420, "too long for 192 tokens: {p:#?}");
            assert_ne!(p.careful.split(' ').next(), p.careless.split(' ').next(), "{p:#?}");
        }
    }
}
