//! How likely one of k programs passes, where n were tried.

/// The unbiased estimate of pass@k from `n` tries of which `c` passed: the share of the sets of k tries that hold one
/// which passed ([Chen et al. 2021](https://arxiv.org/abs/2107.03374), equation 1),
///
/// ```text
/// pass@k = 1 − C(n − c, k) / C(n, k) = 1 − Π_{i = n−c+1}^{n} (1 − k / i)
/// ```
///
/// as a product, because the binomial coefficients of large `n` leave f64. Where fewer than k tries failed it is 1.
/// pass@1 is the share that passed.
///
/// # Panics
///
/// When more passed than were tried.
pub fn pass_at_k(n: u64, c: u64, k: u64) -> f64 {
    assert!(c <= n, "{c} of {n} tries passed; pass at most as many as were tried");
    if n - c < k {
        return 1.0;
    }
    1.0 - (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products of some hundred factors.
    const ROUNDING: f64 = 1e-12;

    #[test]
    fn it_is_the_share_of_sets_with_one_that_passed() {
        #[track_caller]
        fn check(n: u64, c: u64, k: u64, expected: f64) {
            let estimate = pass_at_k(n, c, k);
            assert!((estimate - expected).abs() < ROUNDING, "pass@{k} of {c} in {n} is {estimate}, not {expected}");
        }
        for (n, c, k, expected) in [
            (1, 1, 1, 1.0),
            (1, 0, 1, 0.0),
            (10, 3, 1, 0.3),
            (4, 1, 2, 0.5),
            (5, 2, 2, 0.7),
            (10, 0, 10, 0.0),
            (10, 1, 10, 1.0),
            (200, 1, 100, 0.5),
            (3, 3, 5, 1.0),
            (3, 0, 5, 1.0),
        ] {
            check(n, c, k, expected);
        }
    }

    #[test]
    fn more_tries_never_make_it_less() {
        for (n, c) in [(20, 0), (20, 1), (20, 7), (20, 20)] {
            for k in 1..20 {
                assert!(pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1), "{c} of {n}, {k}");
            }
        }
    }
}
