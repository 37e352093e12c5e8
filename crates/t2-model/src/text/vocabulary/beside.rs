//! What the JSON files beside a vocabulary say of it.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::super::tokenizer::{TokenizerError, read};

/// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and `config.json` of a folder; `null` where
/// there is none.
///
/// A file that is no JSON counts as `null` here. It is reported where the chat template is read, which needs it.
#[derive(Clone, Debug, Default)]
pub(in crate::text) struct Beside {
    pub(in crate::text) config: Value,
    pub(in crate::text) map: Value,
    added: Value,
    model: Value,
}

impl Beside {
    /// What is in `dir`.
    pub(in crate::text) fn read(dir: &Path) -> Result<Self, TokenizerError> {
        let json = |file: &str| {
            let text = read(&dir.join(file))?.unwrap_or_default();
            Ok::<_, TokenizerError>(serde_json::from_slice(&text).unwrap_or(Value::Null))
        };
        Ok(Self {
            config: json("tokenizer_config.json")?,
            map: json("special_tokens_map.json")?,
            added: json("added_tokens.json")?,
            model: json("config.json")?,
        })
    }

    /// A `tokenizer_config.json` alone.
    pub(in crate::text) fn of(config: Value) -> Self {
        Self { config, ..Self::default() }
    }

    /// The class of the tokenizer in transformers, without the `Fast` at its end.
    pub(in crate::text) fn class(&self) -> Option<&str> {
        let class = self.config["tokenizer_class"].as_str()?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// The family of the model, as its `config.json` names it.
    pub(in crate::text) fn model_type(&self) -> Option<&str> {
        self.model["model_type"].as_str()
    }

    /// A setting that is on or off.
    pub(in crate::text) fn flag(&self, name: &str) -> Option<bool> {
        self.config[name].as_bool()
    }

    /// The text of a special token, such as `bos_token`.
    pub(in crate::text) fn token(&self, name: &str) -> Option<&str> {
        spelling(&self.config[name]).or_else(|| spelling(&self.map[name]))
    }

    /// The tokens that were added to the vocabulary, by their ids.
    pub(in crate::text) fn added(&self) -> Vec<(u32, AddedToken)> {
        let id = |id: &String| id.parse().ok();
        let described = entries(&self.config["added_tokens_decoder"]);
        let described = described.filter_map(|(number, token)| Some((id(number)?, as_added(token)?)));
        let mut added: Vec<(u32, AddedToken)> = described.collect();
        if added.is_empty() {
            let named = entries(&self.added);
            let named = named.filter_map(|(text, id)| Some((u32::try_from(id.as_u64()?).ok()?, plain(text))));
            added.extend(named);
        }
        added.sort_by_key(|(id, _)| *id);
        added
    }
}

/// The text of a token, which a file gives as it is or in an object.
pub(in crate::text) fn spelling(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str()).filter(|text| !text.is_empty())
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// A token that is read whole and shown.
fn plain(text: &str) -> AddedToken {
    AddedToken::from(text, false).normalized(false)
}

fn as_added(token: &Value) -> Option<AddedToken> {
    let flag = |name: &str| token[name].as_bool().unwrap_or(false);
    let text = spelling(token)?;
    let added = AddedToken::from(text, flag("special")).normalized(flag("normalized"));
    Some(added.lstrip(flag("lstrip")).rstrip(flag("rstrip")).single_word(flag("single_word")))
}
