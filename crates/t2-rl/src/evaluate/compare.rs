//! Whether one of two models answers the same examples better.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Samples of the bootstrap: the ends of its interval move by less than a tenth of the standard error from seed to seed.
const RESAMPLES: usize = 10_000;

/// Two sets of answers to the same examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Examples that both answered.
    pub n: usize,
    /// Share that the first answered right.
    pub first: f64,
    /// Share that the second answered right.
    pub second: f64,
    /// `first - second`.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference, by the paired bootstrap.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// Examples that only the first answered right.
    pub only_first: usize,
    /// Examples that only the second answered right.
    pub only_second: usize,
    /// Probability of a split of those examples at least as uneven as this one if neither model were better: McNemar's
    /// exact test, two-sided.
    pub mcnemar_p: f64,
}

impl Comparison {
    /// Of pairs of verdicts, the first's and the second's on the same example.
    ///
    /// The interval is the 2.5 % and the 97.5 % quantile of the difference over 10,000 draws of as many pairs, with
    /// replacement (Efron 1979), drawn by `seed`. Without pairs it is everything from -1 to 1.
    pub fn of(pairs: &[(bool, bool)], seed: u64) -> Self {
        let n = pairs.len();
        let count = |is: fn(bool, bool) -> bool| pairs.iter().filter(|&&(a, b)| is(a, b)).count();
        let (only_first, only_second) = (count(|a, b| a && !b), count(|a, b| !a && b));
        let share = |count: usize| if n == 0 { 0.0 } else { count as f64 / n as f64 };
        let (first, second) = (share(count(|a, _| a)), share(count(|_, b| b)));
        let (low, high) = bootstrap(pairs, seed);
        let mcnemar_p = mcnemar(only_first, only_second);
        Self { n, first, second, difference: first - second, low, high, only_first, only_second, mcnemar_p }
    }
}

fn bootstrap(pairs: &[(bool, bool)], seed: u64) -> (f64, f64) {
    let n = pairs.len();
    if n == 0 {
        return (-1.0, 1.0);
    }
    let differences: Vec<i64> = pairs.iter().map(|&(a, b)| i64::from(a) - i64::from(b)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn: Vec<i64> =
        (0..RESAMPLES).map(|_| (0..n).map(|_| differences[rng.random_range(0..n)]).sum()).collect();
    drawn.sort_unstable();
    let quantile = |share: f64| drawn[((RESAMPLES - 1) as f64 * share).round() as usize] as f64 / n as f64;
    (quantile(0.025), quantile(0.975))
}

/// `2 P(X <= min(b, c))` for a binomial `X` of `b + c` draws of probability 1/2, at most 1.
fn mcnemar(b: usize, c: usize) -> f64 {
    let n = b + c;
    // The logarithm of the probability of none, and from there to the next: a large n leaves no number of it otherwise.
    let mut log_p = -(n as f64) * std::f64::consts::LN_2;
    let mut total = 0.0;
    for k in 0..=b.min(c) {
        total += log_p.exp();
        log_p += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * total).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(both: usize, only_first: usize, only_second: usize, neither: usize) -> Vec<(bool, bool)> {
        let of = |count, pair| std::iter::repeat_n(pair, count);
        of(both, (true, true))
            .chain(of(only_first, (true, false)))
            .chain(of(only_second, (false, true)))
            .chain(of(neither, (false, false)))
            .collect()
    }

    #[test]
    fn mcnemars_test_is_the_binomial_one() {
        #[track_caller]
        fn check(b: usize, c: usize, p: f64) {
            assert!((mcnemar(b, c) - p).abs() < 1e-6, "{} vs {p}", mcnemar(b, c));
        }
        // By hand: 2 · (1 + 10) / 2^10, 2 · 1 / 2^5, and the middle is never less than 1.
        check(1, 9, 22.0 / 1024.0);
        check(9, 1, 22.0 / 1024.0);
        check(0, 5, 2.0 / 32.0);
        check(4, 4, 1.0);
        check(0, 0, 1.0);
        assert!(mcnemar(5000, 5000) == 1.0 && mcnemar(4800, 5200) < 1e-3);
    }

    #[test]
    fn the_interval_holds_the_difference_and_shrinks_with_the_examples() {
        let few = Comparison::of(&pairs(10, 6, 2, 2), 0);
        assert_eq!((few.n, few.only_first, few.only_second), (20, 6, 2));
        assert!((few.first - 0.8).abs() < 1e-12 && (few.second - 0.6).abs() < 1e-12);
        assert!(few.low < few.difference && few.difference < few.high && few.low < 0.0);
        let many = Comparison::of(&pairs(1000, 600, 200, 200), 0);
        assert!(many.low > 0.0 && many.high - many.low < (few.high - few.low) / 5.0, "{many:?}");
        // The standard error of the difference is sqrt((0.3 + 0.1 - 0.04) / 2000).
        let normal = 1.96 * (0.36_f64 / 2000.0).sqrt();
        assert!((many.high - many.low - 2.0 * normal).abs() < 0.1 * normal, "{many:?}");
        assert_eq!(Comparison::of(&pairs(1000, 600, 200, 200), 0), many);
    }

    #[test]
    fn equal_answers_do_not_differ() {
        let same = Comparison::of(&pairs(3, 0, 0, 4), 1);
        assert_eq!((same.difference, same.low, same.high, same.mcnemar_p), (0.0, 0.0, 0.0, 1.0));
        let none = Comparison::of(&[], 1);
        assert_eq!((none.low, none.high), (-1.0, 1.0));
    }
}
