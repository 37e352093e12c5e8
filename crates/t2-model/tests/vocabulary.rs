//! Vocabularies of every format give the ids of the library that they come from.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skipped")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use t2_model::Tokenizer;
use t2_model::text::GgufVocabulary;
use tempfile::TempDir;

/// Texts in which we differ from the library that a vocabulary comes from.
#[derive(Clone, Copy)]
enum Differs {
    /// In nothing.
    Never,
    /// In the ids of these.
    Ids(&'static [&'static str]),
    /// In what the ids of these decode to.
    Decoded(&'static [&'static str]),
}

/// llama.cpp takes `</s>` for the end of a text in every vocabulary. To Qwen, and in its own tokenizer, it is text.
const TEXT_TO_QWEN: Differs = Differs::Ids(&["</s>", "<s>hello</s>"]);

/// A `▁` in a text comes back as a space. Where a model collapses spaces, SentencePiece takes all of them off the front,
/// and we one.
const SPACES_AS_TEXT: Differs = Differs::Decoded(&["▁a", "▁▁ x"]);

/// Where `golden/make_tokenizers.py` writes the small tokenizer `name`.
fn small(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(name)
}

/// Where it wrote the real ones; `None`, said aloud, when that is not given.
#[expect(clippy::disallowed_methods, reason = "a test asks for its data through the environment")]
fn real() -> Option<PathBuf> {
    let dir = std::env::var_os("T2_TOKENIZERS").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: set T2_TOKENIZERS to what golden/make_tokenizers.py --real has written");
    }
    dir
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn load(dir: &Path) -> Tokenizer {
    let metadata = dir.join("gguf.json");
    if metadata.exists() {
        return Tokenizer::from_gguf(&json(&metadata), &metadata).unwrap();
    }
    Tokenizer::load(dir).unwrap().unwrap()
}

/// What `ids` decode to one by one.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let pieces: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    pieces + &stream.finish().unwrap()
}

