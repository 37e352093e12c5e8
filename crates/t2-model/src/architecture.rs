//! Model families: how a Hugging Face `config.json` and its tensor names map to our decoder.
//!
//! A new family that the decoder can express is one file beside `llama.rs` and one line in [`ARCHITECTURES`].

pub mod llama;

use std::fmt;

use serde_json::Value;

use crate::checkpoint::LoadError;
use crate::config::DecoderConfig;

pub use llama::Llama;

/// A family of checkpoints.
pub trait Architecture: fmt::Debug + Sync {
    /// The name in the `architectures` list of `config.json`.
    fn hf_name(&self) -> &'static str;

    /// The shape of the decoder that `json`, a parsed `config.json`, describes.
    ///
    /// # Errors
    ///
    /// [`LoadError::BadConfig`] when a key is missing or has a value that the decoder cannot run.
    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError>;

    /// Tensor names, theirs and ours; `{}` stands for the number of the layer.
    fn key_map(&self) -> &'static [(&'static str, &'static str)];
}

/// Every family that loads.
pub const ARCHITECTURES: &[&dyn Architecture] = &[&Llama];

/// The family named by `json`, a parsed `config.json`.
///
/// # Errors
///
/// [`LoadError::UnknownArchitecture`] when none of the names it lists is known.
pub fn find(json: &Value) -> Result<&'static dyn Architecture, LoadError> {
    let named = json["architectures"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let named: Vec<&str> = named.collect();
    let known = ARCHITECTURES.iter().find(|architecture| named.contains(&architecture.hf_name()));
    known.copied().ok_or_else(|| LoadError::UnknownArchitecture {
        found: if named.is_empty() { "nothing".to_owned() } else { named.join(", ") },
        known: ARCHITECTURES.iter().map(|architecture| architecture.hf_name()).collect::<Vec<_>>().join(", "),
    })
}

/// Their name of our parameter `path`: `blocks.3.attn.q.weight` gives `model.layers.3.self_attn.q_proj.weight`.
pub(crate) fn their_name(architecture: &dyn Architecture, path: &str) -> Option<String> {
    let layer = path.split('.').find(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let pattern = layer.map_or(path.to_owned(), |layer| path.replacen(layer, "{}", 1));
    let (theirs, _) = architecture.key_map().iter().find(|(_, ours)| *ours == pattern)?;
    Some(theirs.replacen("{}", layer.unwrap_or_default(), 1))
}

/// The largest number a config may hold: products of two still fit 64 bits.
const MAX_COUNT: u64 = i32::MAX as u64;
const COUNT: &str = "a whole number from 1 to 2147483647";

/// Typed access to the keys of `config.json`; `null` counts as absent, as in transformers.
pub(crate) struct Keys<'a>(pub(crate) &'a Value);

impl<'a> Keys<'a> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A whole number.
    pub(crate) fn count(&self, key: &'static str) -> Result<Option<usize>, LoadError> {
        let read = |value: &Value| value.as_u64().filter(|n| (1..=MAX_COUNT).contains(n)).map(|n| n as usize);
        self.typed(key, COUNT, read)
    }

    /// A whole number that must be there.
    pub(crate) fn required(&self, key: &'static str) -> Result<usize, LoadError> {
        self.count(key)?.ok_or_else(|| missing(key, COUNT))
    }

    /// A number above zero.
    pub(crate) fn number(&self, key: &'static str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a number above 0", |value| value.as_f64().filter(|&x| x > 0.0))
    }

    /// A switch; off when absent.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, LoadError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A string.
    pub(crate) fn string(&self, key: &'static str) -> Result<Option<&'a str>, LoadError> {
        self.typed(key, "a string", Value::as_str)
    }

    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let read = |value| read(value).ok_or_else(|| bad(key, value, expected));
        self.get(key).map(read).transpose()
    }
}

/// `key` has the value `found`, which is not what is `expected`.
pub(crate) fn bad(key: &'static str, found: impl ToString, expected: impl Into<String>) -> LoadError {
    LoadError::BadConfig { key, found: found.to_string(), expected: expected.into() }
}

/// `key` is not there.
pub(crate) fn missing(key: &'static str, expected: impl Into<String>) -> LoadError {
    bad(key, "missing", expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_number_of_the_layer() {
        let name = |path| their_name(&Llama, path);
        assert_eq!(name("blocks.12.attn.q.weight").as_deref(), Some("model.layers.12.self_attn.q_proj.weight"));
        assert_eq!(name("norm.gamma").as_deref(), Some("model.norm.weight"));
        assert_eq!(name("blocks.0.attn.rotary"), None);
    }

    #[test]
    fn an_unknown_architecture_is_named_with_the_known_ones() {
        let error = find(&serde_json::json!({"architectures": ["GPT2LMHeadModel"]})).err().unwrap().to_string();
        assert!(error.contains("GPT2LMHeadModel") && error.contains("LlamaForCausalLM"), "{error}");
    }
}
