//! Which weights of a decoder experts may scale.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decoder::config::DecoderConfig;

/// Which weights of the decoder are adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The feed-forward matrices: gate, up and down.
    pub mlp: bool,
    /// The attention matrices: queries, keys, values and output.
    pub attn: bool,
}

impl Targets {
    /// Every matrix of every block.
    pub const ALL: Self = Self { mlp: true, attn: true };
    /// The feed-forward matrices of every block.
    pub const MLP: Self = Self { mlp: true, attn: false };
    /// The attention matrices of every block.
    pub const ATTN: Self = Self { mlp: false, attn: true };
    /// No matrix: where a union begins.
    pub const NONE: Self = Self { mlp: false, attn: false };

    /// The targets that the parameter at `path` belongs to.
    pub fn of(path: &str) -> Self {
        Self { mlp: Self::MLP.matches(path), attn: Self::ATTN.matches(path) }
    }

    /// Whether the parameter at `path` is adapted.
    pub fn matches(&self, path: &str) -> bool {
        let inside = |module: &str| path.contains(module) && path.ends_with(".weight");
        self.mlp && inside(".mlp.") || self.attn && inside(".attn.")
    }

    /// Number of trainable scales: the ranks of the adapted matrices, added up.
    pub fn num_scales(&self, config: &DecoderConfig) -> usize {
        let adapted = config.parameters().filter(|(path, _)| self.matches(path));
        adapted.filter_map(|(_, shape)| shape.into_iter().min()).sum()
    }
}

impl BitOr for Targets {
    type Output = Self;

    /// What either adapts.
    fn bitor(self, other: Self) -> Self {
        Self { mlp: self.mlp || other.mlp, attn: self.attn || other.attn }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.mlp, self.attn) {
            (true, true) => "mlp,attn",
            (true, false) => "mlp",
            (false, true) => "attn",
            (false, false) => "",
        })
    }
}

/// A target that no decoder has.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no target; use mlp, attn, or both separated by a comma")]
pub struct UnknownTarget(String);

impl FromStr for Targets {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let mut targets = Self { mlp: false, attn: false };
        for name in text.split(',').map(str::trim) {
            match name {
                "mlp" => targets.mlp = true,
                "attn" => targets.attn = true,
                other => return Err(UnknownTarget(other.to_owned())),
            }
        }
        Ok(targets)
    }
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
