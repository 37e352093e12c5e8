//! A `tokenizer.json` as the keys of a file.

use serde_json::{Value, json};
use t2_model::format::gguf::{Metadata, Problem, SpecialTokens, describe_tokenizer};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The keys of a tokenizer for eight ids.
fn keys(tokenizer: &Value) -> Result<Metadata, Problem> {
    let special = SpecialTokens { bos: Some(5), ends: vec![6, 5], pad: None, unknown: None };
    Ok(describe_tokenizer(tokenizer, 8, &special)?.into_iter().collect())
}

/// A tokenizer that works on bytes and cuts a text up by `pre_tokenizer`.
fn byte_level(pre_tokenizer: &Value) -> Value {
    json!({
        "pre_tokenizer": pre_tokenizer,
        "model": {
            "type": "BPE",
            "vocab": { "a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4 },
            "merges": [["a", "b"], "Ġ ab"],
        },
        "added_tokens": [
            { "id": 5, "content": "<s>", "special": true },
            { "id": 6, "content": "<tool>", "special": false },
        ],
    })
}

#[test]
fn tokens_merges_and_kinds_are_written() {
    let words = json!({ "type": "ByteLevel", "use_regex": true });
    let keys = keys(&byte_level(&words)).unwrap();
    assert_eq!(keys.str("tokenizer.ggml.model"), Ok(Some("gpt2")));
    let tokens = keys.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens, ["a", "b", "ab", "Ġ", "Ġab", "<s>", "<tool>", "[PAD7]"]);
    assert_eq!(keys.integers("tokenizer.ggml.token_type"), Ok(Some(vec![1, 1, 1, 1, 1, 3, 4, 5])));
    assert_eq!(keys.strings("tokenizer.ggml.merges").unwrap().unwrap(), ["a b", "Ġ ab"]);
    assert_eq!(keys.bool("tokenizer.ggml.add_bos_token"), Ok(Some(false)));
    let ids = ["bos", "eos", "padding", "unknown"].map(|id| keys.u64(&format!("tokenizer.ggml.{id}_token_id")));
    assert_eq!(ids, [Ok(Some(5)), Ok(Some(6)), Ok(None), Ok(None)]);
}

#[test]
fn how_a_text_is_cut_up_has_a_name() {
    #[track_caller]
    fn check(tokenizer: &Value, name: &str) {
        assert_eq!(keys(tokenizer).unwrap().str("tokenizer.ggml.pre"), Ok(Some(name)));
    }
    let bytes = json!({ "type": "ByteLevel", "use_regex": false });
    let words = json!({ "type": "ByteLevel" });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let sequence = |parts: [&Value; 2]| byte_level(&json!({ "type": "Sequence", "pretokenizers": parts }));
    check(&byte_level(&words), "gpt-2");
    check(&sequence([&digits, &words]), "smollm");
    let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated" });
    check(&sequence([&split(LLAMA3), &bytes]), "dbrx");
    check(&sequence([&split(&LLAMA3.replace("{1,3}", "")), &bytes]), "qwen2");
    let mut llama3 = sequence([&split(LLAMA3), &bytes]);
    llama3["model"]["ignore_merges"] = true.into();
    llama3["post_processor"] = json!({ "type": "Sequence", "processors": [
        { "type": "TemplateProcessing", "single": [{ "SpecialToken": { "id": "<s>" } }, { "Sequence": { "id": "A" } }] },
    ] });
    check(&llama3, "llama-bpe");
    assert_eq!(keys(&llama3).unwrap().bool("tokenizer.ggml.add_bos_token"), Ok(Some(true)));
    let error = keys(&sequence([&split(r"\w+"), &bytes])).unwrap_err().to_string();
    assert!(error.contains(r"\w+") && error.contains("Qwen2"), "{error}");
}

