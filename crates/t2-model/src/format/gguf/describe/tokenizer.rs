//! A `tokenizer.json` as the keys of a GGUF file.
//!
//! A file has no rules for how text is cut up, but a name for them that llama.cpp knows (`tokenizer.ggml.pre`). A tokenizer
//! that cuts in a way without a name here is refused.

use std::collections::HashMap;

use serde_json::Value;

use crate::format::gguf::{MetaValue, Problem, SpecialTokens};

/// How a text is cut up before pairs are merged: the expression in `tokenizer.json`, and its name.
const SPLITS: &[(&str, &str)] = &[
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "dbrx",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "tekken",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "gpt-4o",
    ),
];

/// What a token is (`llama_token_type`).
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// Describe the tokenizer of `json`, a `tokenizer.json` of pairs that are merged, for a model with `vocab` token ids.
///
/// # Errors
///
/// [`Problem::BadKey`] naming what is of another kind, or cut up in a way that GGUF files have no name for.
pub fn describe_tokenizer(
    json: &Value,
    vocab: usize,
    special: &SpecialTokens,
) -> Result<Vec<(String, MetaValue)>, Problem> {
    let model = &json["model"];
    if !(model["type"] == "BPE" || (model["type"].is_null() && model["merges"].is_array())) {
        return Err(Problem::bad("model.type", &model["type"], "BPE, the only kind that is written"));
    }
    let (tokens, kinds) = tokens(json, vocab)?;
    let merges = merges(&model["merges"])?;
    let mut out: Vec<(&str, MetaValue)> = vec![];
    if let Some(bytes) = part(&json["pre_tokenizer"], "ByteLevel") {
        if bytes["add_prefix_space"] == true {
            let key = "pre_tokenizer.add_prefix_space";
            return Err(Problem::bad(key, true, "false, as no key says that a text begins with a space"));
        }
        check_normalizer(&json["normalizer"])?;
        out.push(("model", "gpt2".into()));
        out.push(("pre", pre(&json["pre_tokenizer"], model["ignore_merges"] == true)?.into()));
        out.push(("merges", merges.iter().map(|[one, other]| format!("{one} {other}")).collect::<Vec<_>>().into()));
    } else if model["byte_fallback"] == true {
        out.push(("model", "llama".into()));
        out.push(("pre", "default".into()));
        out.push(("scores", scores(&tokens, &merges).into()));
        out.push(("add_space_prefix", prepends_a_space(json).into()));
    } else {
        let expected = "ByteLevel, or byte_fallback in the model; other tokenizers have no place in GGUF files";
        return Err(Problem::bad("pre_tokenizer", &json["pre_tokenizer"]["type"], expected));
    }
    out.push(("tokens", tokens.into()));
    out.push(("token_type", kinds.into()));
    out.push(("add_bos_token", opens_with_a_token(&json["post_processor"]).into()));
    let end = |index| special.ends.get(index).copied();
    let ids = [
        ("bos_token_id", special.bos),
        ("eos_token_id", end(0)),
        ("eot_token_id", end(1)),
        ("eom_token_id", end(2)),
        ("padding_token_id", special.pad),
        ("unknown_token_id", special.unknown),
    ];
    out.extend(ids.into_iter().filter_map(|(key, id)| Some((key, id?.into()))));
    Ok(out.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect())
}

/// The text of every id and what it is.
fn tokens(json: &Value, vocab: usize) -> Result<(Vec<String>, Vec<i32>), Problem> {
    let mut tokens: Vec<String> = (0..vocab).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![kind::UNUSED; vocab];
    let mut set = |text: &str, id: &Value, kind| match id.as_u64().filter(|&id| id < vocab as u64) {
        Some(id) => {
            text.clone_into(&mut tokens[id as usize]);
            kinds[id as usize] = kind;
            Ok(())
        }
        None => Err(Problem::bad("vocab", format!("{text:?} with the id {id}"), format!("ids below {vocab}"))),
    };
    let model = &json["model"];
    let is_byte = |text: &str| model["byte_fallback"] == true && byte(text).is_some();
    for (text, id) in model["vocab"].as_object().into_iter().flatten() {
        let kind = match text {
            text if model["unk_token"].as_str() == Some(text) => kind::UNKNOWN,
            text if is_byte(text) => kind::BYTE,
            _ => kind::NORMAL,
        };
        set(text, id, kind)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let text = added["content"].as_str().unwrap_or_default();
        let kind = match added["special"] == true {
            true if model["unk_token"].as_str() == Some(text) => kind::UNKNOWN,
            true => kind::CONTROL,
            false => kind::USER_DEFINED,
        };
        set(text, &added["id"], kind)?;
    }
    Ok((tokens, kinds))
}

