//! A task in one file, and answers to it that are graded: the recipe of `docs/recipes.md`.
//!
//! `cargo run --package t2-task --example new_task`

use t2_task::grade::{final_answer, same_final_answer};
use t2_task::{Example, Split, Task, TaskError, reward};

/// Adding two numbers.
///
/// ```text
/// How many are 12 and 30?
/// 12 + 30 = 42. #### 42
/// ```
pub struct Adding;

/// Both numbers are below this one.
const BELOW: usize = 300;
/// Pairs of numbers.
const PAIRS: usize = BELOW * BELOW;
/// A step without a common factor with [`PAIRS`] visits every pair once, in no obvious order.
const STEP: usize = 7919;

impl Task for Adding {
    fn name(&self) -> &str {
        "adding"
    }

    fn about(&self) -> &str {
        "sums of two numbers below 300"
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        let pairs = (0..PAIRS).map(|n| n * STEP % PAIRS).map(|at| (at / BELOW, at % BELOW));
        let examples = pairs.map(|(a, b)| {
            Example::new(format!("How many are {a} and {b}?"), format!("{a} + {b} = {c}. #### {c}", c = a + b))
        });
        Ok(examples.filter(|example| split.holds(&example.question)).take(limit).collect())
    }

    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        final_answer(&example.reference, completion)
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        let is_right = |(example, completion): &(&Example, &str)| same_final_answer(&example.reference, completion);
        Ok(graded.iter().map(is_right).map(reward).collect())
    }
}

fn main() -> Result<(), TaskError> {
    let examples = Adding.load(Split::Test, 2)?;
    let graded = [(&examples[0], examples[0].reference.as_str()), (&examples[1], "many")];
    assert_eq!(Adding.rewards(&graded)?, [t2_task::RIGHT, t2_task::WRONG]);
    let sum = Adding.extract(&examples[0], &examples[0].reference);
    assert!(sum.is_some_and(|sum| examples[0].reference.ends_with(&sum)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use t2_task::tiny::corpus;

    use super::*;

    #[test]
    fn the_recipe_runs() {
        main().unwrap();
    }

    #[test]
    fn the_recipe_is_this_file() {
        let here = include_str!("new_task.rs");
        let (task, _) = here.split_once("\nfn main").unwrap();
        let (_, task) = task.split_once("\n\n").unwrap();
        assert!(include_str!("../../../docs/recipes.md").contains(task), "docs/recipes.md shows another task");
    }

    #[test]
    fn the_tests_of_the_registry_would_pass() {
        let questions = |split| -> HashSet<String> {
            let examples = Adding.load(split, 3000).unwrap().into_iter();
            examples.map(|example| example.question).collect()
        };
        let [train, valid, test] = [Split::Train, Split::Valid, Split::Test].map(questions);
        assert_eq!([train.len(), valid.len(), test.len()], [3000; 3]);
        assert!(train.is_disjoint(&test) && train.is_disjoint(&valid) && valid.is_disjoint(&test));

        let words = |text: &str| -> HashSet<String> {
            let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect()
        };
        let documents = corpus::documents(0).skip(corpus::RECITALS_FIRST);
        let turns = documents.take(2000).flat_map(|document| document.turns);
        let known: HashSet<String> = turns.flat_map(|turn| words(&turn.content)).collect();
        assert!(test.iter().all(|question| words(question).is_subset(&known)));
    }
}
