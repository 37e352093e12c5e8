//! Tokens with a meaning of their own.

use serde_json::{Value, json};

use crate::format::gguf::{MetaValue, Metadata, Problem};

/// The key of the texts of all tokens.
pub(in crate::format::gguf) const TOKENS: &str = "tokenizer.ggml.tokens";
/// Texts of tokens that end an answer. Files name one of them, where a model may write another: Gemma 3 has `<eos>` as its
/// end, and answers with `<end_of_turn>`.
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
];

/// Ids of tokens with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Opens a text.
    pub bos: Option<u32>,
    /// End a completion: what the file calls the end of a text, of a turn or of a message, then tokens that are known to
    /// be one by their text.
    pub ends: Vec<u32>,
    /// Fills a batch up.
    pub pad: Option<u32>,
    /// Stands for what has no token.
    pub unknown: Option<u32>,
}

impl SpecialTokens {
    /// As `config.json` has them.
    pub(super) fn to_json(&self) -> Value {
        let ends = match self.ends.as_slice() {
            [] => Value::Null,
            [end] => json!(end),
            many => json!(many),
        };
        json!({ "bos_token_id": self.bos, "eos_token_id": ends, "pad_token_id": self.pad })
    }
}

/// The id of the token that has the meaning `name`; `None` when there is none.
pub(in crate::format::gguf) fn id(metadata: &Metadata, name: &str) -> Result<Option<u32>, Problem> {
    let count = metadata.strings(TOKENS)?.map_or(0, <[String]>::len);
    let key = format!("tokenizer.ggml.{name}_token_id");
    match metadata.get(&key).map(MetaValue::integer) {
        // Files say so that there is none.
        None | Some(Some(-1 | 0xFFFF_FFFF)) => Ok(None),
        Some(Some(id)) if (0..count as i128).contains(&id) => Ok(Some(id as u32)),
        Some(found) => {
            let found = found.map_or_else(|| "no number".to_owned(), |id| id.to_string());
            Err(Problem::bad(key, found, format!("the id of one of the {count} tokens")))
        }
    }
}

pub(super) fn read(metadata: &Metadata) -> Result<SpecialTokens, Problem> {
    let tokens = metadata.strings(TOKENS)?.unwrap_or_default();
    let id = |name| id(metadata, name);
    let mut ends: Vec<u32> = vec![];
    let named = ["eos", "eot", "eom"].map(id).into_iter().collect::<Result<Vec<_>, _>>()?;
    let by_text = tokens.iter().zip(0..).filter(|(text, _)| ENDS.contains(&text.as_str())).map(|(_, id)| id);
    for end in named.into_iter().flatten().chain(by_text) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    Ok(SpecialTokens { bos: id("bos")?, ends, pad: id("padding")?, unknown: id("unknown")? })
}
