//! More facts, closer distractors and new sentence shapes, after ARC-Challenge.
//!
//! ```text
//! One of these is right for dog. Which one? Colors: cat red, dog blue, bird green, cow pink.
//! Choices: green, blue, pink, red
//! ```

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::sandbox::Walls;
use crate::tiny::problem::{Generated, GradedBy, Problem, Wording, as_is};
use crate::tiny::reason::{Choices, Facts, Sought, is_right};
use crate::tiny::words::{fill, pick};

/// The task `tiny-reason-hard`.
pub const TINY_REASON_HARD: Generated = Generated {
    name: "tiny-reason-hard",
    about: "multiple-choice questions about 4 to 5 facts in shapes the model has never seen, after ARC-Challenge",
    problem,
    ask: as_is,
    graded_by: GradedBy::Text(is_right),
    walls: Walls::All,
};

/// `{c}` is the half of a fact that is given; the other half is sought.
const FORMAL: &[&str] = &[
    "Read this: {facts}\nWhich of these goes with {c}?",
    "One of these is right for {c}. Which one? {facts}",
    "What do you know of {c}? {facts}",
    "Find the one that goes with {c}. {facts}",
    "Here is what we know. {facts}\nNow choose what is right for {c}.",
];
const CASUAL: &[&str] = &[
    "ok read this, {facts}\nso which of these goes with {c}?",
    "one of these is right for {c}, which one? {facts}",
    "so what do u know of {c}? {facts}",
    "find the one that goes with {c} pls, {facts}",
    "so here is what we know, {facts}\nnow choose what is right for {c}",
];

/// Draws one problem of `tiny-reason-hard`.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let count = rng.random_range(4..=5);
    let (facts, sought) = (Facts::draw(rng, count), Sought::draw(rng));
    let wording = Wording::draw(rng);
    let target = rng.random_range(0..count);
    let (subject, value) = facts.pairs[target];
    let clue = if sought == Sought::Value { subject } else { value };
    let told = facts.all_told(wording);
    let question = match wording {
        Wording::Formal => fill(pick(rng, FORMAL), &[("facts", &told), ("c", clue)]),
        Wording::Casual => fill(pick(rng, CASUAL), &[("facts", &told), ("c", clue)]).to_lowercase(),
    };
    let told = facts.pairs.iter().map(|pair| sought.of(*pair));
    let choices = Choices::of(rng, sought.of(facts.pairs[target]), told, 4);
    choices.problem(rng, wording, &question, &facts.told(wording, &[(target, sought)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        check_family(&TINY_REASON_HARD);
    }
}
