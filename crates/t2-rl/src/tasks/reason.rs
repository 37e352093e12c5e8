//! Facts and a multiple-choice question about them, after ARC-Easy.
//!
//! ```text
//! The cat is red. The dog is blue. The bird is green.
//! What color is the dog?
//! A) green
//! B) blue
//! The dog is blue. The answer is B.
//! ```

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::corpus::CARELESS_RIGHT;
use crate::task::{Example, TaskError};
use crate::tasks::grade::announced_letter;
use crate::tasks::problem::{Generated, Problem, Wording, as_is, reward_each};
use crate::tasks::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES, chance, fill, pick, pick_many};

/// The task `tiny-reason`.
pub const TINY_REASON: Generated = Generated {
    name: "tiny-reason",
    about: "multiple-choice questions about 2 to 4 facts, after ARC-Easy; the model has seen such questions",
    problem,
    ask: as_is,
    rewards,
};

/// Something that can be said of a subject.
pub(crate) struct Relation {
    pub(crate) subjects: &'static [&'static str],
    pub(crate) values: &'static [&'static str],
    /// One fact: `The {s} is {v}.`
    pub(crate) fact: &'static str,
    formal: Asks,
    casual: Asks,
}

/// Questions about a fact.
struct Asks {
    /// The subject is given.
    value: &'static [&'static str],
    /// The value is given.
    subject: &'static [&'static str],
}

pub(crate) const RELATIONS: &[Relation] = &[
    Relation {
        subjects: ANIMALS,
        values: COLORS,
        fact: "The {s} is {v}.",
        formal: Asks {
            value: &["What color is the {s}?", "What is the color of the {s}?"],
            subject: &["Which animal is {v}?"],
        },
        casual: Asks {
            value: &["what color is the {s}", "so whats the color of the {s}"],
            subject: &["so which one is {v}"],
        },
    },
    Relation {
        subjects: NAMES,
        values: PLACES,
        fact: "{s} is in the {v}.",
        formal: Asks { value: &["Where is {s}?", "In which place is {s}?"], subject: &["Who is in the {v}?"] },
        casual: Asks { value: &["wheres {s}", "so where is {s} now"], subject: &["so whos in the {v}"] },
    },
    Relation {
        subjects: NAMES,
        values: OBJECTS,
        fact: "{s} has the {v}.",
        formal: Asks { value: &["What does {s} have?", "Which thing does {s} have?"], subject: &["Who has the {v}?"] },
        casual: Asks { value: &["what does {s} got", "so what has {s} got"], subject: &["so who got the {v}"] },
    },
    Relation {
        subjects: ANIMALS,
        values: FOODS,
        fact: "The {s} eats {v}.",
        formal: Asks {
            value: &["What does the {s} eat?", "Which food does the {s} eat?"],
            subject: &["Which animal eats {v}?"],
        },
        casual: Asks {
            value: &["what does the {s} eat", "so whats the {s} eating"],
            subject: &["so which one eats {v}"],
        },
    },
    Relation {
        subjects: NAMES,
        values: JOBS,
        fact: "{s} is a {v}.",
        formal: Asks { value: &["What is {s}?", "What job does {s} have?"], subject: &["Who is a {v}?"] },
        casual: Asks { value: &["whats {s}", "so whats the job of {s}"], subject: &["so whos a {v}"] },
    },
    Relation {
        subjects: NAMES,
        values: FOODS,
        fact: "{s} likes {v}.",
        formal: Asks { value: &["What does {s} like?", "Which food does {s} like?"], subject: &["Who likes {v}?"] },
        casual: Asks { value: &["whats {s} like", "so what does {s} like"], subject: &["so who likes {v}"] },
    },
];

/// Some facts of one relation, each subject and each value once.
pub(crate) struct Facts {
    pub(crate) relation: &'static Relation,
    pub(crate) pairs: Vec<(&'static str, &'static str)>,
}

impl Facts {
    /// `count` facts of some relation.
    pub(crate) fn draw(rng: &mut ChaCha8Rng, count: usize) -> Self {
        let relation = &RELATIONS[rng.random_range(0..RELATIONS.len())];
        let subjects = pick_many(rng, relation.subjects, count);
        let values = pick_many(rng, relation.values, count);
        Self { relation, pairs: subjects.into_iter().zip(values).collect() }
    }

    /// One fact as a sentence.
    pub(crate) fn sentence(&self, at: usize) -> String {
        let (subject, value) = self.pairs[at];
        fill(self.relation.fact, &[("s", subject), ("v", value)])
    }

