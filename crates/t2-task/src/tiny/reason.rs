//! Facts and a multiple-choice question about them, after ARC-Easy.
//!
//! ```text
//! Colors: cat red, dog blue, bird green.
//! What color is the dog?
//! Choices: green, blue
//! Colors: dog blue. The answer is blue.
//! ```
//!
//! The question stands after the facts or before them. A value follows right after its subject, the careful answer says
//! the half of the fact that was given and then the other (`Colors: blue dog. The answer is dog.`), and it names a
//! word, no letter: that is as much as a model of this size learns to look up
//! ([`recital`](crate::tiny::corpus::recital)).

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::example::Example;
use crate::grade::announced_word;
use crate::sandbox::Walls;
use crate::tiny::corpus::CARELESS_RIGHT;
use crate::tiny::problem::{Generated, GradedBy, Problem, Wording, as_is};
use crate::tiny::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, THINGS, chance, fill, pick, pick_many};

/// The task `tiny-reason`.
pub const TINY_REASON: Generated = Generated {
    name: "tiny-reason",
    about: "multiple-choice questions about 2 to 4 facts, after ARC-Easy; the model has seen such questions",
    problem,
    ask: as_is,
    graded_by: GradedBy::Text(is_right),
    walls: Walls::All,
};

/// Something that can be said of a subject.
pub(crate) struct Relation {
    pub(crate) subjects: &'static [&'static str],
    pub(crate) values: &'static [&'static str],
    /// The word in front of the facts.
    title: &'static str,
    formal: Asks,
    casual: Asks,
}

/// Questions about a fact.
struct Asks {
    /// Questions for the value, where the subject is given.
    value: &'static [&'static str],
    /// Questions for the subject, where the value is given.
    subject: &'static [&'static str],
}

pub(crate) const RELATIONS: &[Relation] = &[
    Relation {
        subjects: ANIMALS,
        values: COLORS,
        title: "Colors",
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
        subjects: JOBS,
        values: NAMES,
        title: "Jobs",
        formal: Asks {
            value: &["Who is the {s}?", "What is the name of the {s}?"],
            subject: &["What job does {v} have?"],
        },
        casual: Asks { value: &["whos the {s}", "so who is the {s} here"], subject: &["so whats the job of {v}"] },
    },
    Relation {
        subjects: JOBS,
        values: THINGS,
        title: "Shops",
        formal: Asks {
            value: &["What does the {s} sell?", "Which things does the {s} sell?"],
            subject: &["Who sells {v}?"],
        },
        casual: Asks { value: &["what does the {s} sell", "so whats the {s} selling"], subject: &["so who sells {v}"] },
    },
    Relation {
        subjects: ANIMALS,
        values: FOODS,
        title: "Feed",
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
        values: THINGS,
        title: "Bags",
        formal: Asks { value: &["What does {s} have?", "Which things does {s} have?"], subject: &["Who has {v}?"] },
        casual: Asks { value: &["what does {s} got", "so what has {s} got"], subject: &["so who got {v}"] },
    },
    Relation {
        subjects: NAMES,
        values: FOODS,
        title: "Lunch",
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
    /// Draws `count` facts of one relation.
    pub(crate) fn draw(rng: &mut ChaCha8Rng, count: usize) -> Self {
        let relation = &RELATIONS[rng.random_range(0..RELATIONS.len())];
        let subjects = pick_many(rng, relation.subjects, count);
        let values = pick_many(rng, relation.values, count);
        Self { relation, pairs: subjects.into_iter().zip(values).collect() }
    }

    /// The facts as a text. `order` names them by their position, each with the half of it that comes second. A casual
    /// text has no capitals and no full stop.
    pub(crate) fn told(&self, wording: Wording, order: &[(usize, Sought)]) -> String {
        let fact = |&(at, second): &(usize, Sought)| match (second, self.pairs[at]) {
            (Sought::Value, (subject, value)) => format!("{subject} {value}"),
            (Sought::Subject, (subject, value)) => format!("{value} {subject}"),
        };
        let told = format!("{}: {}", self.relation.title, order.iter().map(fact).collect::<Vec<_>>().join(", "));
        match wording {
            Wording::Formal => told + ".",
            Wording::Casual => told.to_lowercase(),
        }
    }

    /// The text of all facts in their order, each with its subject first.
    pub(crate) fn all_told(&self, wording: Wording) -> String {
        self.told(wording, &(0..self.pairs.len()).map(|at| (at, Sought::Value)).collect::<Vec<_>>())
    }
}

/// Which half of a fact is asked for, or told second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    Value,
    Subject,
}

impl Sought {
    /// Draws the value twice as often as the subject.
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        if chance(rng, 0.67) { Sought::Value } else { Sought::Subject }
    }

    /// This half of a fact.
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
    let ask = match wording {
        Wording::Formal => ask,
        Wording::Casual => ask.to_lowercase() + "?",
    };
    let told = facts.all_told(wording);
    let question = if chance(rng, 0.5) { format!("{told}\n{ask}") } else { format!("{ask} {told}") };
    let choices = Choices::draw(rng, &facts, sought, target);
    choices.problem(rng, wording, &question, &facts.told(wording, &[(target, sought)]))
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
    /// Draws 2 to 4 choices: the right one, then others from the facts, then words of the same sort that no fact has.
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

    /// The problem that asks `question` and offers these choices. The careful answer quotes `fact` as it was told, the
    /// careless one names a choice at once.
    pub(crate) fn problem(&self, rng: &mut ChaCha8Rng, wording: Wording, question: &str, fact: &str) -> Problem {
        let as_told = |text: &str| match wording {
            Wording::Formal => text.to_owned(),
            Wording::Casual => text.to_lowercase(),
        };
        let label = match wording {
            Wording::Formal => "Choices",
            Wording::Casual => "pick one",
        };
        let question = format!("{question}\n{label}: {}", as_told(&self.words.join(", ")));
        let right = as_told(self.words[self.right]);
        let careful = format!("{}. The answer is {right}.", fact.trim_end_matches('.'));
        let wrong = (self.right + rng.random_range(1..self.words.len())) % self.words.len();
        let guess = if chance(rng, CARELESS_RIGHT) { right } else { as_told(self.words[wrong]) };
        Problem { wording, question, careful, careless: format!("it's {guess}."), checks: Vec::new() }
    }
}

/// An answer is right when the word after its last `answer is` or `it's` is that of the reference, in any case.
pub(crate) fn is_right(example: &Example, completion: &str) -> bool {
    let word = announced_word(completion);
    word.is_some() && word == announced_word(&example.reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{RIGHT, WRONG};
    use crate::tiny::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        check_family(&TINY_REASON);
    }

    #[test]
    fn the_announced_word_counts() {
        let example = Example::new("", "The answer is Tom.");
        for (completion, reward) in [
            ("Tom likes soup. The answer is Tom.", RIGHT),
            ("it's tom", RIGHT),
            ("it's Anna. no, the answer is Tom", RIGHT),
            ("it's Tom or Anna", RIGHT),
            ("it's Tommy", WRONG),
            ("The answer is Anna. Tom", WRONG),
            ("Tom", WRONG),
            ("", WRONG),
        ] {
            assert_eq!(is_right(&example, completion), reward == RIGHT, "{completion:?}");
        }
    }
}
