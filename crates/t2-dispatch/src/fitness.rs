//! How good a mixture is on labelled examples: reward first, likelihood where rewards tie.

use std::cmp::Ordering;

/// Worth of a mixture, ordered by `reward` and, where rewards are equal, by `log_likelihood`.
///
/// A few examples give a few different mean rewards, so ties are the rule; the likelihood of the reference answers
/// tells tied mixtures apart. NaN is worse than everything else.
#[derive(Clone, Copy, Debug)]
pub struct Fitness {
    /// Mean reward over the examples.
    pub reward: f32,
    /// Mean log-likelihood of the reference answers, in nats.
    pub log_likelihood: f32,
}

impl Fitness {
    fn keys(self) -> [f32; 2] {
        // Adding zero makes -0.0 equal to 0.0.
        [self.reward, self.log_likelihood].map(|x| if x.is_nan() { f32::NEG_INFINITY } else { x + 0.0 })
    }
}

impl Ord for Fitness {
    fn cmp(&self, other: &Self) -> Ordering {
        let ([a, a_tie], [b, b_tie]) = (self.keys(), other.keys());
        a.total_cmp(&b).then(a_tie.total_cmp(&b_tie))
    }
}

impl PartialOrd for Fitness {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fitness {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Fitness {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(worse: (f32, f32), better: (f32, f32)) {
        let [worse, better] = [worse, better].map(|(reward, log_likelihood)| Fitness { reward, log_likelihood });
        assert_eq!(worse.cmp(&better), Ordering::Less, "{worse:?} should be below {better:?}");
        assert_eq!(better.cmp(&worse), Ordering::Greater, "{better:?} should be above {worse:?}");
    }

    #[test]
    fn reward_comes_first_and_likelihood_breaks_ties() {
        check((0.4, -1.0), (0.5, -9.0));
        check((0.5, -9.0), (0.5, -1.0));
        check((-0.0, -2.0), (0.0, -1.0));
    }

    #[test]
    fn nan_is_the_worst() {
        check((f32::NAN, 0.0), (-1.0, -9.0));
        check((0.0, f32::NAN), (0.0, -9.0));
        let nan = Fitness { reward: f32::NAN, log_likelihood: 0.0 };
        assert_eq!(nan, nan);
    }
}
