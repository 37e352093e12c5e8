//! `vocab.json` with `merges.txt`: byte-level BPE as GPT-2 and Qwen2 ship it.

use std::collections::HashMap;

use tokenizers::models::bpe::Merges;

use super::beside::Beside;
use super::byte_level::tokenizer;
use super::splitter::Splitter;
use super::{Fault, Vocabulary, surround};

/// Classes of transformers and the splitters of their words, by name.
const CLASSES: [(&str, &str); 4] = [
    ("GPT2Tokenizer", "gpt-2"),
    ("Qwen2Tokenizer", "qwen2"),
    ("Qwen3Tokenizer", "qwen2"),
    ("CodeGenTokenizer", "phi-2"),
];
/// The same by the `model_type` of `config.json`, for folders that name no class.
const FAMILIES: [(&str, &str); 5] =
    [("gpt2", "gpt-2"), ("phi", "phi-2"), ("qwen2", "qwen2"), ("qwen2_moe", "qwen2"), ("qwen3", "qwen2")];

/// The vocabulary of both files, with the added tokens of `beside`.
pub(in crate::text) fn read(vocab: &[u8], merges: &[u8], beside: &Beside) -> Result<Vocabulary, Fault> {
    let words: HashMap<String, u32> =
        serde_json::from_slice(vocab).map_err(|e| Fault::Broken(format!("no object of tokens and their ids: {e}")))?;
    let splitter = Splitter::named(splitter(beside)?)?;
    let mut tokenizer = tokenizer(words.into_iter().collect(), pairs(merges)?, splitter, beside.added())?;
    let around = |flag, name| if beside.flag(flag) == Some(true) { beside.token(name) } else { None };
    surround(&mut tokenizer, around("add_bos_token", "bos_token"), around("add_eos_token", "eos_token"))?;
    Ok(tokenizer.into())
}

/// The name of the splitter: by the class of the tokenizer, else by the family of the model, else that of GPT-2, whose
/// format this is.
fn splitter(beside: &Beside) -> Result<&'static str, Fault> {
    let find = |table: &[(&str, &'static str)], key: &str| table.iter().find(|(name, _)| *name == key).map(|(_, s)| *s);
    let family = beside.model_type().and_then(|family| find(&FAMILIES, family));
    match beside.class() {
        // The class that stands for any `tokenizer.json`.
        None | Some("PreTrainedTokenizer") => Ok(family.unwrap_or("gpt-2")),
        Some(class) => find(&CLASSES, class).or(family).ok_or_else(|| {
            let known = CLASSES.map(|(name, _)| name).join(", ");
            Fault::Unknown(format!(
                "comes with a tokenizer_config.json of the class {class}; without tokenizer.json, known are {known}; \
                 add the tokenizer.json of the model"
            ))
        }),
    }
}

/// The pairs of a `merges.txt`, best first: two pieces a line, after a line with the version.
fn pairs(merges: &[u8]) -> Result<Merges, Fault> {
    let text = std::str::from_utf8(merges).map_err(|_| Fault::Broken("its merges.txt is not UTF-8".into()))?;
    let lines =
        text.lines().enumerate().filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
    let pair = |(at, line): (usize, &str)| {
        let expected = || Fault::Broken(format!("line {} of its merges.txt is not two pieces and a space", at + 1));
        let (left, right) = line.split_once(' ').filter(|(_, right)| !right.contains(' ')).ok_or_else(expected)?;
        Ok((left.to_owned(), right.to_owned()))
    };
    lines.map(pair).collect()
}
