//! How the next token is drawn from its logits.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use t2_linalg::ops::Draw;

use super::GenerateError;

/// How the next token is drawn. What cuts tokens off is applied in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Logits of tokens that the prompt or the completion holds already are divided by it where they are positive, and
    /// multiplied by it where they are negative (CTRL, arXiv 1909.05858); 1 for none.
    pub repetition_penalty: f32,
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Draw among the `top_k` most likely tokens only; 0 for all.
    pub top_k: usize,
    /// Draw among the fewest tokens whose probabilities reach `top_p`; 1 for all.
    pub top_p: f32,
    /// Draw among the tokens that are at least `min_p` times as likely as the most likely one; 0 for all.
    pub min_p: f32,
}

impl Default for Sampling {
    /// [`Sampling::PLAIN`].
    fn default() -> Self {
        Self::PLAIN
    }
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, ..Self::PLAIN };

    /// The model's own distribution.
    pub const PLAIN: Self = Self { repetition_penalty: 1.0, temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

    /// Refuse numbers out of range: a negative temperature, say, would be taken for 0.
    pub(super) fn check(&self) -> Result<(), GenerateError> {
        let &Self { repetition_penalty, temperature, top_k: _, top_p, min_p } = self;
        let settings = [
            ("repetition_penalty", repetition_penalty, repetition_penalty > 0.0, "a finite number above 0"),
            ("temperature", temperature, temperature >= 0.0, "0 or a finite number above"),
            ("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", min_p, (0.0..=1.0).contains(&min_p), "at least 0 and at most 1"),
        ];
        match settings.into_iter().find(|(_, value, is_fine, _)| !(*is_fine && value.is_finite())) {
            Some((name, value, _, expected)) => Err(GenerateError::Sampling { name, value, expected }),
            None => Ok(()),
        }
    }

    /// The draw of the token at `position` of a completion, after the tokens `seen` of prompt and completion. Its random
    /// number depends on `seed` and `position` alone.
    pub fn draw_at<'a>(&self, seen: &'a [u32], seed: u64, position: usize) -> Draw<'a> {
        let &Self { repetition_penalty, temperature, top_k, top_p, min_p } = self;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(position as u64);
        Draw { repetition_penalty, seen, temperature, top_k, top_p, min_p, uniform: rng.random() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let plain = Sampling::PLAIN;
        let bad = [
            (Sampling { temperature: -1.0, ..plain }, "temperature is -1"),
            (Sampling { temperature: f32::NAN, ..plain }, "temperature is NaN"),
            (Sampling { temperature: f32::INFINITY, ..plain }, "temperature is inf"),
            (Sampling { top_p: 0.0, ..plain }, "top_p is 0"),
            (Sampling { top_p: 1.5, ..plain }, "top_p is 1.5"),
            (Sampling { min_p: -0.1, ..plain }, "min_p is -0.1"),
            (Sampling { min_p: f32::NAN, ..plain }, "min_p is NaN"),
            (Sampling { repetition_penalty: 0.0, ..plain }, "repetition_penalty is 0"),
            (Sampling { repetition_penalty: f32::INFINITY, ..plain }, "repetition_penalty is inf"),
        ];
        for (sampling, says) in bad {
            let error = sampling.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(Sampling::GREEDY.check().is_ok() && plain.check().is_ok());
    }

    #[test]
    fn a_random_number_depends_on_seed_and_position() {
        let uniform = |seed, position| Sampling::PLAIN.draw_at(&[], seed, position).uniform;
        assert_eq!(uniform(7, 3), uniform(7, 3));
        let all = [uniform(7, 3), uniform(7, 4), uniform(8, 3)];
        assert!(all.iter().all(|u| (0.0..1.0).contains(u)) && all[0] != all[1] && all[0] != all[2], "{all:?}");
    }
}
