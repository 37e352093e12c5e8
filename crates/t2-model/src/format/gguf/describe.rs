//! The `config.json` of a checkpoint as the metadata of a GGUF file: what [`Gguf::config`](super::Gguf::config) reads.
//!
//! The keys are those that llama.cpp's converter writes, so that llama.cpp runs the model. What a file cannot say is
//! refused: it would be another model.

mod rope;
mod tokenizer;

use serde_json::Value;

use super::family::{FAMILIES, Family};
use super::{MetaValue, Problem};

pub use tokenizer::describe_tokenizer;

/// What stands in a GGUF file beside the parameters of a model and its tokenizer.
#[derive(Debug)]
pub struct Description {
    /// The family, which says what the tensors of parameters are called and how their rows lie.
    pub family: &'static Family,
    /// Keys and values.
    pub metadata: Vec<(String, MetaValue)>,
    /// Tensors of one dimension that are no parameters: what the frequencies of the positions are divided by.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
}

/// Describe the model of `config`, a `config.json` in the spelling of transformers 5 with all keys of its family.
///
/// A window of Mistral is written, and read here; llama.cpp runs such a model without one.
///
/// # Errors
///
/// [`Problem::BadKey`] naming a key of `config.json` that is missing, or has a value that no GGUF file can express.
pub fn describe(config: &Value) -> Result<Description, Problem> {
    let model_type = config["model_type"].as_str().unwrap_or("missing");
    let family = FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
        let known = FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", ");
        Problem::bad("model_type", model_type, format!("one of {known}, as GGUF files have them"))
    })?;
    let name = if family.name == "mistral" { "llama" } else { family.name };
    let mut out = Writer { config, name, metadata: vec![], tensors: vec![] };
    out.metadata.push(("general.architecture".to_owned(), name.into()));
    out.shape()?;
    out.activation(family)?;
    out.rope()?;
    out.windows(family)?;
    match family.name {
        "gemma2" | "gemma3" => out.gemma(family)?,
        "granite" => out.granite()?,
        "smollm3" => out.no_rope_layers()?,
        _ => {}
    }
    Ok(Description { family, metadata: out.metadata, tensors: out.tensors })
}

/// Collects the keys of one model.
struct Writer<'a> {
    config: &'a Value,
    /// What `general.architecture` is, with which the keys begin.
    name: &'static str,
    metadata: Vec<(String, MetaValue)>,
    tensors: Vec<(&'static str, Vec<f32>)>,
}

impl Writer<'_> {
    fn put(&mut self, key: &str, value: impl Into<MetaValue>) {
        self.metadata.push((format!("{}.{key}", self.name), value.into()));
    }

    /// The number at `key` of `config.json`.
    fn count(&self, key: &str) -> Result<u32, Problem> {
        let number = self.config[key].as_u64().and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| Problem::bad(key, &self.config[key], "a whole number of 32 bits"))
    }

    fn float(&self, key: &str) -> Result<f32, Problem> {
        float(&self.config[key]).ok_or_else(|| Problem::bad(key, &self.config[key], "a number"))
    }

    fn shape(&mut self) -> Result<(), Problem> {
        for (key, theirs) in [
            ("vocab_size", "vocab_size"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("block_count", "num_hidden_layers"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("attention.key_length", "head_dim"),
            ("attention.value_length", "head_dim"),
        ] {
            self.put(key, self.count(theirs)?);
        }
        self.put("attention.layer_norm_rms_epsilon", self.float("rms_norm_eps")?);
        Ok(())
    }

    /// No key names the activation: it is that of the family.
    fn activation(&self, family: &Family) -> Result<(), Problem> {
        let (key, known) = match family.name {
            "gemma2" | "gemma3" => ("hidden_activation", ["gelu_pytorch_tanh", "gelu_new"]),
            _ => ("hidden_act", ["silu", "swish"]),
        };
        match &self.config[key] {
            Value::Null => Ok(()),
            Value::String(name) if known.contains(&name.as_str()) => Ok(()),
            other => Err(Problem::bad(key, other, format!("{}, as files have no key for it", known[0]))),
        }
    }

    /// Windows, and which layers have them where that is not the custom of the family.
    fn windows(&mut self, family: &Family) -> Result<(), Problem> {
        let types = self.config["layer_types"].as_array().map_or(&[][..], Vec::as_slice);
        let slides: Vec<bool> = types.iter().map(|ty| ty == "sliding_attention").collect();
        let period = match family.name {
            "gemma2" => 2,
            "gemma3" => 6,
            "mistral" | "phi3" => {
                let window = self.config["sliding_window"].as_u64().map_or(Ok(0), |_| self.count("sliding_window"))?;
                // Phi-4 differs from Phi-3 by the zero.
                if window > 0 || family.name == "phi3" {
                    self.put("attention.sliding_window", window);
                }
                return Ok(());
            }
            _ if slides.contains(&true) => {
                return Err(Problem::bad("layer_types", "with sliding_attention", "full_attention in every layer"));
            }
            _ => return Ok(()),
        };
        if slides.contains(&true) || slides.is_empty() {
            self.put("attention.sliding_window", self.count("sliding_window")?);
            let custom = (1..=slides.len()).map(|layer| layer % period != 0);
            if !custom.eq(slides.iter().copied()) {
                self.put("attention.sliding_window_pattern", slides);
            }
        } else if family.name == "gemma2" {
            return Err(Problem::bad("layer_types", "without sliding_attention", "some, as files of Gemma 2 have"));
        }
        Ok(())
    }

    fn gemma(&mut self, family: &Family) -> Result<(), Problem> {
        let largest = if family.name == "gemma2" { super::family::GEMMA2_27B } else { super::family::GEMMA3_27B };
        let divisor = match u64::from(self.count("num_hidden_layers")?) == largest {
            true => self.count("hidden_size")? / self.count("num_attention_heads")?.max(1),
            false => self.count("head_dim")?,
        };
        let found = self.float("query_pre_attn_scalar")?;
        if found != divisor as f32 {
            return Err(Problem::bad(
                "query_pre_attn_scalar",
                found,
                format!("{divisor}, as files have no key for it"),
            ));
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(cap) = float(&self.config[key]) {
                self.put(key, cap);
            } else if family.name == "gemma2" {
                return Err(Problem::bad(key, &self.config[key], "a number, as without the key there is one too"));
            }
        }
        Ok(())
    }

    fn granite(&mut self) -> Result<(), Problem> {
        for (key, theirs) in [
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ] {
            self.put(key, self.float(theirs)?);
        }
        Ok(())
    }

    /// No key says which layers of `SmolLM3` turn nothing: every fourth.
    fn no_rope_layers(&self) -> Result<(), Problem> {
        let listed = self.config["no_rope_layers"].as_array().map_or(&[][..], Vec::as_slice);
        let custom = (1..=listed.len()).map(|layer| u64::from(layer % 4 != 0));
        match listed.iter().zip(custom).all(|(listed, custom)| listed.as_u64() == Some(custom)) {
            true => Ok(()),
            false => {
                Err(Problem::bad("no_rope_layers", Value::from(listed), "a 0 for every fourth layer, 1 for others"))
            }
        }
    }
}

/// A number as it is stored.
fn float(value: &Value) -> Option<f32> {
    value.as_f64().map(|x| x as f32)
}
