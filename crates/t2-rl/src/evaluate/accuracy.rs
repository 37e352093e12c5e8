//! Shares of right answers, and how sure one may be of them.

use serde::{Deserialize, Serialize};

/// The normal quantile of a two-sided interval of 95 %.
pub(super) const Z95: f64 = 1.959_963_984_540_054;

/// A share of right answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Examples graded.
    pub n: usize,
    /// Share answered right.
    pub accuracy: f64,
    /// Its standard error, `sqrt(p (1 - p) / n)` of verdicts: 0 at 0 and at 100 %, where the interval is the better
    /// measure.
    pub stderr: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

impl Accuracy {
    /// Of one reward per answer, where more than zero is right.
    pub fn of(rewards: &[f32]) -> Self {
        Self::of_verdicts(rewards.iter().map(|&reward| reward > 0.0))
    }

    /// Of one verdict per example.
    ///
    /// The interval is Wilson's, `(p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)` (Wilson 1927); without answers
    /// it is everything from 0 to 1.
    pub fn of_verdicts(verdicts: impl IntoIterator<Item = bool>) -> Self {
        let (n, right) =
            verdicts.into_iter().fold((0, 0), |(n, right), is_right| (n + 1, right + usize::from(is_right)));
        if n == 0 {
            return Self { n, accuracy: 0.0, stderr: 0.0, low: 0.0, high: 1.0 };
        }
        let count = n as f64;
        let accuracy = right as f64 / count;
        let variance = accuracy * (1.0 - accuracy) / count;
        let z2 = Z95 * Z95 / count;
        let centre = (accuracy + z2 / 2.0) / (1.0 + z2);
        let half = Z95 * (variance + z2 / (4.0 * count)).sqrt() / (1.0 + z2);
        // The ends are exact where rounding would leave them a hair inside or outside.
        let low = if accuracy == 0.0 { 0.0 } else { centre - half };
        let high = if accuracy == 1.0 { 1.0 } else { centre + half };
        Self { n, accuracy, stderr: variance.sqrt(), low, high }
    }

    /// Of one share per example, each between 0 and 1, such as the share of several answers to it that are right, or its
    /// pass@k. The standard error is that of their mean, and the interval is 1.96 of it to both sides, within 0 and 1.
    pub fn of_shares(shares: &[f64]) -> Self {
        let n = shares.len();
        if n == 0 {
            return Self::of_verdicts([]);
        }
        let count = n as f64;
        let accuracy = shares.iter().sum::<f64>() / count;
        let squares: f64 = shares.iter().map(|share| (share - accuracy).powi(2)).sum();
        let stderr = if n > 1 { (squares / (count - 1.0) / count).sqrt() } else { 0.0 };
        if stderr == 0.0 && (accuracy == 0.0 || accuracy == 1.0) {
            // As sure as one answer each would make it.
            return Self::of_verdicts(std::iter::repeat_n(accuracy == 1.0, n));
        }
        let (low, high) = ((accuracy - Z95 * stderr).max(0.0), (accuracy + Z95 * stderr).min(1.0));
        Self { n, accuracy, stderr, low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Accuracy, n: usize, accuracy: f64, stderr: f64, (low, high): (f64, f64)) {
        assert_eq!((found.n, found.accuracy), (n, accuracy));
        for (found, expected) in [(found.stderr, stderr), (found.low, low), (found.high, high)] {
            assert!((found - expected).abs() < 1e-4, "{found} vs {expected}");
        }
    }

    #[test]
    fn counts_positive_rewards_and_the_interval_is_wilsons() {
        // By hand from the formula; the ends at 0 and at 100 % are z² / (n + z²) away.
        check(Accuracy::of(&[1.0, -1.0, 1.0, -1.0]), 4, 0.5, 0.25, (0.1500, 0.8500));
        check(Accuracy::of(&[1.0]), 1, 1.0, 0.0, (0.2065, 1.0));
        check(Accuracy::of(&[1.0; 100]), 100, 1.0, 0.0, (0.9630, 1.0));
        check(Accuracy::of(&[-1.0; 100]), 100, 0.0, 0.0, (0.0, 0.0370));
        check(Accuracy::of(&[]), 0, 0.0, 0.0, (0.0, 1.0));
    }

    #[test]
    fn shares_of_examples_have_the_error_of_their_mean() {
        // The deviations are 0.25 to both sides: sqrt(4 · 0.0625 / 3 / 4).
        check(Accuracy::of_shares(&[0.25, 0.75, 0.25, 0.75]), 4, 0.5, 0.1443, (0.2171, 0.7829));
        check(Accuracy::of_shares(&[1.0, 1.0]), 2, 1.0, 0.0, (0.3424, 1.0));
        check(Accuracy::of_shares(&[]), 0, 0.0, 0.0, (0.0, 1.0));
    }
}
