//! What a block does differently from its neighbours.

use serde::{Deserialize, Serialize};

/// What blocks of one kind see and how they turn it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockKind {
    /// A token sees this many tokens, itself included; `None`: all before it.
    #[serde(default)]
    pub window: Option<usize>,
    /// Which positions are told to queries and keys.
    #[serde(default)]
    pub rotary: Rotary,
}

/// Which rotary encoding a block has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotary {
    /// [`rope`](super::DecoderConfig::rope).
    #[default]
    Global,
    /// [`local_rope`](super::DecoderConfig::local_rope).
    Local,
    /// None: queries and keys know no positions.
    Off,
}

impl BlockKind {
    /// Sees everything before it, at positions turned by the encoding that all share.
    pub const PLAIN: Self = Self { window: None, rotary: Rotary::Global };

    /// The shortest pattern that gives `kinds` when it is repeated; nothing for plain blocks.
    pub(crate) fn pattern(kinds: Vec<Self>) -> Vec<Self> {
        if kinds.iter().all(|kind| *kind == Self::PLAIN) {
            return vec![];
        }
        let repeats = |period: &usize| kinds.iter().zip(&kinds[*period..]).all(|(one, next)| one == next);
        let period = (1..kinds.len()).find(repeats).unwrap_or(kinds.len());
        kinds[..period].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kinds: &[Option<usize>], period: usize) {
        let kinds: Vec<_> = kinds.iter().map(|&window| BlockKind { window, ..BlockKind::PLAIN }).collect();
        let pattern = BlockKind::pattern(kinds.clone());
        assert_eq!(pattern.len(), period);
        if period > 0 {
            let repeated: Vec<_> = pattern.iter().copied().cycle().take(kinds.len()).collect();
            assert_eq!(repeated, kinds);
        }
    }

    #[test]
    fn a_pattern_is_as_short_as_it_can_be() {
        check(&[None, None, None], 0);
        check(&[Some(4), Some(4), Some(4)], 1);
        check(&[Some(4), None, Some(4), None, Some(4)], 2);
        check(&[None, None, Some(4), Some(4)], 4);
        check(&[Some(4)], 1);
    }
}
