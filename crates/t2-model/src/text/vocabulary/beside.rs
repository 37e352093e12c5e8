//! What the JSON files beside a vocabulary say of it.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::super::tokenizer::{TokenizerError, read};
use crate::checkpoint::foreign;

/// The settings of a tokenizer.
pub(in crate::text) const CONFIG: &str = "tokenizer_config.json";

/// `tokenizer_config.json`, `special_tokens_map.json` and `config.json` of a folder, `null` where there is none, and the
/// tokens that these or `added_tokens.json` add.
#[derive(Clone, Debug, Default)]
pub(in crate::text) struct Beside {
    pub(in crate::text) config: Value,
    pub(in crate::text) map: Value,
    added: Vec<(u32, AddedToken)>,
    model: Value,
}

impl Beside {
    /// What is in `dir`.
    pub(in crate::text) fn read(dir: &Path) -> Result<Self, TokenizerError> {
        let [config, map, named, model] =
            [CONFIG, "special_tokens_map.json", "added_tokens.json", "config.json"].map(|file| dir.join(file));
        let mut beside = Self { map: object(&map)?, model: object(&model)?, ..Self::of(object(&config)?, &config)? };
        if beside.added.is_empty() {
            let id = |id: &Value| u32::try_from(id.as_u64()?).ok();
            let tokens = object(&named)?;
            let tokens = entries(&tokens).map(|(text, number)| (id(number).map(|id| (id, plain(text))), text));
            beside.added = sorted(tokens, "a token with an id", &named)?;
        }
        Ok(beside)
    }

    /// The `tokenizer_config.json` at `path` alone. The path is for messages.
    pub(in crate::text) fn of(config: Value, path: &Path) -> Result<Self, TokenizerError> {
        // No text holds an empty token.
        let described = entries(&config["added_tokens_decoder"]).filter(|(_, token)| token["content"] != "");
        let token = |id: &str, token: &Value| Some((id.parse().ok()?, as_added(token)?));
        let added =
            sorted(described.map(|(id, value)| (token(id, value), id)), "an id with the text of its token", path)?;
        Ok(Self { config, added, ..Self::default() })
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
    pub(in crate::text) fn added(&self) -> &[(u32, AddedToken)] {
        &self.added
    }
}

/// The object in the JSON file at `path`; `null` where there is no file.
fn object(path: &Path) -> Result<Value, TokenizerError> {
    let Some(bytes) = read(path)? else { return Ok(Value::Null) };
    let path = path.to_owned();
    if foreign::is_pointer(&bytes) {
        return Err(TokenizerError::Pointer { path });
    }
    match serde_json::from_slice::<Map<String, Value>>(&bytes) {
        Ok(object) => Ok(object.into()),
        Err(e) => Err(TokenizerError::Malformed { path, reason: e.to_string() }),
    }
}

/// Tokens of the file at `path` in the order of their ids. Each comes with its key there, which is named when its entry
/// is not what is `expected`.
fn sorted<'a>(
    tokens: impl Iterator<Item = (Option<(u32, AddedToken)>, &'a String)>,
    expected: &str,
    path: &Path,
) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
    let malformed = |key| TokenizerError::Malformed {
        path: path.to_owned(),
        reason: format!("its entry {key:?} of added tokens is not {expected}"),
    };
    let mut tokens: Vec<_> =
        tokens.map(|(token, key)| token.ok_or_else(|| malformed(key))).collect::<Result<_, _>>()?;
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens)
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