#[test]
fn pieces_are_better_the_earlier_they_are_merged() {
    let tokenizer = json!({
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }] },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": true,
            "vocab": { "<unk>": 0, "<0x0A>": 1, "▁": 2, "a": 3, "▁a": 4, "aa": 5 },
            "merges": ["a a", "▁ a"],
        },
        "added_tokens": [{ "id": 0, "content": "<unk>", "special": true }, { "id": 6, "content": "</s>", "special": true }],
    });
    let all = keys(&tokenizer).unwrap();
    assert_eq!(all.str("tokenizer.ggml.model"), Ok(Some("llama")));
    assert_eq!(all.floats("tokenizer.ggml.scores"), Ok(Some(vec![0.0, 0.0, 0.0, 0.0, -2.0, -1.0, 0.0, 0.0])));
    assert_eq!(all.integers("tokenizer.ggml.token_type"), Ok(Some(vec![2, 6, 1, 1, 1, 1, 3, 5])));
    assert_eq!(all.bool("tokenizer.ggml.add_space_prefix"), Ok(Some(true)));
}

#[test]
fn a_space_goes_before_a_text_where_the_normalizer_or_the_pre_tokenizer_puts_one() {
    #[track_caller]
    fn check(normalizer: &Value, pre_tokenizer: &Value, expected: bool) {
        let tokenizer = json!({
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "model": { "type": "BPE", "byte_fallback": true, "vocab": { "▁": 0, "a": 1 }, "merges": [] },
        });
        assert_eq!(keys(&tokenizer).unwrap().bool("tokenizer.ggml.add_space_prefix"), Ok(Some(expected)));
    }
    let none = Value::Null;
    let metaspace = |own: Value| {
        let mut json = json!({ "type": "Metaspace", "replacement": "▁" });
        json.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        json
    };
    check(&none, &none, false);
    check(&json!({ "type": "Replace" }), &none, false);
    check(&json!({ "type": "Prepend", "prepend": "▁" }), &none, true);
    for (scheme, expected) in [("first", true), ("always", true), ("never", false)] {
        check(&none, &metaspace(json!({ "prepend_scheme": scheme })), expected);
    }
    check(&none, &metaspace(json!({ "add_prefix_space": true })), true);
    check(&none, &metaspace(json!({ "add_prefix_space": false })), false);
    check(&none, &metaspace(json!({})), true);
    check(
        &none,
        &json!({ "type": "Sequence", "pretokenizers": [metaspace(json!({ "prepend_scheme": "first" }))] }),
        true,
    );
}

#[test]
fn what_has_no_place_in_a_file_is_refused() {
    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Value), parts: &[&str]) {
        let mut tokenizer = byte_level(&json!({ "type": "ByteLevel" }));
        change(&mut tokenizer);
        let error = keys(&tokenizer).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
    }
    check_refused(|json| json["model"]["type"] = "Unigram".into(), &["model.type", "Unigram", "BPE"]);
    check_refused(|json| json["model"]["vocab"]["c"] = 8.into(), &["\"c\"", "id 8", "below 8"]);
    check_refused(|json| json["model"]["merges"][0] = json!(["a"]), &["merges", "two tokens"]);
    check_refused(|json| json["pre_tokenizer"] = json!({ "type": "Whitespace" }), &["pre_tokenizer", "Whitespace"]);
    check_refused(
        |json| json["pre_tokenizer"]["add_prefix_space"] = true.into(),
        &["add_prefix_space", "true", "false"],
    );
    check_refused(|json| json["normalizer"] = json!({ "type": "Lowercase" }), &["normalizer", "Lowercase", "NFC"]);
    let words = json!({ "type": "ByteLevel" });
    for part in [
        json!({ "type": "Punctuation" }),
        json!({ "type": "Digits", "individual_digits": false }),
        json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "Isolated" }),
        json!({ "type": "Split", "pattern": { "Regex": LLAMA3 }, "behavior": "MergedWithNext" }),
    ] {
        let name = part["type"].as_str().unwrap().to_owned();
        let both = json!({ "type": "Sequence", "pretokenizers": [part, words] });
        check_refused(|json| json["pre_tokenizer"] = both, &["pre_tokenizer", &name]);
    }
}
