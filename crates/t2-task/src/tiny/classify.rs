//! Naming the topic of a prompt: the task of the expert that the first pass asks.
//!
//! ```text
//! Which topic is this: math, code, reason, other?
//! Tom has 4 apples. He buys 3 more. How many apples does Tom have?
//! math
//! ```

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use t2_chat::topic_question;

use crate::example::Example;
use crate::grade::topic;
use crate::sandbox::Walls;
use crate::tiny::corpus::story;
use crate::tiny::problem::{Generated, GradedBy, Problem};
use crate::tiny::{code, math, reason};

/// The topics that have an expert, sorted as a pool of experts is; a prompt about anything else is `other`.
pub const TOPICS: &[&str] = &["code", "math", "reason"];

/// The task `tiny-classify`.
pub const TINY_CLASSIFY: Generated = Generated {
    name: "tiny-classify",
    about: "name the topic of a prompt: math, code, reason or other",
    problem,
    ask,
    graded_by: GradedBy::Text(is_right),
    walls: Walls::All,
};

/// Draws a prompt; the careful answer is its topic, the careless one is `other` whatever it is.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let (topic, drawn) = match rng.random_range(0..100) {
        0..15 => ("other", story::problem(rng)),
        15..43 => ("math", math::problem(rng)),
        43..71 => ("code", code::problem(rng)),
        _ => ("reason", reason::problem(rng)),
    };
    Problem { careful: topic.into(), careless: "other".into(), checks: Vec::new(), ..drawn }
}

/// The question for the topic of `prompt`, as the first pass asks it.
pub(crate) fn ask(prompt: &str) -> String {
    topic_question(TOPICS, prompt)
}

/// An answer is right when its first word is the topic.
fn is_right(example: &Example, completion: &str) -> bool {
    topic(&example.reference, completion).is_right()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;
    use crate::task::{RIGHT, Task, WRONG};

    #[test]
    fn labels_fit_the_prompts() {
        let examples = TINY_CLASSIFY.load(Split::Train, 2000).unwrap();
        let share = |label: &str| examples.iter().filter(|e| e.reference == label).count() as f32 / 2000.0;
        for (label, low, high) in
            [("math", 0.25, 0.33), ("code", 0.22, 0.33), ("reason", 0.25, 0.34), ("other", 0.10, 0.19)]
        {
            assert!((low..high).contains(&share(label)), "{label}: {}", share(label));
        }
        for example in &examples {
            let prompt = example.question.split_once('\n').unwrap().1;
            let label = match prompt.to_lowercase() {
                p if p.contains("\nchoices: ") || p.contains("\npick one: ") => "reason",
                p if p.contains("how many") => "math",
                p if p.contains('(') || p.contains("function") => "code",
                _ => "other",
            };
            assert_eq!(example.reference, label, "{prompt}");
        }
    }

    #[test]
    fn the_first_word_counts() {
        let example = Example::new("", "math");
        for (completion, reward) in [
            ("math", RIGHT),
            (" Math.\n", RIGHT),
            ("math or code", RIGHT),
            ("code", WRONG),
            ("it is math", WRONG),
            ("mathematics", WRONG),
            ("", WRONG),
        ] {
            assert_eq!(is_right(&example, completion), reward == RIGHT, "{completion:?}");
        }
    }
}
