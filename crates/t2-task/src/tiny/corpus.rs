//! The text that the bundled model is pretrained on: written by careful and careless voices alike, as web text is.
//!
//! Careful authors mostly phrase formally and show their work; careless ones phrase casually, skip the work and are
//! usually wrong. A model of this text knows how to solve a problem but, asked casually, mostly doesn't bother: right
//! on about half of the questions. Reinforcement learning can raise that by bringing out the careful voice, a change
//! small enough for a vector of singular values.
//!
//! The first documents are lists said again: nothing but looking up. A small model that meets them first has learned to
//! look things up when the problems about facts begin; among other text, lookups are too rare for it to find out.
//!
//! Only problems of the train splits appear, and nothing of the `-hard` tasks.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_chat::Message;

use crate::split::Split;
use crate::tiny::problem::{Problem, Wording, as_is};
use crate::tiny::words::chance;
use crate::tiny::{classify, code, math, reason};

pub mod recital;
pub mod story;

/// How often a formal question gets a careful answer.
pub const CAREFUL_WHEN_FORMAL: f64 = 0.75;
/// How often a casual question gets a careful answer.
pub const CAREFUL_WHEN_CASUAL: f64 = 0.25;
/// How often a careless answer is right.
pub const CARELESS_RIGHT: f64 = 0.15;
/// How many documents, from the first on, are recitals of sequences.
const SEQUENCES_FIRST: usize = 14_000;
/// How many documents, from the first on, are recitals and nothing else: of sequences, then of pairs.
pub const RECITALS_FIRST: usize = 36_000;
/// After the first recitals, the share of documents that are recitals of facts starts at a half and falls by so much
/// with each document that it would reach nothing after this many.
const RECITALS_FADE: f64 = 40_000.0;
/// The share of recitals of facts does not fall below this.
const RECITALS_LAST: f64 = 0.08;

/// One text of the corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// A question of the user and the answer of the assistant; of prose, one turn of the assistant.
    pub turns: Vec<Message>,
    /// Whether the turns before the last are drawn at random, so that predicting them teaches nothing.
    pub random_question: bool,
}

/// The documents of the corpus, without end. Document `i` is a function of `seed` and `i`.
///
/// ```
/// let documents: Vec<_> = t2_task::tiny::corpus::documents(0).take(2).collect();
/// assert_eq!(documents, t2_task::tiny::corpus::documents(0).take(2).collect::<Vec<_>>());
/// ```
pub fn documents(seed: u64) -> impl Iterator<Item = Document> {
    (0..).map(move |stream| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let recital = match stream.checked_sub(RECITALS_FIRST as u64) {
            None if stream < SEQUENCES_FIRST as u64 => Some(recital::sequence(&mut rng)),
            None => Some(recital::pairs(&mut rng)),
            Some(at) => chance(&mut rng, recital_share(at)).then(|| recital::facts(&mut rng)),
        };
        match recital {
            Some([once, again]) => {
                Document { turns: vec![Message::user(once), Message::assistant(again)], random_question: true }
            }
            None => Kind::draw(&mut rng).document(&mut rng),
        }
    })
}

/// The probability that the document `at` places after the first recitals is a recital of facts.
fn recital_share(at: u64) -> f64 {
    (0.5 * (1.0 - at as f64 / RECITALS_FADE)).max(RECITALS_LAST)
}

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Math,
    Code,
    Reason,
    Topic,
    Talk,
    Prose,
}

impl Kind {
    /// Shares of the kinds among the documents that are no recitals, in percent.
    const SHARES: [(Kind, u32); 6] =
        [(Kind::Math, 31), (Kind::Code, 17), (Kind::Reason, 30), (Kind::Topic, 12), (Kind::Talk, 5), (Kind::Prose, 5)];

    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut left = rng.random_range(0..100);
        for (kind, share) in Self::SHARES {
            if left < share {
                return kind;
            }
            left -= share;
        }
        unreachable!("the shares add up to 100")
    }

    fn document(self, rng: &mut ChaCha8Rng) -> Document {
        let turns = match self {
            Kind::Math => answered(rng, math::problem, as_is),
            Kind::Code => answered(rng, code::problem, as_is),
            Kind::Reason => answered(rng, reason::problem, as_is),
            Kind::Topic => answered(rng, classify::problem, classify::ask),
            Kind::Talk => answered(rng, story::problem, as_is),
            Kind::Prose => vec![Message::assistant(story::prose(rng))],
        };
        Document { turns, random_question: false }
    }
}

