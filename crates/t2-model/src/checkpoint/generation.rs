//! `generation_config.json`: special tokens, and the sampling that the authors of the model suggest.
//!
//! The file is advice, written by many tools: numbers come as integers or floats, what does not apply is left out,
//! `null` or negative, and unknown keys abound. A value of another type is refused by its key.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::LoadError;
use crate::format::CONFIG;

const FILE: &str = "generation_config.json";
const TOKEN_IDS: &str = "a token id or a list of them";

/// Special tokens of a checkpoint, and the sampling that its authors suggest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end a completion.
    pub eos: Vec<u32>,
    /// Token that opens a text.
    pub bos: Option<u32>,
    /// Token that fills a batch up.
    pub pad: Option<u32>,
    /// Suggested divisor of the scores.
    pub temperature: Option<f32>,
    /// Suggested share of probability to sample from.
    pub top_p: Option<f32>,
    /// Suggested number of tokens to sample from.
    pub top_k: Option<usize>,
    /// Suggested share of the most likely token's probability that a token must have.
    pub min_p: Option<f32>,
    /// Suggested divisor of the scores of tokens that are there already.
    pub repetition_penalty: Option<f32>,
    /// Whether the authors sample at all.
    pub do_sample: Option<bool>,
}

impl GenerationDefaults {
    /// What `generation_config.json` says, completed by the token ids of `config`, the parsed `config.json`.
    pub(crate) fn read(dir: &Path, config: &Value) -> Result<Self, LoadError> {
        let own = Keys { path: &dir.join(FILE), json: &read_advice(dir)? };
        let fallback = Keys { path: &dir.join(CONFIG), json: config };
        let mut generation = Self { eos: own.ids("eos_token_id")?, ..own.sampling()? };
        generation.end_at(fallback.ids("eos_token_id")?);
        let first = |key| Ok::<_, LoadError>(own.ids(key)?.first().or(fallback.ids(key)?.first()).copied());
        Ok(Self { bos: first("bos_token_id")?, pad: first("pad_token_id")?, ..generation })
    }

    /// Let `tokens` end a completion too.
    pub fn end_at(&mut self, tokens: impl IntoIterator<Item = u32>) {
        for token in tokens {
            if !self.eos.contains(&token) {
                self.eos.push(token);
            }
        }
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
            ("min_p", self.min_p.map(number)),
            ("repetition_penalty", self.repetition_penalty.map(number)),
        ];
        for (key, value) in suggested {
            if let Some(value) = value {
                json[key] = value;
            }
        }
        json
    }
}

/// The object in `generation_config.json`; an empty one where there is no file, or none that is JSON: a model runs
/// without advice.
fn read_advice(dir: &Path) -> Result<Value, LoadError> {
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(json!({})),
        Err(source) => return Err(LoadError::Read { path, source }),
    };
    let object = serde_json::from_slice::<Map<_, _>>(&text).unwrap_or_else(|e| {
        tracing::warn!("{} is no JSON object ({e}); going on with what config.json says", path.display());
        Map::new()
    });
    Ok(Value::Object(object))
}

/// The keys of the file at `path`.
struct Keys<'a> {
    path: &'a Path,
    json: &'a Value,
}

impl Keys<'_> {
    /// What is suggested about sampling. Where the authors do not sample, a number that nobody could sample with is
    /// there for another reason, and suggests nothing.
    fn sampling(&self) -> Result<GenerationDefaults, LoadError> {
        let do_sample = self.typed("do_sample", "true or false", Value::as_bool)?;
        let within = |key, expected, range: fn(f64) -> bool| {
            let number = self.typed(key, "a number", Value::as_f64)?;
            match number.filter(|&number| !range(number)) {
                Some(number) if do_sample == Some(true) => Err(self.bad(key, &number.into(), expected)),
                Some(_) => Ok(None),
                None => Ok(number),
            }
        };
        let temperature = within("temperature", "0 or a number above", |x| x >= 0.0)?;
        let top_p = within("top_p", "a number above 0, up to 1", |x| x > 0.0 && x <= 1.0)?;
        let min_p = within("min_p", "a number from 0 to 1", |x| (0.0..=1.0).contains(&x))?;
        let repetition_penalty = within("repetition_penalty", "a number above 0", |x| x > 0.0)?;
        // Several tools write -1 for all tokens.
        let top_k = within("top_k", "a whole number, 0 or -1 for all tokens", |x| x >= -1.0 && x.fract() == 0.0)?;
        Ok(GenerationDefaults {
            do_sample,
            temperature: temperature.map(|x| x as f32),
            top_p: top_p.map(|x| x as f32),
            min_p: min_p.map(|x| x as f32),
            repetition_penalty: repetition_penalty.map(|x| x as f32),
            top_k: top_k.map(|k| k.max(0.0) as usize),
            ..GenerationDefaults::default()
        })
    }

    /// A token id or a list of them. Negative ones, which some files hold, mean none.
    fn ids(&self, key: &'static str) -> Result<Vec<u32>, LoadError> {
        let value = &self.json[key];
        let listed = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let mut ids = vec![];
        for id in listed.iter().filter(|id| !id.is_null()) {
            let number = id.as_f64().filter(|id| id.fract() == 0.0 && *id <= f64::from(u32::MAX));
            let number = number.ok_or_else(|| self.bad(key, value, TOKEN_IDS))?;
            ids.extend((number >= 0.0).then_some(number as u32));
        }
        Ok(ids)
    }

    /// The value of `key`; `None` when it is left out or `null`.
    fn typed<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let value = &self.json[key];
        if value.is_null() { Ok(None) } else { read(value).map(Some).ok_or_else(|| self.bad(key, value, expected)) }
    }

    fn bad(&self, key: &'static str, found: &Value, expected: &'static str) -> LoadError {
        LoadError::BadValue { path: self.path.to_owned(), key, found: found.to_string(), expected }
    }
}
