//! Little sums told as stories, after GSM8K.
//!
//! ```text
//! Tom has 4 apples. He buys 3 more. He loses 2. How many apples does Tom have?
//! 4 + 3 = 7. 7 - 2 = 5. #### 5
//! ```

use rand_chacha::ChaCha8Rng;

use crate::example::Example;
use crate::grade::{final_number, marked_number};
use crate::sandbox::Walls;
use crate::tiny::problem::{Generated, GradedBy, Problem, Wording, as_is};
use crate::tiny::sums::{Step, Sum, Turns};
use crate::tiny::words::{NAMES, PEOPLE, THINGS, capital, fill, pick, pick_many};

/// The task `tiny-math`.
pub const TINY_MATH: Generated = Generated {
    name: "tiny-math",
    about: "sums of 1 to 3 steps told as little stories, after GSM8K; the model has seen such stories",
    problem,
    ask: as_is,
    graded_by: GradedBy::Text(is_right),
    walls: Walls::All,
};

/// What happens in a story, told in one wording.
struct Telling {
    open: &'static str,
    gain: &'static [&'static str],
    lose: &'static [&'static str],
    times: &'static str,
    ask: &'static str,
    ask_times: &'static str,
}

/// One kind of story in both wordings.
struct Scene {
    things: &'static [&'static str],
    formal: Telling,
    casual: Telling,
}

const SCENES: &[Scene] = &[
    Scene {
        things: THINGS,
        formal: Telling {
            open: "{who} has {k} {what}.",
            gain: &["{He} buys {k} more.", "{He} finds {k} more.", "{other} gives {him} {k} more."],
            lose: &["{He} gives {k} to {other}.", "{He} loses {k}.", "{He} sells {k}."],
            times: "{friend} has {times} as many.",
            ask: "How many {what} does {who} have?",
            ask_times: "How many {what} does {friend} have?",
        },
        casual: Telling {
            open: "so {who} got {k} {what}",
            gain: &["then buys {k} more", "finds {k} more", "{other} gives {him} {k} more"],
            lose: &["then gives {k} to {other}", "loses {k}", "sells {k}"],
            times: "{friend} has {times} as many",
            ask: "how many {what} now?",
            ask_times: "how many for {friend}?",
        },
    },
    Scene {
        things: THINGS,
        formal: Telling {
            open: "There are {k} {what} in the box.",
            gain: &["{who} puts {k} more in.", "{other} puts {k} more in."],
            lose: &["{who} takes {k} out.", "{other} takes {k} out."],
            times: "The bag has {times} as many.",
            ask: "How many {what} are in the box?",
            ask_times: "How many {what} are in the bag?",
        },
        casual: Telling {
            open: "ok theres {k} {what} in the box",
            gain: &["{who} puts in {k} more", "{other} puts in {k} more"],
            lose: &["{who} takes out {k}", "{other} takes out {k}"],
            times: "the bag has {times} as many",
            ask: "how many in the box now?",
            ask_times: "how many in the bag?",
        },
    },
    Scene {
        things: THINGS,
        formal: Telling {
            open: "A shop has {k} {what}.",
            gain: &["It gets {k} more.", "It buys {k} more.", "It finds {k} more."],
            lose: &["It sells {k}.", "It loses {k}.", "It gives {k} to {other}."],
            times: "The other shop has {times} as many.",
            ask: "How many {what} does the shop have?",
            ask_times: "How many {what} does the other shop have?",
        },
        casual: Telling {
            open: "a shop got {k} {what}",
            gain: &["gets {k} more", "buys {k} more", "finds {k} more"],
            lose: &["sells {k}", "loses {k}", "gives {k} to {other}"],
            times: "the other shop has {times} as many",
            ask: "so how many {what} in the shop?",
            ask_times: "so how many in the other shop?",
        },
    },
    Scene {
        things: &["cakes", "pies", "cookies"],
        formal: Telling {
            open: "{who} makes {k} {what}.",
            gain: &["{He} makes {k} more.", "{other} makes {k} more."],
            lose: &["{He} eats {k}.", "{other} eats {k}.", "{He} sells {k}."],
            times: "{friend} makes {times} as many.",
            ask: "How many {what} are there now?",
            ask_times: "How many {what} does {friend} make?",
        },
        casual: Telling {
            open: "{who} makes {k} {what}",
            gain: &["then makes {k} more", "{other} makes {k} more"],
            lose: &["eats {k}", "{other} eats {k}", "sells {k}"],
            times: "{friend} makes {times} as many",
            ask: "so how many {what} are there?",
            ask_times: "so how many does {friend} make?",
        },
    },
    Scene {
        things: &["people", "men", "women", "children"],
        formal: Telling {
            open: "There are {k} {what} on the bus with {who}.",
            gain: &["{k} more get on.", "Then {k} more get on."],
            lose: &["{k} of them get off.", "Then {k} get off."],
            times: "The train has {times} as many {what}.",
            ask: "How many {what} are on the bus?",
            ask_times: "How many {what} are on the train?",
        },
        casual: Telling {
            open: "so theres {k} {what} on the bus with {who}",
            gain: &["{k} more get on", "then {k} more get on"],
            lose: &["{k} get off", "then {k} get off"],
            times: "the train has {times} as many",
            ask: "how many on the bus now?",
            ask_times: "how many on the train?",
        },
    },
    Scene {
        things: &["points", "games", "stars"],
        formal: Telling {
            open: "{who} has {k} {what}.",
            gain: &["{He} wins {k} more.", "{He} gets {k} {what}."],
            lose: &["{He} loses {k} {what}.", "{other} takes {k} from {him}."],
            times: "{friend} has {times} as many {what}.",
            ask: "How many {what} does {who} have now?",
            ask_times: "How many {what} does {friend} have now?",
        },
        casual: Telling {
            open: "{who} got {k} {what} ok",
            gain: &["wins {k} more", "gets {k} {what}"],
            lose: &["loses {k} {what}", "{other} takes {k} from {him}"],
            times: "{friend} has {times} as many {what}",
            ask: "how many {what} does {who} got now?",
            ask_times: "how many {what} does {friend} got?",
        },
    },
];

