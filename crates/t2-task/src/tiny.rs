//! The generated tasks of the bundled model, and the text it is pretrained on.
//!
//! A problem is a pure function of a seed. The bundled model is pretrained on the train splits of `math`, `code` and
//! `reason` (see [`corpus`]); their `-hard` siblings ask for the same skills in sentences that the corpus never
//! contains.

pub mod classify;
pub mod code;
pub mod code_hard;
pub mod corpus;
pub mod math;
pub mod math_hard;
mod operations;
pub mod problem;
mod program;
pub mod reason;
pub mod reason_hard;
mod sums;
pub(crate) mod words;

use crate::task::Task;

/// The generated tasks, in the order in which help texts list them.
pub const TASKS: &[&dyn Task] = &[
    &math::TINY_MATH,
    &code::TINY_CODE,
    &reason::TINY_REASON,
    &math_hard::TINY_MATH_HARD,
    &code_hard::TINY_CODE_HARD,
    &reason_hard::TINY_REASON_HARD,
    &classify::TINY_CLASSIFY,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::split::Split;
    use crate::task::Task;

    #[test]
    fn every_task_loads_the_same_distinct_examples_twice() {
        for task in TASKS {
            for split in [Split::Train, Split::Valid, Split::Test] {
                let examples = task.load(split, 300).unwrap();
                assert_eq!(examples.len(), 300, "{} {split}", task.name());
                assert_eq!(examples, task.load(split, 300).unwrap(), "{} {split}", task.name());
                assert_eq!(examples[..40], task.load(split, 40).unwrap(), "{} {split}", task.name());
                let questions: HashSet<_> = examples.iter().map(|e| &e.question).collect();
                assert_eq!(questions.len(), examples.len(), "{} {split} repeats a question", task.name());
            }
        }
    }

    #[test]
    fn splits_are_disjoint() {
        for task in TASKS {
            let [train, valid, test] = [Split::Train, Split::Valid, Split::Test].map(|split| {
                let examples = task.load(split, 2000).unwrap();
                examples.into_iter().map(|e| e.question).collect::<HashSet<_>>()
            });
            assert!(
                train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test),
                "{}",
                task.name()
            );
        }
    }

    #[test]
    fn every_task_has_three_thousand_test_questions() {
        for task in TASKS {
            let found = task.load(Split::Test, 3000).unwrap().len();
            assert_eq!(found, 3000, "{}", task.name());
        }
    }
}
