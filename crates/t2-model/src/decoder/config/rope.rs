//! Rotary positions: which coordinates are turned, how fast, and how that stretches to longer contexts.

use serde::{Deserialize, Serialize};

/// Rotary position encoding: the base period and how it is stretched to longer contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the geometric sequence of wavelengths.
    pub theta: f64,
    /// Share of every head that is turned, from its first coordinate on; the rest is left as it is.
    #[serde(default = "whole")]
    pub fraction: f64,
    /// How frequencies are rescaled.
    #[serde(default)]
    pub scaling: RopeScaling,
}

const fn whole() -> f64 {
    1.0
}

impl RopeConfig {
    /// Every coordinate is turned, at frequencies as they are.
    pub const fn new(theta: f64) -> Self {
        Self { theta, fraction: whole(), scaling: RopeScaling::None }
    }

    /// How many coordinates of a head of `head_dim` are turned.
    pub fn rotated(&self, head_dim: usize) -> usize {
        // transformers cuts off, too.
        (head_dim as f64 * self.fraction) as usize
    }

    /// The length, in tokens, up to which a position is turned the same in any sequence; `None` where it always is.
    pub(crate) fn same_up_to(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::Dynamic { original_max_seq_len, .. } | RopeScaling::LongRope { original_max_seq_len, .. } => {
                Some(original_max_seq_len)
            }
            _ => None,
        }
    }

    /// The length, in tokens, after which the frequencies of every position of a sequence become others: keys that were
    /// turned before are then of another encoding. `None` where a position is turned the same in any sequence, or where
    /// keys keep the turn that they had when they were computed.
    pub(crate) fn switches_after(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::LongRope { original_max_seq_len, outgrown: Outgrown::Reread, .. } => {
                Some(original_max_seq_len)
            }
            _ => None,
        }
    }
}

impl Default for RopeConfig {
    fn default() -> Self {
        Self::new(10_000.0)
    }
}

/// How rotary frequencies are rescaled for contexts longer than those of pretraining.
///
/// The frequencies of `Dynamic` and `LongRope` depend on the length of the sequence. In a pass with a cache that is the
/// length of each row up to the last token of the pass, its padding left out, so that a row does not depend on its batch
/// (a prompt that is read in pieces has its whole length from the first);
/// transformers takes that of the longest row for all. Without a cache it is the number of columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Frequencies as they are.
    #[default]
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Stretch of the context.
        factor: f64,
    },
    /// A base that grows with the length of a sequence ("NTK-aware"). Keys in a cache keep the turn that they had when
    /// they were computed, as in transformers: past the original length, decoding with a cache and reading the whole
    /// text anew differ by design.
    Dynamic {
        /// How fast the base grows: what the context is stretched by at `factor` times its original length.
        factor: f64,
        /// Context length of pretraining, in tokens, up to which nothing changes.
        original_max_seq_len: usize,
    },
    /// `YaRN`: long wavelengths divided by `factor`, short ones kept, a ramp over the pairs between them, and cosines and
    /// sines scaled.
    Yarn {
        /// Stretch of the context.
        factor: f64,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// Turns within the original context above which a wavelength is short.
        beta_fast: f64,
        /// Turns within the original context below which a wavelength is long.
        beta_slow: f64,
        /// Context length of pretraining, in tokens.
        original_max_seq_len: usize,
        /// The ramp begins and ends at whole pairs.
        truncate: bool,
    },
    /// Llama 3.1 to 3.3: long wavelengths divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// Stretch of the context.
        factor: f64,
        /// Wavelengths above `original_max_seq_len / low_freq_factor` are stretched in full.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_seq_len / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of pretraining, in tokens.
        original_max_seq_len: usize,
    },
    /// `LongRoPE`: every frequency divided by a number of its own, from one list for sequences up to the original length
    /// and another for longer ones.
    LongRope {
        /// Divisors up to the original length, one for each pair of coordinates that is turned.
        short: Vec<f64>,
        /// Divisors beyond it.
        long: Vec<f64>,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// Context length of pretraining, in tokens.
        original_max_seq_len: usize,
        /// What becomes of a sequence that grows beyond it in a cache.
        #[serde(default)]
        outgrown: Outgrown,
    },
}

/// What becomes of the keys in a cache when their sequence outgrows the length that their frequencies are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outgrown {
    /// All tokens are read anew, once, as transformers does for Phi-3: decoding with a cache is reading the whole text.
    #[default]
    Reread,
    /// They stay as they are, as in transformers for every other family: decoding with a cache and reading the whole text
    /// anew differ, as with [`RopeScaling::Dynamic`].
    Keep,
}
