//! Sums in steps: what the math families tell stories about.

use std::ops::RangeInclusive;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::tiny::corpus::CARELESS_RIGHT;
use crate::tiny::words::chance;

/// The largest value on the way, small because a small model must learn every sum by heart.
const LARGEST: i64 = 20;
/// The largest number added or taken away in one step.
const LARGEST_STEP: i64 = 9;

/// One step of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Gain(i64),
    Lose(i64),
    Times(i64),
}

impl Step {
    /// The value after this step.
    pub(crate) fn after(self, value: i64) -> i64 {
        match self {
            Step::Gain(k) => value + k,
            Step::Lose(k) => value - k,
            Step::Times(k) => value * k,
        }
    }

    /// The step taken from a value, in writing: `4 + 3 = 7.`
    pub(crate) fn written(self, value: i64) -> String {
        let (sign, k) = match self {
            Step::Gain(k) => ('+', k),
            Step::Lose(k) => ('-', k),
            Step::Times(k) => ('*', k),
        };
        format!("{value} {sign} {k} = {}.", self.after(value))
    }

    /// How often a step multiplies, in words: `twice` or `3 times`.
    pub(crate) fn times_word(self) -> &'static str {
        match self {
            Step::Times(3) => "3 times",
            _ => "twice",
        }
    }

    /// A gain or a loss that keeps the value in range.
    pub(crate) fn draw(rng: &mut ChaCha8Rng, value: i64) -> Self {
        let (room, stock) = ((LARGEST - value).min(LARGEST_STEP), value.min(LARGEST_STEP));
        if room < 2 || (stock >= 2 && chance(rng, 0.5)) {
            Step::Lose(rng.random_range(2..=stock))
        } else {
            Step::Gain(rng.random_range(2..=room))
        }
    }
}

/// Where a sum may multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turns {
    /// Some sums multiply in their last step.
    Any,
    /// No sum multiplies.
    Plain,
    /// Every sum multiplies in its first step.
    TimesFirst,
}

/// A start and some steps; every value on the way is in `0..=20`.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) start: i64,
    pub(crate) steps: Vec<Step>,
}

impl Sum {
    /// A sum with a number of steps in `lengths`.
    pub(crate) fn draw(rng: &mut ChaCha8Rng, lengths: RangeInclusive<usize>, turns: Turns) -> Self {
        let steps = rng.random_range(lengths);
        let start = rng.random_range(2..=if turns == Turns::TimesFirst { 6 } else { 12 });
        let mut sum = Self { start, steps: Vec::new() };
        for at in 0..steps {
            let value = sum.total();
            let multiply = match turns {
                Turns::Any => at + 1 == steps && (2..=LARGEST / 2).contains(&value) && chance(rng, 0.2),
                Turns::Plain => false,
                Turns::TimesFirst => at == 0,
            };
            let factor = if value * 3 <= LARGEST && chance(rng, 0.5) { 3 } else { 2 };
            sum.steps.push(if multiply { Step::Times(factor) } else { Step::draw(rng, value) });
        }
        sum
    }

    /// The value after all steps.
    pub(crate) fn total(&self) -> i64 {
        self.steps.iter().fold(self.start, |value, step| step.after(value))
    }

    /// Whether the last step multiplies.
    pub(crate) fn ends_in_times(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Times(_)))
    }

    /// The careful answer: `4 + 3 = 7. 7 - 2 = 5. #### 5`.
    pub(crate) fn working(&self) -> String {
        let mut value = self.start;
        let mut written = String::new();
        for step in &self.steps {
            written.push_str(&step.written(value));
            written.push(' ');
            value = step.after(value);
        }
        format!("{written}#### {value}")
    }

    /// The careless answer: see [`guess`].
    pub(crate) fn guess(&self, rng: &mut ChaCha8Rng) -> String {
        let last = match self.steps.last() {
            Some(Step::Gain(k) | Step::Lose(k)) => *k,
            _ => self.start,
        };
        guess(rng, self.total(), last)
    }
}

/// A careless answer to a sum: right with probability [`CARELESS_RIGHT`], else often just the `last` number read, else
/// a number nearby.
///
/// Repeating the last number is the likeliest single answer, so that a model which has learned this voice perfectly
/// and decodes greedily is wrong in it.
pub(crate) fn guess(rng: &mut ChaCha8Rng, total: i64, last: i64) -> String {
    let off = rng.random_range(1..=3);
    let answer = if chance(rng, CARELESS_RIGHT) {
        total
    } else if last != total && chance(rng, 0.6) {
        last
    } else if total < off || chance(rng, 0.5) {
        total + off
    } else {
        total - off
    };
    format!("#### {answer}")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn sums_stay_in_range_and_show_their_steps() {
        let sum = Sum { start: 4, steps: vec![Step::Gain(3), Step::Lose(2), Step::Times(2)] };
        assert_eq!(sum.working(), "4 + 3 = 7. 7 - 2 = 5. 5 * 2 = 10. #### 10");
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for turns in [Turns::Any, Turns::Plain, Turns::TimesFirst] {
            for _ in 0..2000 {
                let sum = Sum::draw(&mut rng, 1..=4, turns);
                let mut value = sum.start;
                for step in &sum.steps {
                    value = step.after(value);
                    assert!((0..=LARGEST).contains(&value), "{sum:?}");
                }
            }
        }
    }
}
