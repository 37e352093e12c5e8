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
/// The same for texts that could be words of a language, such as a tag of HTML: they end an answer where the file says
/// that the token is none.
const CONTROL_ENDS: [&str; 6] = ["</s>", "<eos>", "[EOS]", "[EOT]", "_<EOT>", "<end_of_utterance>"];
/// The key of what each token is, and its value for one that is no text (`llama_token_type`).
const TYPES: &str = "tokenizer.ggml.token_type";
const CONTROL: i64 = 3;
/// The meanings that no model goes without once a file gives an id for them. llama.cpp too is content to warn of others.
const NEEDED: [&str; 2] = ["bos", "eos"];
/// All other meanings.
const OTHERS: [&str; 4] = ["eot", "eom", "padding", "unknown"];
/// What files have for an id where there is none.
const NO_ID: i128 = -1;
/// The same in 32 bits without a sign.
const NO_ID_OF_32_BITS: i128 = 0xFFFF_FFFF;

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
    let key = key(name);
    match metadata.get(&key).map(MetaValue::integer) {
        // Files say so that there is none.
        None | Some(Some(NO_ID | NO_ID_OF_32_BITS)) => Ok(None),
        Some(Some(id)) if (0..count as i128).contains(&id) => Ok(Some(id as u32)),
        // See `passed_over`.
        Some(Some(_)) if count == 0 || !NEEDED.contains(&name) => Ok(None),
        Some(found) => {
            let found = found.map_or_else(|| "no number".to_owned(), |id| id.to_string());
            Err(Problem::bad(key, found, format!("the id of one of the {count} tokens")))
        }
    }
}

/// Ids that stand for no token and are taken for none, by their keys.
pub(super) fn passed_over(metadata: &Metadata) -> Vec<(String, i128)> {
    let is_none = |name| matches!(id(metadata, name), Ok(None));
    let names = NEEDED.into_iter().chain(OTHERS).filter(|name| is_none(name));
    let found = names.map(key).filter_map(|key| metadata.get(&key)?.integer().map(|id| (key, id)));
    found.filter(|(_, id)| ![NO_ID, NO_ID_OF_32_BITS].contains(id)).collect()
}

/// The key of the id of the token that has the meaning `name`.
fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}_token_id")
}

pub(super) fn read(metadata: &Metadata) -> Result<SpecialTokens, Problem> {
    let tokens = metadata.strings(TOKENS)?.unwrap_or_default();
    let id = |name| id(metadata, name);
    let mut ends: Vec<u32> = vec![];
    let named = ["eos", "eot", "eom"].map(id).into_iter().collect::<Result<Vec<_>, _>>()?;
    let types = metadata.integers(TYPES)?.unwrap_or_default();
    let is_end = |text: &str, at: usize| {
        ENDS.contains(&text) || (CONTROL_ENDS.contains(&text) && types.get(at) == Some(&CONTROL))
    };
    let by_text = (0..).zip(tokens).filter(|(id, text)| is_end(text, *id as usize)).map(|(id, _)| id);
    for end in named.into_iter().flatten().chain(by_text) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    Ok(SpecialTokens { bos: id("bos")?, ends, pad: id("padding")?, unknown: id("unknown")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tokens`, and `ids` by meaning.
    fn metadata(tokens: &[&str], ids: &[(&str, u32)]) -> Metadata {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        let ids = ids.iter().map(|&(name, id)| (key(name), MetaValue::U32(id)));
        let list = (!tokens.is_empty()).then(|| (TOKENS.to_owned(), MetaValue::from(tokens)));
        ids.chain(list).collect()
    }

    #[test]
    fn ids_without_a_token_are_passed_over_but_for_those_that_open_and_end_a_text() {
        let odd = |ids: &[(&str, u32)]| {
            let metadata = metadata(&["a", "b", "c"], ids);
            (read(&metadata), passed_over(&metadata).into_iter().map(|(_, id)| id).collect::<Vec<_>>())
        };
        for name in OTHERS {
            assert_eq!(odd(&[(name, 3)]), (Ok(SpecialTokens::default()), vec![3]), "{name}");
            assert_eq!(odd(&[(name, u32::MAX)]), (Ok(SpecialTokens::default()), vec![]), "{name}");
            assert_eq!(odd(&[(name, 2)]).1, [], "{name}");
        }
        for name in NEEDED {
            let error = odd(&[(name, 3)]).0.unwrap_err().to_string();
            assert!(error.contains(&key(name)) && error.contains("3 tokens"), "{error}");
        }
    }

    #[test]
    fn a_file_without_tokens_has_no_token_with_a_meaning() {
        let metadata = metadata(&[], &[("bos", 1), ("eos", 2), ("padding", 0)]);
        assert_eq!(read(&metadata), Ok(SpecialTokens::default()));
        assert_eq!(passed_over(&metadata).len(), 3);
    }

    #[test]
    fn a_text_that_could_be_a_word_ends_an_answer_only_as_a_control_token() {
        const NORMAL: i32 = 1;
        for text in CONTROL_ENDS {
            for (ty, ends) in [(CONTROL as i32, vec![1]), (NORMAL, vec![])] {
                let tokens = ["a", text].map(str::to_owned).to_vec();
                let pairs = [(TOKENS, MetaValue::from(tokens)), (TYPES, vec![NORMAL, ty].into())];
                let metadata = pairs.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
                assert_eq!(read(&metadata).unwrap().ends, ends, "{text} of type {ty}");
            }
        }
    }
}
