//! Which weights of a decoder experts may scale.

use std::fmt;
use std::str::FromStr;

use crate::config::DecoderConfig;

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