/// The byte that `<0x0A>` stands for.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// Pairs in the order in which they are merged.
fn merges(json: &Value) -> Result<Vec<[&str; 2]>, Problem> {
    let list = json.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().map(|merge| pair(merge).ok_or_else(|| Problem::bad("merges", merge, "two tokens"))).collect()
}

/// A pair in the newer spelling, a list of two, or the older, with a space between.
fn pair(merge: &Value) -> Option<[&str; 2]> {
    match merge {
        Value::String(text) => text.split_once(' ').map(|(one, other)| [one, other]),
        other => Some([other[0].as_str()?, other[1].as_str()?]),
    }
}

/// How good each token is as the result of a merge: less for each that comes before it.
fn scores(tokens: &[String], merges: &[[&str; 2]]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, merge) in merges.iter().enumerate() {
        ranks.entry(merge.concat()).or_insert(rank);
    }
    tokens.iter().map(|token| ranks.get(token).map_or(0.0, |&rank| -(rank as f32) - 1.0)).collect()
}

/// The name of how `json`, a pre-tokenizer, cuts a text up.
fn pre(json: &Value, ignore_merges: bool) -> Result<&'static str, Problem> {
    let mut parts = vec![];
    flatten(json, &mut parts);
    let splits: Vec<_> = parts.iter().filter_map(|part| part["pattern"]["Regex"].as_str()).collect();
    let has_digits = parts.iter().any(|part| part["type"] == "Digits");
    if let Some(other) = parts.iter().find(|part| !is_known(part, splits.is_empty())) {
        return Err(Problem::bad("pre_tokenizer", other, "parts that a name in GGUF files stands for"));
    }
    let by_words = parts.iter().any(|part| part["type"] == "ByteLevel" && part["use_regex"] != false);
    let name = match splits.as_slice() {
        [] if by_words => Some(if has_digits { "smollm" } else { "gpt-2" }),
        [split] => SPLITS.iter().find(|(expression, _)| expression == split).map(|(_, name)| *name),
        _ => None,
    };
    match name {
        Some("dbrx") if ignore_merges => Ok("llama-bpe"),
        Some(name) => Ok(name),
        None => {
            let known = "that of GPT-2, SmolLM, Qwen2, Llama 3, OLMo 2, Mistral's tekken or GPT-4o";
            Err(Problem::bad("pre_tokenizer", splits.join(" "), known))
        }
    }
}

/// Whether `part` of a pre-tokenizer is one that a name may stand for: bytes, the pieces that an expression matches, or
/// single digits where there is no expression.
fn is_known(part: &Value, no_splits: bool) -> bool {
    // Two ways to say that what matches is a piece, and what lies between two matches too, if there is anything.
    let isolates = || {
        let how = (part["behavior"].as_str().unwrap_or("Isolated"), part["invert"] == true);
        [("Isolated", false), ("Removed", true)].contains(&how)
    };
    match part["type"].as_str() {
        Some("ByteLevel") => true,
        Some("Split") => part["pattern"]["Regex"].is_string() && isolates(),
        Some("Digits") => part["individual_digits"] == true && no_splits,
        _ => false,
    }
}

/// Refuse a normalizer that changes more than how characters are composed. No key says that either; those who read a file
/// of Qwen's know it by the name of its cuts.
fn check_normalizer(json: &Value) -> Result<(), Problem> {
    let mut parts = vec![];
    flatten(json, &mut parts);
    match parts.into_iter().find(|part| !part.is_null() && part["type"] != "NFC") {
        Some(other) => Err(Problem::bad("normalizer", other, "none, or NFC")),
        None => Ok(()),
    }
}

/// The parts of a pre-tokenizer or normalizer, sequences resolved.
fn flatten<'a>(json: &'a Value, parts: &mut Vec<&'a Value>) {
    let inner = ["pretokenizers", "normalizers"].into_iter().find_map(|key| json[key].as_array());
    match inner {
        Some(inner) => inner.iter().for_each(|part| flatten(part, parts)),
        None => parts.push(json),
    }
}

/// The part of `json` that is of the type `name`.
fn part<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    let mut parts = vec![];
    flatten(json, &mut parts);
    parts.into_iter().find(|part| part["type"] == name)
}

/// Whether a space is put before a text: by the normalizer, or by the pre-tokenizer, which does so unless it says
/// otherwise in its newer or its older words.
fn prepends_a_space(json: &Value) -> bool {
    let by_words = part(&json["pre_tokenizer"], "Metaspace").is_some_and(|words| match &words["prepend_scheme"] {
        Value::String(scheme) => scheme != "never",
        _ => words["add_prefix_space"] != false,
    });
    by_words || part(&json["normalizer"], "Prepend").is_some()
}

/// Whether a post-processor puts a token before every text.
fn opens_with_a_token(json: &Value) -> bool {
    let inner = json["processors"].as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
    inner.iter().any(|part| part["single"][0]["SpecialToken"].is_object())
}
