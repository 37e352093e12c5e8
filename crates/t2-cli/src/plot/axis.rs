//! A range of values with round numbers on it, not yet placed on a picture.

use super::number;

/// Spaces between gridlines that are wanted on an axis.
const SPACES: f64 = 5.0;
/// Values that differ by less than this share of their size are drawn as equal.
const EQUAL: f64 = 1e-9;

/// Values from `low` to `high`, with a gridline at every multiple of `step`.
#[derive(Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// An axis from the least to the greatest of the finite `values`. Gridlines are at least `least_step` apart, which
    /// is 1 for values that are whole numbers.
    pub(super) fn over(values: impl Iterator<Item = f64>, least_step: f64) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let size = high.abs().max(low.abs());
        // A single value gets room on both sides.
        let room = if high - low > EQUAL * size {
            0.0
        } else if size > 0.0 {
            size / 2.0
        } else {
            0.5
        };
        let (low, high) = (low - room, high + room);
        Self { low, high, step: round_step((high - low) / SPACES).max(least_step) }
    }

    /// As [`over`](Self::over), with both ends moved outwards to the next gridline.
    pub(super) fn rounded(values: impl Iterator<Item = f64>) -> Self {
        let Self { low, high, step } = Self::over(values, 0.0);
        Self { low: (low / step + EQUAL).floor() * step, high: (high / step - EQUAL).ceil() * step, step }
    }

    /// Where `value` lies on the axis: 0 at the low end, 1 at the high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The gridlines, each with its label.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.low / self.step - EQUAL).ceil();
        let last = (self.high / self.step + EQUAL).floor();
        let values: Vec<f64> = (0..=(last - first).max(0.0) as usize).map(|i| (first + i as f64) * self.step).collect();
        let labels = number::labels(&values, self.step);
        values.into_iter().zip(labels).collect()
    }
}

/// The next of 1, 2, 5, 10, … that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * (1.0 - EQUAL));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(axis: &Axis, expected: &[&str]) {
        let ticks = axis.ticks();
        assert_eq!(ticks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>(), expected);
        for (value, _) in ticks {
            assert!((-1e-6..=1.0 + 1e-6).contains(&axis.share(value)), "{value} on {axis:?}");
        }
    }

    #[test]
    fn gridlines_are_round_numbers_around_the_data() {
        let rounded = |low, high| Axis::rounded([low, high, f64::NAN].into_iter());
        check(&rounded(0.0, 1.0), &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(&rounded(-0.9, 0.3), &["−1.0", "−0.5", "0.0", "0.5"]);
        check(&rounded(0.002, 0.002), &["0.0010", "0.0015", "0.0020", "0.0025", "0.0030"]);
        check(&rounded(3.0, 3.0), &["1", "2", "3", "4", "5"]);
        check(&rounded(0.0, 0.0), &["−0.6", "−0.4", "−0.2", "0.0", "0.2", "0.4", "0.6"]);
        check(&rounded(0.1 + 0.2, 0.3), &["0.1", "0.2", "0.3", "0.4", "0.5"]);
    }

    #[test]
    fn steps_are_whole_numbers() {
        let steps = |low, high| Axis::over([low, high].into_iter(), 1.0);
        check(&steps(0.0, 1.0), &["0", "1"]);
        check(&steps(7.0, 7.0), &["4", "6", "8", "10"]);
        check(&steps(1.0, 10_000.0), &["2,000", "4,000", "6,000", "8,000", "10,000"]);
    }
}
