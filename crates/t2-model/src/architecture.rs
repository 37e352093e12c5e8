//! Model families: how a Hugging Face `config.json` and its tensor names map to our decoder.
//!
//! A new family that the decoder can express is one file beside `llama.rs` and one line in [`ARCHITECTURES`].

pub mod llama;
mod source;

use std::fmt;

use serde_json::Value;

use crate::checkpoint::LoadError;
use crate::decoder::DecoderConfig;

pub use llama::Llama;
pub use source::{Layout, Rows, Source};
pub(crate) use source::{is_known, plain_sources};

/// A family of checkpoints.
pub trait Architecture: fmt::Debug + Sync {
    /// The name in the `architectures` list of `config.json`: `LlamaForCausalLM`.
    fn hf_name(&self) -> &'static str;

    /// What `model_type` in `config.json` is called: `llama`.
    fn model_type(&self) -> &'static str;

    /// The shape of the decoder that `json`, a parsed `config.json`, describes.
    ///
    /// # Errors
    ///
    /// [`LoadError::BadConfig`] when a key is missing or has a value that the decoder cannot run.
    fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError>;

    /// The `config.json` of a decoder, for transformers and [`config`](Self::config) to read back.
    fn to_json(&self, config: &DecoderConfig) -> Value;

    /// Every tensor that a checkpoint of the family may have: its stored name and its path in the decoder, with `{}` in
    /// place of the number of the layer.
    fn names(&self) -> &'static [(&'static str, &'static str)];

    /// Where each parameter of `config` comes from: a tensor of its own unless the family says otherwise.
    fn sources<'a>(&self, config: &'a DecoderConfig) -> Box<dyn Iterator<Item = Source> + 'a> {
        Box::new(plain_sources(config, self.names()))
    }
}

/// Every family that loads.
pub const ARCHITECTURES: &[&dyn Architecture] = &[&Llama];

/// The family of `json`, a parsed `config.json`: the first of [`ARCHITECTURES`] that its list `architectures` names.
/// Where the list is missing, or names the model without its head, as some tools write it, `model_type` decides.
///
/// # Errors
///
/// [`LoadError::UnknownArchitecture`] when neither names a known family.
pub fn find(json: &Value) -> Result<&'static dyn Architecture, LoadError> {
    let named = json["architectures"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let named: Vec<&str> = named.collect();
    let model_type = json["model_type"].as_str();
    let by_name = |architecture: &&&dyn Architecture| named.contains(&architecture.hf_name());
    let by_type = |architecture: &&&dyn Architecture| is_base(&named) && model_type == Some(architecture.model_type());
    let known = ARCHITECTURES.iter().find(by_name).or_else(|| ARCHITECTURES.iter().find(by_type));
    known.copied().ok_or_else(|| LoadError::UnknownArchitecture {
        found: match (named.as_slice(), model_type) {
            ([], None) => "nothing".to_owned(),
            ([], Some(model_type)) => format!("the model_type {model_type}"),
            (named, _) => named.join(", "),
        },
        known: ARCHITECTURES.iter().map(|architecture| architecture.hf_name()).collect::<Vec<_>>().join(", "),
    })
}

/// Whether `architectures` says no more than `model_type` does: it is empty or names a model without a head.
fn is_base(named: &[&str]) -> bool {
    named.iter().all(|name| name.ends_with("Model"))
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

    /// The whole number at `key`; `None` when it is absent.
    pub(crate) fn count(&self, key: &'static str) -> Result<Option<usize>, LoadError> {
        let read = |value: &Value| value.as_u64().filter(|n| (1..=MAX_COUNT).contains(n)).map(|n| n as usize);
        self.typed(key, COUNT, read)
    }

    /// The whole number at `key`, which must be there.
    pub(crate) fn required(&self, key: &'static str) -> Result<usize, LoadError> {
        self.count(key)?.ok_or_else(|| missing(key, COUNT))
    }

    /// The number at `key`, which must be above zero; `None` when it is absent.
    pub(crate) fn number(&self, key: &'static str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a number above 0", |value| value.as_f64().filter(|&x| x > 0.0))
    }

    /// The switch at `key`; off when it is absent.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, LoadError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// The string at `key`; `None` when it is absent.
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

/// The error for a `key` whose value is `found` where something else is `expected`.
pub(crate) fn bad(key: &'static str, found: impl ToString, expected: impl Into<String>) -> LoadError {
    LoadError::BadConfig { key, found: found.to_string(), expected: expected.into() }
}

/// The error for a `key` that is not there.
pub(crate) fn missing(key: &'static str, expected: impl Into<String>) -> LoadError {
    bad(key, "missing", expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_llama(json: &Value) {
        assert_eq!(find(json).unwrap().hf_name(), "LlamaForCausalLM");
    }

    #[test]
    fn a_family_goes_by_its_name_or_its_type() {
        check_llama(&serde_json::json!({"architectures": ["LlamaForCausalLM"]}));
        check_llama(&serde_json::json!({"architectures": null, "model_type": "llama"}));
        check_llama(&serde_json::json!({"model_type": "llama"}));
        check_llama(&serde_json::json!({"architectures": ["LlamaModel"], "model_type": "llama"}));
        let classifier = serde_json::json!({"architectures": ["LlamaForTokenClassification"], "model_type": "llama"});
        assert!(find(&classifier).is_err());
    }

    #[test]
    fn an_unknown_architecture_is_named_with_the_known_ones() {
        let error = find(&serde_json::json!({"architectures": ["GPT2LMHeadModel"]})).err().unwrap().to_string();
        assert!(error.contains("GPT2LMHeadModel") && error.contains("LlamaForCausalLM"), "{error}");
    }
}
