//! Drawing the next token from its logits, on the host and in f64.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::GenerateError;

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Draw among the `top_k` most likely tokens only; 0 for all.
    pub top_k: usize,
    /// Draw among the fewest tokens whose probabilities reach `top_p`; 1 for all.
    pub top_p: f32,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0 };

    /// The model's own distribution.
    pub const PLAIN: Self = Self { temperature: 1.0, top_k: 0, top_p: 1.0 };

    /// Refuse numbers out of range: a negative temperature, say, would be taken for 0.
    pub(super) fn check(&self) -> Result<(), GenerateError> {
        let bad = |name, value, expected| Err(GenerateError::Sampling { name, value, expected });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return bad("temperature", self.temperature, "0 or a finite number above");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p, "above 0 and at most 1");
        }
        Ok(())
    }

    /// Draw the token at `position` of a completion from `logits`, `[vocab]`. The random numbers depend on `seed` and
    /// `position` alone. Of equal logits the lowest id comes first.
    pub fn draw_at(&self, logits: &[f32], seed: u64, position: usize) -> u32 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(position as u64);
        self.draw(logits, &mut rng)
    }

    /// Draw a token id from `logits`, `[vocab]`. Of equal logits the lowest id comes first.
    fn draw(&self, logits: &[f32], rng: &mut ChaCha8Rng) -> u32 {
        if self.temperature <= 0.0 {
            return argmax(logits);
        }
        let temperature = f64::from(self.temperature);
        let top = f64::from(logits[argmax(logits) as usize]);
        let mut odds: Vec<(u32, f64)> =
            (0..).zip(logits).map(|(id, &l)| (id, ((f64::from(l) - top) / temperature).exp())).collect();
        if self.top_k > 0 || self.top_p < 1.0 {
            odds.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let k = if self.top_k == 0 { odds.len() } else { self.top_k };
            odds.truncate(k);
            let enough = f64::from(self.top_p) * odds.iter().map(|(_, p)| p).sum::<f64>();
            let sums = odds.iter().scan(0.0, |sum, (_, p)| Some(std::mem::replace(sum, *sum + p)));
            let kept = sums.take_while(|&before| before < enough).count();
            odds.truncate(kept.max(1));
        }
        let mut left = rng.random::<f64>() * odds.iter().map(|(_, p)| p).sum::<f64>();
        for &(id, p) in &odds {
            left -= p;
            if left < 0.0 {
                return id;
            }
        }
        odds[odds.len() - 1].0
    }
}

/// The id of the largest of `logits`; the lowest of equal ones.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let best = (0..).zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(id, _)| id)
}

/// Log-probability of the token `id` under `logits`, `[vocab]`.
pub(crate) fn log_probability(logits: &[f32], id: u32) -> f32 {
    let top = logits[argmax(logits) as usize];
    let norm = logits.iter().map(|&l| f64::from((l - top).exp())).sum::<f64>().ln();
    (f64::from(logits[id as usize] - top) - norm) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    /// The share of each id in 4000 draws.
    fn shares(sampling: Sampling) -> [f64; 4] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0.0; 4];
        (0..4000).for_each(|_| counts[sampling.draw(&LOGITS, &mut rng) as usize] += 1.0 / 4000.0);
        counts
    }

    #[track_caller]
    fn check(sampling: Sampling, expected: [f64; 4]) {
        let found = shares(sampling);
        for (found, expected) in found.iter().zip(expected) {
            // Four standard deviations of 4000 draws.
            assert!((found - expected).abs() < 0.032, "{found} vs {expected}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let bad = [
            Sampling { temperature: -1.0, ..Sampling::PLAIN },
            Sampling { temperature: f32::NAN, ..Sampling::PLAIN },
            Sampling { top_p: 0.0, ..Sampling::PLAIN },
            Sampling { top_p: 1.5, ..Sampling::PLAIN },
        ];
        for sampling in bad {
            let error = sampling.check().unwrap_err().to_string();
            assert!(error.contains("temperature is") || error.contains("top_p is"), "{error}");
        }
        assert!(Sampling::GREEDY.check().is_ok() && Sampling::PLAIN.check().is_ok());
    }

    #[test]
    fn draws_follow_the_distribution() {
        let p: Vec<f64> = (0..4).map(|id| f64::from(log_probability(&LOGITS, id).exp())).collect();
        check(Sampling::PLAIN, [p[0], p[1], p[2], p[3]]);
        check(Sampling::GREEDY, [0.0, 1.0, 0.0, 0.0]);
        let two = p[1] + p[2];
        check(Sampling { top_k: 2, ..Sampling::PLAIN }, [0.0, p[1] / two, p[2] / two, 0.0]);
        check(Sampling { top_p: 0.7, ..Sampling::PLAIN }, [0.0, p[1] / two, p[2] / two, 0.0]);
        check(Sampling { top_p: 0.1, ..Sampling::PLAIN }, [0.0, 1.0, 0.0, 0.0]);
        check(Sampling { temperature: 0.1, ..Sampling::PLAIN }, [0.0, 1.0, 0.0, 0.0]);
    }
}
