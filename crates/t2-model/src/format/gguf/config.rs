//! The metadata of a GGUF file as the `config.json` of the checkpoint that it was made from.
//!
//! Whoever reads a family reads this and never learns that there was a GGUF file. Keys are those that
//! `conversion/*.py` of llama.cpp writes; what it leaves out has the value that `src/models/*.cpp` assumes.

mod rope;
mod special;

use serde_json::{Map, Value, json};

use super::family::{self, Family};
use super::{Gguf, Metadata, Problem, Tensor};
use crate::checkpoint::LoadError;

pub(super) use rope::Llama3;
pub use special::SpecialTokens;
pub(super) use special::{TOKENS, id};

/// More than any model has, and few enough for lists of them.
const MOST_LAYERS: u64 = 100_000;

impl Gguf {
    /// The family of the model.
    ///
    /// # Errors
    ///
    /// [`LoadError::Gguf`] when it is missing or unknown; the error lists those that are known.
    pub fn family(&self) -> Result<&'static Family, LoadError> {
        family::find(self.metadata()).map_err(|problem| self.bad(problem))
    }

    /// The `config.json` of the model.
    ///
    /// # Errors
    ///
    /// [`LoadError::Gguf`] naming a key that is missing or has a value that no model of the family has.
    pub fn config(&self) -> Result<Value, LoadError> {
        let config = family::find(self.metadata()).and_then(|family| config(&Keys { gguf: self, family }));
        config.map_err(|problem| self.bad(problem))
    }

    /// The tokens with a meaning of their own.
    ///
    /// # Errors
    ///
    /// [`LoadError::Gguf`] when an id is no whole number, or no token opens or ends a text as the file says.
    pub fn special_tokens(&self) -> Result<SpecialTokens, LoadError> {
        for (key, id) in special::passed_over(self.metadata()) {
            tracing::warn!(
                "{}: `{key}` is {id}, and there is no such token; going on without it",
                self.path().display()
            );
        }
        special::read(self.metadata()).map_err(|problem| self.bad(problem))
    }
}

fn config(keys: &Keys<'_>) -> Result<Value, Problem> {
    if let Some(experts) = keys.count("expert_count")? {
        return Err(keys.bad("expert_count", experts, "none, as mixtures of experts inside a model are not run"));
    }
    let family = keys.family;
    let mut json = object(json!({
        "architectures": [family.hf_name],
        "model_type": family.model_type,
        "hidden_act": "silu",
        "vocab_size": keys.vocab()?,
        "hidden_size": keys.required("embedding_length")?,
        "intermediate_size": keys.required("feed_forward_length")?,
        "num_hidden_layers": keys.layers()?,
        "num_attention_heads": keys.required("attention.head_count")?,
        "num_key_value_heads": keys.kv_heads()?,
        "head_dim": keys.head_dim()?,
        "max_position_embeddings": keys.required("context_length")?,
        "rms_norm_eps": keys.required_number("attention.layer_norm_rms_epsilon")?,
        "tie_word_embeddings": !keys.has("output.weight"),
        "rope_parameters": keys.rope(10_000.0)?,
    }));
    json.extend(object((family.own_keys)(keys)?));
    json.extend(object(special::read(keys.metadata())?.to_json()));
    Ok(Value::Object(json))
}

fn object(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The keys of a file that begin with the name of its family.
pub(super) struct Keys<'a> {
    gguf: &'a Gguf,
    family: &'static Family,
}

