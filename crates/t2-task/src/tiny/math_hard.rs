//! Longer sums in sentences that pretraining never shows, after MATH.
//!
//! ```text
//! How many apples does Tom have if he has 4 apples, buys 3 more, loses 2 and finds 5 more?
//! 4 + 3 = 7. 7 - 2 = 5. 5 + 5 = 10. #### 10
//! ```

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::sandbox::Walls;
use crate::tiny::math::is_right;
use crate::tiny::problem::{Generated, GradedBy, Problem, Wording, as_is};
use crate::tiny::sums::{Step, Sum, Turns, guess};
use crate::tiny::words::{NAMES, PEOPLE, THINGS, capital, fill, listed, pick, pick_many};

/// The task `tiny-math-hard`.
pub const TINY_MATH_HARD: Generated = Generated {
    name: "tiny-math-hard",
    about: "sums of 3 to 4 steps in sentence shapes the model has never seen, after MATH",
    problem,
    ask: as_is,
    graded_by: GradedBy::Text(is_right),
    walls: Walls::All,
};

/// A sentence shape in both wordings.
struct Shape {
    formal: &'static str,
    casual: &'static str,
}

/// Shapes that tell a start and a list of steps.
const CHAINS: &[Shape] = &[
    Shape {
        formal: "How many {what} does {who} have if {he} has {start} {what}, {steps}?",
        casual: "how many {what} for {who} if {he} got {start}, {steps}?",
    },
    Shape {
        formal: "{who} {steps}. {He} had {start} {what} at first. How many {what} does {who} have now?",
        casual: "{who} {steps}, had {start} {what} at first, how many now?",
    },
    Shape {
        formal: "First {who} has {start} {what}. After {he} {steps}, how many {what} are left?",
        casual: "first {who} got {start} {what}, and after {he} {steps}, how many left?",
    },
    Shape {
        formal: "At first there are {start} {what}. Then {who} {steps}. Count the {what}.",
        casual: "at first theres {start} {what}, then {who} {steps}, count the {what} ok",
    },
];

/// Shapes that multiply first.
const TIMES_FIRST: &[Shape] = &[Shape {
    formal: "{friend} has {start} {what} and {who} has {times} as many. Then {who} {steps}. \
             How many {what} does {who} have in the end?",
    casual: "{friend} got {start} {what} and {who} has {times} as many, then {who} {steps}, \
             how many for {who} in the end?",
}];

/// Shapes that add what two people have.
const TOGETHER: &[Shape] = &[Shape {
    formal: "{who} has {a} {what} and {friend} has {b}. {who} {step_a} and {friend} {step_b}. \
             How many {what} do they have together?",
    casual: "{who} got {a} {what} and {friend} got {b}, {who} {step_a} and {friend} {step_b}, \
             how many {what} together?",
}];

const GAINS: &[&str] = &["buys {k} more", "finds {k} more", "gets {k} more"];
const LOSSES: &[&str] = &["loses {k}", "sells {k}", "gives {k} to {other}"];

/// Draws one problem of `tiny-math-hard`.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    match rng.random_range(0..CHAINS.len() + 2) {
        0 => together(rng),
        1 => chain(rng, TIMES_FIRST, Turns::TimesFirst),
        _ => chain(rng, CHAINS, Turns::Plain),
    }
}

/// A problem in one of `shapes`: a start, then a list of steps.
fn chain(rng: &mut ChaCha8Rng, shapes: &[Shape], turns: Turns) -> Problem {
    let sum = Sum::draw(rng, 3..=4, turns);
    let (first, told) = match turns {
        Turns::TimesFirst => (sum.steps[0], &sum.steps[1..]),
        Turns::Any | Turns::Plain => (sum.steps[0], &sum.steps[..]),
    };
    let cast = Cast::draw(rng);
    let steps: Vec<_> = told.iter().map(|step| cast.does(rng, *step)).collect();
    let (start, steps) = (sum.start.to_string(), listed(&steps));
    let more = [("start", start.as_str()), ("steps", &steps), ("times", first.times_word())];
    let (wording, question) = cast.ask(rng, shapes, &more);
    Problem { wording, question, careful: sum.working(), careless: sum.guess(rng), checks: Vec::new() }
}

/// A problem about two people who each gain or lose something.
fn together(rng: &mut ChaCha8Rng) -> Problem {
    let cast = Cast::draw(rng);
    let [a, b] = [rng.random_range(2..=7), rng.random_range(2..=7)];
    let [step_a, step_b] = [small_step(rng, a), small_step(rng, b)];
    let (after_a, after_b) = (step_a.after(a), step_b.after(b));
    let total = after_a + after_b;
    let sum = Step::Gain(after_b).written(after_a);
    let careful = format!("{} {} {sum} #### {total}", step_a.written(a), step_b.written(b));
    let told = [a.to_string(), b.to_string(), cast.does(rng, step_a), cast.does(rng, step_b)];
    let more = [("a", &*told[0]), ("b", &*told[1]), ("step_a", &*told[2]), ("step_b", &*told[3])];
    let (wording, question) = cast.ask(rng, TOGETHER, &more);
    let (Step::Gain(last) | Step::Lose(last) | Step::Times(last)) = step_b;
    Problem { wording, question, careful, careless: guess(rng, total, last), checks: Vec::new() }
}

/// A step small enough that two people's values add up to at most 20.
fn small_step(rng: &mut ChaCha8Rng, value: i64) -> Step {
    if rng.random_bool(0.5) {
        Step::Gain(rng.random_range(1..=3))
    } else {
        Step::Lose(rng.random_range(1..=value.min(5)))
    }
}

/// The people and the things in a problem.
struct Cast {
    who: (&'static str, &'static str),
    friend: &'static str,
    other: &'static str,
    what: &'static str,
}

impl Cast {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (who, he, _) = pick(rng, PEOPLE);
        let others: Vec<_> = NAMES.iter().copied().filter(|name| *name != who).collect();
        let others = pick_many(rng, &others, 2);
        Self { who: (who, he), friend: others[0], other: others[1], what: pick(rng, THINGS) }
    }

    /// What a person does in a step, such as `buys 3 more`.
    fn does(&self, rng: &mut ChaCha8Rng, step: Step) -> String {
        let (verbs, k) = match step {
            Step::Gain(k) => (GAINS, k),
            Step::Lose(k) => (LOSSES, k),
            Step::Times(_) => unreachable!("multiplying is told by the shape"),
        };
        fill(pick(rng, verbs), &[("k", &k.to_string()), ("other", self.other)])
    }

    fn ask(&self, rng: &mut ChaCha8Rng, shapes: &[Shape], more: &[(&str, &str)]) -> (Wording, String) {
        let wording = Wording::draw(rng);
        let shape = pick(rng, &shapes.iter().collect::<Vec<_>>());
        let ((who, he), he_first) = (self.who, capital(self.who.1));
        let cast = [("who", who), ("he", he), ("He", &he_first), ("friend", self.friend), ("what", self.what)];
        let slots = [&cast[..], more].concat();
        let question = match wording {
            Wording::Formal => fill(shape.formal, &slots),
            Wording::Casual => fill(shape.casual, &slots).to_lowercase(),
        };
        (wording, question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::problem::tests::check_family;

    #[test]
    fn keeps_the_promises_of_a_family() {
        check_family(&TINY_MATH_HARD);
    }
}
