//! What the metadata of a file say of its tokenizer.

use super::config::{TOKENS, id};
use super::{Gguf, Metadata, Problem};
use crate::checkpoint::LoadError;
use crate::text::GgufVocabulary;

impl Gguf {
    /// The vocabulary of the model; `None` in a file without one.
    ///
    /// # Errors
    ///
    /// [`LoadError::Gguf`] when a key has a value of another type.
    pub fn vocabulary(&self) -> Result<Option<GgufVocabulary>, LoadError> {
        read(self.metadata()).map_err(|problem| self.bad(problem))
    }
}

fn read(metadata: &Metadata) -> Result<Option<GgufVocabulary>, Problem> {
    let Some(tokens) = metadata.strings(TOKENS)? else { return Ok(None) };
    let text = |key| Ok::<_, Problem>(metadata.str(key)?.map(str::to_owned));
    let flag = |name| metadata.bool(&format!("tokenizer.ggml.{name}"));
    let types = metadata.integers("tokenizer.ggml.token_type")?;
    Ok(Some(GgufVocabulary {
        model: text("tokenizer.ggml.model")?.unwrap_or_default(),
        pre: text("tokenizer.ggml.pre")?,
        name: text("general.name")?,
        tokens: tokens.to_vec(),
        scores: metadata.floats("tokenizer.ggml.scores")?,
        // What is out of range is no type, and refused as such.
        token_types: types.map(|types| types.into_iter().map(|ty| i32::try_from(ty).unwrap_or(i32::MAX)).collect()),
        merges: metadata.strings("tokenizer.ggml.merges")?.unwrap_or_default().to_vec(),
        bos: id(metadata, "bos")?,
        eos: id(metadata, "eos")?,
        unk: id(metadata, "unknown")?,
        pad: id(metadata, "padding")?,
        eot: id(metadata, "eot")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        chat_template: text("tokenizer.chat_template")?,
    }))
}