/// Draws one problem of `tiny-math`.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let scene = pick(rng, &SCENES.iter().collect::<Vec<_>>());
    let wording = Wording::draw(rng);
    let sum = Sum::draw(rng, 1..=3, Turns::Any);
    let question = match wording {
        Wording::Formal => tell(rng, &scene.formal, scene.things, &sum).join(" "),
        Wording::Casual => tell(rng, &scene.casual, scene.things, &sum).join(", ").to_lowercase(),
    };
    Problem { wording, question, careful: sum.working(), careless: sum.guess(rng), checks: Vec::new() }
}

/// The sentences of a story: opening, one for each step, question.
fn tell(rng: &mut ChaCha8Rng, telling: &Telling, things: &[&str], sum: &Sum) -> Vec<String> {
    let (who, he, him) = pick(rng, PEOPLE);
    let others: Vec<_> = NAMES.iter().copied().filter(|name| *name != who).collect();
    let others = pick_many(rng, &others, 2);
    let (he_first, what) = (capital(he), pick(rng, things));
    let say = |template: &str, number: i64, times: &str| {
        let k = number.to_string();
        let people = [("who", who), ("He", &he_first), ("him", him), ("other", others[0]), ("friend", others[1])];
        let slots = [&people[..], &[("what", what), ("k", &k), ("times", times)]].concat();
        fill(template, &slots)
    };
    let mut sentences = vec![say(telling.open, sum.start, "")];
    for step in &sum.steps {
        sentences.push(match *step {
            Step::Gain(k) => say(pick(rng, telling.gain), k, ""),
            Step::Lose(k) => say(pick(rng, telling.lose), k, ""),
            Step::Times(k) => say(telling.times, k, step.times_word()),
        });
    }
    let ask = if sum.ends_in_times() { telling.ask_times } else { telling.ask };
    sentences.push(say(ask, 0, ""));
    sentences
}

/// An answer is right when the number after its last `####` is that of the reference.
pub(crate) fn is_right(example: &Example, completion: &str) -> bool {
    let number = marked_number(completion);
    number.is_some() && number == final_number(&example.reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        check_family(&TINY_MATH);
    }
}
