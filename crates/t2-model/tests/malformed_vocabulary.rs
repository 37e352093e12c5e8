//! Files that are no vocabulary are refused by an error that says why, and none brings a program down.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use t2_model::Tokenizer;
use t2_model::text::{GgufVocabulary, TokenizerError};

fn small(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(small(name)).unwrap()
}

fn metadata(name: &str) -> GgufVocabulary {
    serde_json::from_slice(&bytes(&format!("{name}/gguf.json"))).unwrap()
}

/// Use `tokenizer`, if there is one: it may fail, and must come back.
fn survive(tokenizer: Result<Tokenizer, TokenizerError>) {
    let Ok(tokenizer) = tokenizer else { return };
    for text in ["", " a<s>b  \n\u{fb01}e\u{301}\u{1f980}\0", "\r\n한abababab"] {
        if let Ok(ids) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&ids);
        }
    }
    let _ = tokenizer.decode(&[0, 1, 2, 300, 479, 480, u32::MAX]);
}

/// `bytes` with a few of them changed, cut out or doubled.
fn damaged(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => drop(bytes.drain(at..(at + rng.random_range(1..9)).min(bytes.len()))),
            _ => bytes.insert(at, [0, 0xff, 0x80, b'\n'][rng.random_range(0..4)]),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

#[test]
fn damaged_models_are_refused_or_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for name in ["llama2", "unigram", "unigram_bytes", "bpe_rules", "bpe_of_users", "llama3"] {
        let good = bytes(&format!("{name}/tokenizer.model"));
        for end in (0..good.len()).step_by(good.len() / 50) {
            survive(Tokenizer::from_model(&good[..end], Value::Null));
        }
        for _ in 0..150 {
            survive(Tokenizer::from_model(&damaged(&good, &mut rng), Value::Null));
        }
    }
}

#[test]
fn damaged_words_and_merges_are_refused_or_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let [vocab, merges] = ["vocab.json", "merges.txt"].map(|name| bytes(&format!("gpt2/{name}")));
    for _ in 0..100 {
        survive(Tokenizer::from_vocab_and_merges(&damaged(&vocab, &mut rng), &merges, Value::Null));
        survive(Tokenizer::from_vocab_and_merges(&vocab, &damaged(&merges, &mut rng), Value::Null));
    }
}

#[test]
fn damaged_metadata_is_refused_or_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for name in ["gguf_llama", "gguf_qwen2", "gguf_phi3"] {
        let good = bytes(&format!("{name}/gguf.json"));
        for _ in 0..100 {
            let Ok(metadata) = serde_json::from_slice::<GgufVocabulary>(&damaged(&good, &mut rng)) else { continue };
            survive(Tokenizer::from_gguf(&metadata, Path::new("x.gguf")));
        }
    }
}

/// Expect an error that says each of `words`.
#[track_caller]
fn check(read: Result<Tokenizer, TokenizerError>, words: &[&str]) {
    let error = read.map(|_| "a tokenizer").unwrap_err().to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn models_say_what_is_wrong_with_them() {
    let model = |bytes: &[u8]| Tokenizer::from_model(bytes, Value::Null);
    check(model(b""), &["tokenizer.model", "no pieces"]);
    check(model(b"\n\x03\n\x01a\x12\x02\x18\x03"), &["type 3", "BPE", "tokenizer.json"]);
    check(model(b"\n\x03\n\x01a\x12\x03\xc0\x01\x01"), &["ends of words", "tokenizer.json"]);
    check(model(b"\n\x05\n\x01a\x18\x09"), &["kind 9"]);
    check(model(b"\n\x04\n\x02\xff\xfe"), &["not text"]);
    check(model(b"\n\x00"), &["empty"]);
    check(model(b"\n\x7fabc"), &["5 bytes before the end"]);
    check(model(b"\n\x03\n\x01a\x1a\x04\x12\x02ab"), &["table", "cut off"]);
    check(model(b"YQ== 0\nYg== x\n"), &["line 2", "base64"]);
    check(model(b"YQ== 0\nYg== 0\n"), &["rank 0", "twice"]);
    check(model(b"YQ== 0\nYQ== 1\n"), &["twice"]);
    check(model(format!("YQ== 0\n{} 1\n", "YWFh".repeat(500)).as_bytes()), &["1500 bytes", "1024"]);
}

#[test]
fn words_and_merges_say_what_is_wrong_with_them() {
    let read =
        |vocab: &str, merges: &[u8], config: Value| Tokenizer::from_vocab_and_merges(vocab.as_bytes(), merges, config);
    let good = r#"{"a": 0, "b": 1, "ab": 2}"#;
    assert!(read(good, b"#version: 0.2\na b\n", Value::Null).is_ok());
    check(read("[]", b"", Value::Null), &["vocab.json", "tokens and their ids"]);
    check(read(r#"{"a": -1}"#, b"", Value::Null), &["tokens and their ids"]);
    check(read(good, b"a\n", Value::Null), &["line 1", "merges.txt"]);
    check(read(good, b"a b\na b c\n", Value::Null), &["line 2", "merges.txt"]);
    check(read(good, b"\xff \xfe", Value::Null), &["UTF-8"]);
    check(read(good, b"a c\n", Value::Null), &["c"]);
    check(
        read(good, b"", json!({ "tokenizer_class": "ElvishTokenizerFast" })),
        &["ElvishTokenizer", "Qwen2Tokenizer", "tokenizer.json"],
    );
}

#[test]
fn metadata_says_what_is_wrong_with_it() {
    let read = |metadata: GgufVocabulary| Tokenizer::from_gguf(&metadata, Path::new("x.gguf"));
    let [bytes, pieces] = ["gguf_qwen2", "gguf_llama"].map(metadata);
    check(read(GgufVocabulary { model: "bert".into(), ..bytes.clone() }), &["x.gguf", "`bert`", "gpt2"]);
    check(
        read(GgufVocabulary { pre: Some("elvish".into()), ..bytes.clone() }),
        &["x.gguf", "`elvish`", "qwen2", "smollm"],
    );
    check(read(GgufVocabulary { merges: vec!["ab".into()], ..bytes.clone() }), &["\"ab\""]);
    check(read(GgufVocabulary { merges: vec!["a nowhere".into()], ..bytes.clone() }), &["nowhere"]);
    check(read(GgufVocabulary { token_types: Some(vec![1]), ..bytes.clone() }), &["485 tokens", "of 1"]);
    check(read(GgufVocabulary { token_types: Some(vec![7; bytes.tokens.len()]), ..bytes.clone() }), &["kind 7"]);
    check(read(GgufVocabulary { scores: None, ..pieces.clone() }), &["without scores"]);
    check(read(GgufVocabulary { scores: Some(vec![]), ..pieces.clone() }), &["of 0"]);
    check(read(GgufVocabulary { scores: Some(vec![0.0]), token_types: None, ..pieces.clone() }), &["of 1"]);
    for mut twice in [bytes, pieces] {
        twice.tokens[7] = twice.tokens[300].clone();
        let name = format!("{:?}", twice.tokens[7]);
        check(read(twice), &["tokens 7 and 300", &name]);
    }
}