/// Expect the ids of every text, and the texts that they decode to, which `dir` holds beside its tokenizer, but where it
/// `differs`.
#[track_caller]
fn check_all(dir: &Path, differs: Differs) {
    let texts: Vec<String> = json(&dir.with_file_name("texts.json"));
    let expected: Vec<Vec<u32>> = json(&dir.join("ids.json"));
    assert_eq!(texts.len(), expected.len(), "{}", dir.display());
    let decoded = dir.join("decoded.json");
    let decoded = decoded.exists().then(|| json::<Vec<(String, Option<String>)>>(&decoded));
    let decoded: Option<HashMap<String, Option<String>>> = decoded.map(|others| others.into_iter().collect());
    let tokenizer = load(dir);
    let mut wrong = vec![];
    for (text, expected) in texts.iter().zip(&expected) {
        let ids = tokenizer.encode_fragment(text).unwrap();
        let (other_ids, other_text) = match differs {
            Differs::Never => (false, false),
            Differs::Ids(texts) => (texts.contains(&text.as_str()), false),
            Differs::Decoded(texts) => (false, texts.contains(&text.as_str())),
        };
        if (ids != *expected) != other_ids {
            wrong.push(format!("{text:?} has {ids:?}, not {expected:?}"));
        }
        let ours = tokenizer.decode(expected).unwrap();
        let pieces = streamed(&tokenizer, expected);
        if pieces != ours {
            wrong.push(format!("{ours:?} comes in pieces as {pieces:?}"));
        }
        let back = decoded.as_ref().and_then(|others| others.get(text).map_or(Some(text), Option::as_ref));
        if back.is_some_and(|text| *text != ours) && !other_text {
            wrong.push(format!("{ours:?} comes back, not {back:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} in {}:\n{}", wrong.len(), texts.len(), dir.display(), wrong.join("\n"));
}

#[track_caller]
fn check(name: &str) {
    check_all(&small(name), Differs::Never);
}

#[test]
fn pieces_of_sentencepiece() {
    check("llama2");
    check("gemma");
    check("bpe_of_users");
    check_all(&small("bpe_rules"), SPACES_AS_TEXT);
    check_all(&small("unigram"), SPACES_AS_TEXT);
    check("unigram_bytes");
}

#[test]
fn ranks_of_tiktoken() {
    check("llama3");
}

#[test]
fn vocabularies_with_merges() {
    check("qwen2");
    check("gpt2");
}

#[test]
fn vocabularies_in_gguf() {
    for pre in ["llama-bpe", "dbrx", "qwen2", "gpt-2", "smollm", "tekken", "gpt-4o", "default"] {
        check(&format!("gguf_{pre}"));
    }
    check("gguf_llama");
    check("gguf_gemma");
    check("gguf_phi3");
}

/// Expect the ids that `name` gives from the tokenizer.json that it is written to.
#[track_caller]
fn check_written(name: &str) {
    let tokenizer = load(&small(name));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_json().unwrap()).unwrap();
    let written = load(dir.path());
    for text in json::<Vec<String>>(&small("texts.json")) {
        let ids = tokenizer.encode(&text).unwrap();
        assert_eq!(written.encode(&text).unwrap(), ids, "{name}: {text:?}");
        assert_eq!(written.decode(&ids).unwrap(), tokenizer.decode(&ids).unwrap(), "{name}: {text:?}");
    }
}

#[test]
fn every_format_can_be_written_as_tokenizer_json() {
    for name in ["llama2", "gemma", "bpe_of_users", "unigram", "llama3", "qwen2", "gguf_llama-bpe", "gguf_phi3"] {
        check_written(name);
    }
    let error = load(&small("bpe_rules")).to_json().unwrap_err().to_string();
    assert!(error.contains("SentencePiece"), "{error}");
}

#[test]
fn real_vocabularies() {
    let Some(root) = real() else { return };
    let dirs = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    for dir in dirs.filter(|path| path.is_dir()) {
        let qwen = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("qwen"));
        check_all(&dir, if qwen { TEXT_TO_QWEN } else { Differs::Never });
    }
}

/// A folder with `files` of the small tokenizers, by name and origin.
fn folder(files: &[(&str, &str)], config: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, from) in files {
        std::fs::copy(small(from).join(name), dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    dir
}

#[test]
fn a_folder_with_several_vocabularies_is_read_by_the_first() {
    let merged = [("vocab.json", "gpt2"), ("merges.txt", "gpt2")];
    let pieces = [("tokenizer.model", "llama2")];
    let all = [merged.as_slice(), &pieces].concat();
    let vocab = |files: &[(&str, &str)]| load(folder(files, &json!({})).path()).vocab();
    assert_ne!(vocab(&merged), vocab(&pieces));
    assert_eq!(vocab(&all), vocab(&pieces));
    let dir = folder(&all, &json!({}));
    let json = json!({ "version": "1.0", "added_tokens": [], "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" } });
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    assert_eq!(load(dir.path()).vocab(), 1);
}

/// Expect what goes around a text by the tokenizer in `from` with `config`, and what ends one.
#[track_caller]
fn check_around(from: &str, config: Value, [before, after]: [&[u32]; 2], ends: &[u32]) {
    let files = ["tokenizer.model", "vocab.json", "merges.txt"].map(|name| (name, from));
    let there: Vec<_> = files.into_iter().filter(|(name, from)| small(from).join(name).exists()).collect();
    check_ids_around(&load(folder(&there, &config).path()), [before, after], ends);
}

#[track_caller]
fn check_ids_around(tokenizer: &Tokenizer, [before, after]: [&[u32]; 2], ends: &[u32]) {
    let fragment = tokenizer.encode_fragment("a b").unwrap();
    assert_eq!(tokenizer.encode("a b").unwrap(), [before, &fragment, after].concat());
    assert_eq!(tokenizer.end_tokens().collect::<Vec<_>>(), ends);
}

#[test]
fn texts_begin_and_end_as_the_files_say() {
    let ends = json!({ "add_bos_token": false, "add_eos_token": true, "eos_token": "</s>" });
    check_around("llama2", json!({}), [&[1], &[]], &[]);
    check_around("llama2", json!({ "eos_token": "</s>" }), [&[1], &[]], &[2]);
    check_around("llama2", ends.clone(), [&[], &[2]], &[2]);
    check_around("llama3", json!({}), [&[480], &[]], &[]);
    check_around("llama3", json!({ "add_bos_token": false }), [&[], &[]], &[]);
    let added = json!({ "480": { "content": "<|endoftext|>", "special": true } });
    let qwen =
        json!({ "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "added_tokens_decoder": added });
    check_around("qwen2", qwen, [&[], &[]], &[480]);
    let metadata: GgufVocabulary = json(&small("gguf_llama-bpe").join("gguf.json"));
    let from = |metadata: &GgufVocabulary| Tokenizer::from_gguf(metadata, Path::new("x.gguf")).unwrap();
    check_ids_around(&from(&metadata), [&[480], &[]], &[481]);
    let flags = GgufVocabulary { add_bos: Some(false), add_eos: Some(true), eot: Some(482), ..metadata };
    check_ids_around(&from(&flags), [&[], &[481]], &[481, 482]);
}

#[test]
fn a_space_goes_in_front_of_the_first_word_alone_where_a_file_says_so() {
    let ids = |legacy: Value| {
        let dir = folder(&[("tokenizer.model", "llama2")], &json!({ "legacy": legacy }));
        load(dir.path()).encode_fragment("a<s>a").unwrap()
    };
    let [first, bos, second] = ids(Value::Null)[..] else { panic!("three tokens") };
    assert_eq!((bos, first), (1, second));
    assert_eq!(ids(json!(true)), [first, bos, second]);
    let [first_alone, _, bare] = ids(json!(false))[..] else { panic!("three tokens") };
    assert_eq!(first_alone, first);
    assert_ne!(bare, first);
}

#[test]
fn the_template_in_a_gguf_file_is_used() {
    let metadata: GgufVocabulary = json(&small("gguf_qwen2").join("gguf.json"));
    let template = "{{ bos_token }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}".to_owned();
    let metadata = GgufVocabulary { chat_template: Some(template), ..metadata };
    let tokenizer = Tokenizer::from_gguf(&metadata, Path::new("x.gguf")).unwrap();
    let ids = tokenizer.encode_chat(&[t2_model::Message::user("a")]).unwrap();
    assert_eq!(ids, tokenizer.encode_fragment("<s>a<|im_end|>").unwrap());
    assert_eq!(tokenizer.end_tokens().collect::<Vec<_>>(), [481]);
}

#[test]
fn a_turn_of_phi_3_ends_by_its_template() {
    let metadata: GgufVocabulary = json(&small("gguf_phi3").join("gguf.json"));
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}".to_owned();
    let metadata = GgufVocabulary { chat_template: Some(template), ..metadata };
    let tokenizer = Tokenizer::from_gguf(&metadata, Path::new("x.gguf")).unwrap();
    let ends: Vec<u32> = tokenizer.end_tokens().collect();
    assert_eq!(ends, [2, tokenizer.token_id("<|end|>").unwrap()]);
}