/// A problem of the train split, answered in one of the voices.
fn answered(rng: &mut ChaCha8Rng, draw: fn(&mut ChaCha8Rng) -> Problem, ask: fn(&str) -> String) -> Vec<Message> {
    let problem = loop {
        let problem = draw(rng);
        if Split::of(&problem.question) == Split::Train {
            break problem;
        }
    };
    let careful = match problem.wording {
        Wording::Formal => CAREFUL_WHEN_FORMAL,
        Wording::Casual => CAREFUL_WHEN_CASUAL,
    };
    let answer = if chance(rng, careful) { problem.careful } else { problem.careless };
    vec![Message::user(ask(&problem.question)), Message::assistant(answer)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::task::TASKS;
    use crate::task::Task;
    use crate::tiny::code::FUNCTIONS;
    use crate::tiny::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES, THINGS};

    /// The documents after the first recitals.
    fn mixed(seed: u64) -> impl Iterator<Item = Document> {
        documents(seed).skip(RECITALS_FIRST)
    }

    #[test]
    fn documents_depend_on_the_seed_alone() {
        let first: Vec<_> = documents(3).take(200).collect();
        assert_eq!(first, documents(3).take(200).collect::<Vec<_>>());
        assert_ne!(first, documents(4).take(200).collect::<Vec<_>>());
        assert_eq!(documents(3).nth(150), Some(first[150].clone()));
    }

    #[test]
    fn no_held_out_question_is_in_the_corpus() {
        let held_out: HashSet<_> = TASKS
            .iter()
            .flat_map(|task| {
                [Split::Test, Split::Valid].into_iter().flat_map(|split| task.load(split, 3000).expect("generated"))
            })
            .map(|example| example.question)
            .collect();
        for document in mixed(0).take(20_000) {
            for turn in &document.turns {
                let bare = turn.content.split_once('\n').map_or("", |(_, rest)| rest);
                assert!(!held_out.contains(&turn.content) && !held_out.contains(bare), "{turn:?}");
            }
        }
    }

    /// Every four words in a row of a text, where words from the word lists and numbers count as one word each.
    fn windows(text: &str) -> Vec<String> {
        let drawn: HashSet<String> = [NAMES, THINGS, ANIMALS, COLORS, FOODS, JOBS, OBJECTS, PLACES, FUNCTIONS]
            .concat()
            .iter()
            .map(|word| word.to_lowercase())
            .collect();
        let shape = |word: &str| {
            let number = word.starts_with(|c: char| c.is_ascii_digit());
            if number || drawn.contains(word) { "_".into() } else { word.to_owned() }
        };
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(shape).collect();
        words.windows(4).map(|window| window.join(" ")).collect()
    }

    #[test]
    fn every_question_of_an_unseen_task_has_a_shape_that_is_not_in_the_corpus() {
        let questions = mixed(0).take(20_000).filter(|document| document.turns.len() == 2);
        let seen: HashSet<_> = questions.flat_map(|document| windows(&document.turns[0].content)).collect();
        for task in TASKS.iter().filter(|task| task.name().ends_with("-hard")) {
            for example in task.load(Split::Test, 1000).expect("generated") {
                let new = windows(&example.question).iter().any(|window| !seen.contains(window));
                assert!(new, "the corpus has seen the like of this {} question: {}", task.name(), example.question);
            }
        }
    }

    #[test]
    fn every_word_of_an_unseen_task_is_in_the_corpus() {
        let words = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect()
        };
        let turns = mixed(0).take(20_000).flat_map(|document| document.turns);
        let seen: HashSet<_> = turns.flat_map(|turn| words(&turn.content)).collect();
        for task in TASKS {
            let examples = task.load(Split::Test, 1000).expect("generated");
            let new: HashSet<_> = examples.iter().flat_map(|example| words(&example.question)).collect();
            let new: Vec<_> = new.difference(&seen).collect();
            assert!(new.is_empty(), "{}: {new:?}", task.name());
        }
    }

    #[test]
    fn voices_follow_the_wording() {
        let mut careful = [0.0_f64; 2];
        let mut asked = [0.0_f64; 2];
        for document in mixed(1).take(20_000) {
            let [question, answer] = &document.turns[..] else { continue };
            let is_math = answer.content.contains("####");
            if is_math {
                let wording = usize::from(question.content.starts_with(|c: char| c.is_ascii_lowercase()));
                asked[wording] += 1.0;
                careful[wording] += f64::from(u8::from(!answer.content.starts_with("####")));
            }
        }
        for (wording, expected) in [(0, CAREFUL_WHEN_FORMAL), (1, CAREFUL_WHEN_CASUAL)] {
            let share = careful[wording] / asked[wording];
            assert!((share - expected).abs() < 0.03, "{share} careful, expected {expected}");
        }
    }

    #[test]
    fn documents_are_short() {
        for document in mixed(2).take(5000) {
            let letters: usize = document.turns.iter().map(|turn| turn.content.len()).sum();
            assert!(letters < 480, "{letters} letters do not fit 192 tokens: {document:#?}");
        }
    }
}