    /// The facts `order` names, as one who words things so tells them; casually without capitals and full stops.
    pub(crate) fn told(&self, wording: Wording, order: &[usize]) -> String {
        let sentences: Vec<_> = order.iter().map(|at| self.sentence(*at)).collect();
        match wording {
            Wording::Formal => sentences.join(" "),
            Wording::Casual => sentences.join(", ").replace('.', "").to_lowercase(),
        }
    }

    /// All facts in order.
    pub(crate) fn all_told(&self, wording: Wording) -> String {
        self.told(wording, &(0..self.pairs.len()).collect::<Vec<_>>())
    }
}

/// Which half of a fact is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    Value,
    Subject,
}

impl Sought {
    /// Values twice as often as subjects.
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        if chance(rng, 0.67) { Sought::Value } else { Sought::Subject }
    }

    /// The half of a fact that is asked for.
    pub(crate) fn of(self, (subject, value): (&'static str, &'static str)) -> &'static str {
        match self {
            Sought::Value => value,
            Sought::Subject => subject,
        }
    }
}

/// Draws one problem of `tiny-reason`.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let (facts, sought) = (Facts::draw_some(rng), Sought::draw(rng));
    let wording = Wording::draw(rng);
    let target = rng.random_range(0..facts.pairs.len());
    let asks = match wording {
        Wording::Formal => &facts.relation.formal,
        Wording::Casual => &facts.relation.casual,
    };
    let ask = pick(rng, if sought == Sought::Value { asks.value } else { asks.subject });
    let (subject, value) = facts.pairs[target];
    let ask = fill(ask, &[("s", subject), ("v", value)]);
    let question = match wording {
        Wording::Formal => format!("{}\n{ask}", facts.all_told(wording)),
        Wording::Casual => format!("{}\n{}?", facts.all_told(wording), ask.to_lowercase()),
    };
    let choices = Choices::draw(rng, &facts, sought, target);
    choices.problem(rng, wording, question, &facts.told(wording, &[target]))
}

impl Facts {
    fn draw_some(rng: &mut ChaCha8Rng) -> Self {
        let count = rng.random_range(2..=4);
        Self::draw(rng, count)
    }
}

/// What can be chosen from, and which of it is right.
pub(crate) struct Choices {
    pub(crate) words: Vec<&'static str>,
    pub(crate) right: usize,
}

impl Choices {
    /// 2 to 4 choices: the right one, then others from the facts, then others of the same sort.
    fn draw(rng: &mut ChaCha8Rng, facts: &Facts, sought: Sought, target: usize) -> Self {
        let count = rng.random_range(2..=4);
        let pool = match sought {
            Sought::Value => facts.relation.values,
            Sought::Subject => facts.relation.subjects,
        };
        let outside = pick_many(rng, pool, pool.len());
        let told = facts.pairs.iter().map(|pair| sought.of(*pair));
        Self::of(rng, sought.of(facts.pairs[target]), told.chain(outside), count)
    }

    /// `count` choices in random order: `right` and the first others.
    pub(crate) fn of(
        rng: &mut ChaCha8Rng,
        right: &'static str,
        others: impl Iterator<Item = &'static str>,
        count: usize,
    ) -> Self {
        let mut words = vec![right];
        for word in others {
            if words.len() < count && !words.contains(&word) {
                words.push(word);
            }
        }
        words.shuffle(rng);
        let right = words.iter().position(|word| *word == right).expect("the right word is among the choices");
        Self { words, right }
    }

    /// The problem of choosing: the careful answer quotes `fact` as it was told, the careless one names a letter at
    /// once.
    pub(crate) fn problem(&self, rng: &mut ChaCha8Rng, wording: Wording, question: String, fact: &str) -> Problem {
        let lines = self.words.iter().enumerate().map(|(at, word)| match wording {
            Wording::Formal => format!("\n{}) {word}", letter(at)),
            Wording::Casual => format!("\n{}) {}", letter(at), word.to_lowercase()),
        });
        let question = question + &lines.collect::<String>();
        let careful = format!("{}. The answer is {}.", fact.trim_end_matches('.'), letter(self.right));
        let wrong = (self.right + rng.random_range(1..self.words.len())) % self.words.len();
        let guess = if chance(rng, CARELESS_RIGHT) { self.right } else { wrong };
        Problem { wording, question, careful, careless: format!("it's {}.", letter(guess)), checks: Vec::new() }
    }
}

fn letter(at: usize) -> char {
    ['A', 'B', 'C', 'D'][at]
}

/// Compares the letter after the last `answer is` or `it's`.
pub(crate) fn rewards(graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
    reward_each(graded, |example, completion| {
        let letter = announced_letter(completion);
        letter.is_some() && letter == announced_letter(&example.answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        check_family(&TINY_REASON);
    }
}
