//! Whether a head that is said to be the embedding is it.

use super::{Files, LoadError};
use crate::architecture::Source;
use crate::decoder::DecoderConfig;
use crate::decoder::config::{EMBED, HEAD};
use crate::format::stored::{StoredTensor, Tensors};

impl Files {
    /// Whether the config ties the head to the embedding while both are stored, and differ. transformers does not tie
    /// them then (`tie_weights` in its `modeling_utils.py`).
    ///
    /// Of checkpoints that store both, the two are read for it: a copy is the same in type, shape and bytes.
    pub(super) fn has_other_head(&self) -> Result<bool, LoadError> {
        if !self.config.tied_head {
            return Ok(false);
        }
        let tensors = self.format.tensors()?;
        let untied = DecoderConfig { tied_head: false, layers: 0, ..self.config.clone() };
        let stored = |path| {
            let source = self.architecture.sources(&untied).find(|source| source.path == path)?;
            find(&tensors, &self.format.locate(self.architecture, source))
        };
        Ok(stored(EMBED).zip(stored(HEAD)).is_some_and(|(embed, head)| differ(embed, head)))
    }
}

type Found<'a> = &'a Result<StoredTensor<'a>, String>;

fn find<'a>(tensors: &'a Tensors<'_>, source: &Source) -> Option<Found<'a>> {
    source.names.iter().find_map(|name| tensors.get(name))
}

fn differ(embed: Found<'_>, head: Found<'_>) -> bool {
    let (Ok(embed), Ok(head)) = (embed, head) else { return true };
    let differ = embed.ty != head.ty || embed.shape != head.shape || embed.data() != head.data();
    embed.release();
    head.release();
    differ
}
