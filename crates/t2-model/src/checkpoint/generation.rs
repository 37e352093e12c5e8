//! `generation_config.json`: special tokens and the sampling its authors suggest.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{LoadError, read_json};

const FILE: &str = "generation_config.json";

/// Special tokens of a checkpoint and the sampling its authors suggest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GenerationDefaults {
    /// Tokens that end a completion.
    #[serde(rename = "eos_token_id", deserialize_with = "one_or_many")]
    pub eos: Vec<u32>,
    /// Token that opens a text.
    #[serde(rename = "bos_token_id", deserialize_with = "at_most_one")]
    pub bos: Option<u32>,
    /// Token that fills a batch up.
    #[serde(rename = "pad_token_id", deserialize_with = "at_most_one")]
    pub pad: Option<u32>,
    /// Suggested divisor of the scores.
    pub temperature: Option<f32>,
    /// Suggested share of probability to sample from.
    pub top_p: Option<f32>,
    /// Suggested number of tokens to sample from.
    pub top_k: Option<usize>,
    /// Whether the authors sample at all.
    pub do_sample: Option<bool>,
}

impl GenerationDefaults {
    /// What `generation_config.json` says, completed by the token ids of `config`, the parsed `config.json`.
    pub(crate) fn read(dir: &Path, config: &Value) -> Result<Self, LoadError> {
        let own = if dir.join(FILE).exists() { read_json(dir, FILE)? } else { json!({}) };
        let parse = |json: Value, file| {
            serde_json::from_value::<Self>(json)
                .map_err(|e| LoadError::Malformed { path: dir.join(file), reason: e.to_string() })
        };
        let ids = ["eos_token_id", "bos_token_id", "pad_token_id"].map(|key| (key.to_owned(), config[key].clone()));
        let fallback = parse(Value::Object(ids.into_iter().collect()), super::CONFIG)?;
        let mut generation = parse(own, FILE)?;
        if generation.eos.is_empty() {
            generation.eos = fallback.eos;
        }
        generation.bos = generation.bos.or(fallback.bos);
        generation.pad = generation.pad.or(fallback.pad);
        Ok(generation)
    }

    /// Add the token ids to `json`, the object of a `config.json` or `generation_config.json`.
    pub(crate) fn write_token_ids(&self, json: &mut Value) {
        let eos = match self.eos.as_slice() {
            [] => Value::Null,
            [eos] => (*eos).into(),
            many => many.into(),
        };
        json["bos_token_id"] = self.bos.into();
        json["eos_token_id"] = eos;
        json["pad_token_id"] = self.pad.into();
    }

    /// The `generation_config.json` that [`read`](Self::read) and transformers read back.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!({});
        self.write_token_ids(&mut json);
        let number = |x: f32| Value::from(x.to_string().parse::<f64>().unwrap_or(f64::from(x)));
        let suggested = [
            ("do_sample", self.do_sample.map(Value::from)),
            ("temperature", self.temperature.map(number)),
            ("top_k", self.top_k.map(Value::from)),
            ("top_p", self.top_p.map(number)),
        ];
        for (key, value) in suggested {
            if let Some(value) = value {
                json[key] = value;
            }
        }
        json
    }
}

/// A token id, a list of them, or nothing; negative ids, which some old files hold, mean nothing too.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a token id or a list of them")]
    enum OneOrMany {
        One(i64),
        Many(Vec<i64>),
    }
    let ids = match Option::deserialize(deserializer)? {
        None => vec![],
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
    };
    Ok(ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
}

fn at_most_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(one_or_many(deserializer)?.first().copied())
}
