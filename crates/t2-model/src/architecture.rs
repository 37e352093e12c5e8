//! Model families: how a Hugging Face `config.json` and its tensor names map to our decoder.
//!
//! A new family that the decoder can express is one file beside `llama.rs` and one line in [`ARCHITECTURES`]. What the
//! families spell alike is read and written by `shape.rs` and `rope.rs`.

mod gemma2;
mod gemma3;
mod granite;
mod keys;
mod layers;
mod llama;
mod mistral;
mod names;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod rope;
mod shape;
mod smollm3;
mod source;

use std::fmt;

use serde_json::Value;

use crate::checkpoint::LoadError;
use crate::decoder::DecoderConfig;

pub use gemma2::Gemma2;
pub use gemma3::{Gemma3, Gemma3Multimodal};
pub use granite::Granite;
pub use llama::Llama;
pub use mistral::Mistral;
pub use olmo2::Olmo2;
pub use phi3::Phi3;
pub use qwen2::Qwen2;
pub use qwen3::Qwen3;
pub use smollm3::SmolLm3;
pub use source::{Layout, Rows, Source, Transform};
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
pub const ARCHITECTURES: &[&dyn Architecture] =
    &[&Llama, &Mistral, &Qwen2, &Qwen3, &SmolLm3, &Gemma2, &Gemma3, &Gemma3Multimodal, &Phi3, &Olmo2, &Granite];

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
            ([], None) => "no architecture".to_owned(),
            ([], Some(model_type)) => format!("the model_type {model_type}"),
            (named, _) => format!("the architecture {}", named.join(", ")),
        },
        known: ARCHITECTURES.iter().map(|architecture| architecture.hf_name()).collect::<Vec<_>>().join(", "),
    })
}

/// The decoder that `json`, a parsed `config.json` of the family `architecture`, describes.
///
/// # Errors
///
/// [`LoadError::BadConfig`], and [`LoadError::Shape`] where the family lets something pass that no decoder can be.
pub(crate) fn describe(architecture: &dyn Architecture, json: &Value) -> Result<DecoderConfig, LoadError> {
    let config = architecture.config(json)?;
    config.check()?;
    Ok(config)
}

/// Whether `architectures` says no more than `model_type` does: it is empty or names a model without a head.
fn is_base(named: &[&str]) -> bool {
    named.iter().all(|name| name.ends_with("Model"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(json: &Value, name: &str) {
        assert_eq!(find(json).unwrap().hf_name(), name);
    }

    #[test]
    fn a_family_goes_by_its_name_or_its_type() {
        for family in ARCHITECTURES {
            let (name, model_type) = (family.hf_name(), family.model_type());
            check(&json!({ "architectures": [name] }), name);
            check(&json!({ "architectures": null, "model_type": model_type }), name);
            check(&json!({ "architectures": [], "model_type": model_type }), name);
            check(&json!({ "model_type": model_type }), name);
            check(&json!({ "architectures": ["BareModel"], "model_type": model_type }), name);
        }
        let classifier = json!({ "architectures": ["LlamaForTokenClassification"], "model_type": "llama" });
        assert!(find(&classifier).is_err());
    }

    #[test]
    fn an_unknown_architecture_is_named_with_the_known_ones() {
        #[track_caller]
        fn check_unknown(json: &Value, found: &str) {
            let error = find(json).err().unwrap().to_string();
            assert!(error.contains(&format!("it names {found};")), "{error}");
            assert!(ARCHITECTURES.iter().all(|family| error.contains(family.hf_name())), "{error}");
        }
        check_unknown(&json!({ "architectures": ["GPT2LMHeadModel"] }), "the architecture GPT2LMHeadModel");
        check_unknown(&json!({ "model_type": "gpt2" }), "the model_type gpt2");
        check_unknown(&json!([]), "no architecture");
    }

    /// A family that lets everything pass.
    #[derive(Debug)]
    struct Careless;

    impl Architecture for Careless {
        fn hf_name(&self) -> &'static str {
            "CarelessForCausalLM"
        }

        fn model_type(&self) -> &'static str {
            "careless"
        }

        fn config(&self, json: &Value) -> Result<DecoderConfig, LoadError> {
            Ok(DecoderConfig { vocab: json["vocab_size"].as_u64().unwrap_or(0) as usize, ..DecoderConfig::tiny() })
        }

        fn to_json(&self, _: &DecoderConfig) -> Value {
            json!({})
        }

        fn names(&self) -> &'static [(&'static str, &'static str)] {
            &[]
        }
    }

    #[test]
    fn what_no_decoder_can_be_is_refused_whatever_the_family_says() {
        assert_eq!(describe(&Careless, &json!({ "vocab_size": 5 })).unwrap().vocab, 5);
        let error = describe(&Careless, &json!({ "vocab_size": 0 })).unwrap_err().to_string();
        assert!(error.contains("vocab is 0") && error.contains("at least 1"), "{error}");
    }
}