impl<'a> Keys<'a> {
    pub(super) fn metadata(&self) -> &'a Metadata {
        self.gguf.metadata()
    }

    /// The whole of the key that ends in `end`. A Mistral goes by the name of its file's family.
    pub(super) fn key(&self, end: &str) -> String {
        let name = self.metadata().str("general.architecture").ok().flatten().unwrap_or(self.family.name);
        format!("{name}.{end}")
    }

    pub(super) fn bad(&self, end: &str, found: impl ToString, expected: &str) -> Problem {
        Problem::bad(self.key(end), found, expected)
    }

    /// Whether there is a tensor called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensor(name).is_some()
    }

    /// Whether queries have a bias, stored on its own or with that of keys and values.
    pub(super) fn has_attention_bias(&self) -> bool {
        self.has("blk.0.attn_q.bias") || self.has("blk.0.attn_qkv.bias")
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.gguf.tensor(name)
    }

    /// The whole number above zero at a key, or the one that a list of it repeats for every layer; `None` when it is absent
    /// or zero.
    pub(super) fn count(&self, end: &str) -> Result<Option<u64>, Problem> {
        let key = self.key(end);
        let single = self.metadata().u64(&key);
        let number = match self.metadata().integers(&key) {
            Ok(Some(list)) => match (list.first(), list.iter().find(|&n| Some(n) != list.first())) {
                (Some(&same), None) => u64::try_from(same).ok(),
                (first, other) => {
                    let shown: Vec<_> = first.into_iter().chain(other).map(i64::to_string).collect();
                    let found = match shown.is_empty() {
                        true => "an empty list".to_owned(),
                        false => format!("a list of {} with {}", list.len(), shown.join(" and ")),
                    };
                    return Err(self.bad(end, found, "the same number for every layer"));
                }
            },
            _ => single?,
        };
        Ok(number.filter(|&number| number > 0))
    }

    /// The whole number above zero at a key that must be there.
    pub(super) fn required(&self, end: &str) -> Result<u64, Problem> {
        self.count(end)?.ok_or_else(|| self.bad(end, "missing or zero", "a whole number from 1 on"))
    }

    /// The number at a key; `None` when it is absent or zero, which files have for what is off.
    pub(super) fn number(&self, end: &str) -> Result<Option<f64>, Problem> {
        Ok(self.metadata().f64(&self.key(end))?.filter(|&number| number != 0.0))
    }

    fn required_number(&self, end: &str) -> Result<f64, Problem> {
        self.number(end)?.ok_or_else(|| self.bad(end, "missing or zero", "a number"))
    }

    /// How many tokens back a layer with a window sees.
    pub(super) fn window(&self) -> Result<Option<u64>, Problem> {
        self.count("attention.sliding_window")
    }

    pub(super) fn layers(&self) -> Result<u64, Problem> {
        match self.required("block_count")? {
            layers @ ..=MOST_LAYERS => Ok(layers),
            layers => Err(self.bad("block_count", layers, "at most 100000")),
        }
    }

    fn kv_heads(&self) -> Result<u64, Problem> {
        match self.count("attention.head_count_kv")? {
            Some(heads) => Ok(heads),
            None => self.required("attention.head_count"),
        }
    }

    /// Width of a head. Where no key says it, Llamas turn all of it, and the width of the stream is that of all heads.
    pub(super) fn head_dim(&self) -> Result<u64, Problem> {
        let (keys, values) = (self.count("attention.key_length")?, self.count("attention.value_length")?);
        if let (Some(keys), Some(values)) = (keys, values)
            && keys != values
        {
            return Err(self.bad("attention.value_length", values, &format!("{keys}, as wide as the keys")));
        }
        let turned = if self.family.interleaved { self.count("rope.dimension_count")? } else { None };
        let (width, heads) = (self.required("embedding_length")?, self.required("attention.head_count")?);
        match keys.or(turned) {
            Some(head_dim) => Ok(head_dim),
            None if width.is_multiple_of(heads) => Ok(width / heads),
            None => Err(self.bad("attention.key_length", "missing", &format!("it, as {heads} do not divide {width}"))),
        }
    }

    /// Number of token ids: rows of the embedding, which may be more than there are tokens.
    fn vocab(&self) -> Result<u64, Problem> {
        let rows = self.tensor("token_embd.weight").and_then(|embed| embed.shape.first().copied());
        match (rows, self.metadata().strings(TOKENS)?) {
            (Some(rows), _) => Ok(rows as u64),
            (None, Some(tokens)) => Ok(tokens.len() as u64),
            (None, None) => self.required("vocab_size"),
        }
    }
}
