//! Tokenizers and chat templates, bundled and real.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{TimeDelta, Utc};
use serde_json::{Map, Value, json};
use t2_chat::Message;
use t2_model::text::{StopStrings, Tokenizer, TokenizerError};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const TEXTS: [&str; 5] = [
    "",
    " two  spaces\n\tand a tab ",
    "naïve café — 東京 🦀🦀 👩‍👩‍👧",
    "1 + 22 = 23; x['a'] <- \"b\"\r\n",
    "ends in \u{fffd}",
];

/// A tokenizer that knows single bytes, and puts token 256 in front.
fn byte_level() -> Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut vocab: Map<String, Value> =
        alphabet.iter().enumerate().map(|(id, byte)| (byte.to_string(), id.into())).collect();
    vocab.insert("<s>".into(), 256.into());
    json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
        "padding": null,
        "added_tokens": [{
            "id": 256, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [256], "tokens": ["<s>"] } },
        },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}

fn folder(files: &[(&str, String)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn load(dir: &Path) -> Tokenizer {
    Tokenizer::load(dir).unwrap().unwrap()
}

/// Decoding `ids` one by one gives what decoding them at once gives: that text.
#[track_caller]
fn check_decode(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut pieces = String::new();
    for &id in ids {
        let piece = stream.push(id).unwrap();
        assert!(!piece.ends_with('\u{fffd}'), "{piece:?} is a whole character");
        pieces += &piece;
    }
    pieces += &stream.finish().unwrap();
    assert_eq!(tokenizer.decode(ids).unwrap(), pieces);
    pieces
}

#[test]
fn text_comes_back_at_once_and_in_pieces() {
    let dir = folder(&[("tokenizer.json", byte_level().to_string())]);
    let tokenizer = load(dir.path());
    for text in TEXTS {
        assert_eq!(check_decode(&tokenizer, &tokenizer.encode_fragment(text).unwrap()), text);
    }
}

#[test]
fn a_stop_string_is_found_across_tokens() {
    #[track_caller]
    fn check(tokenizer: &Tokenizer, text: &str, stop: &[&str], expected: Option<&str>) {
        let stop: Vec<String> = stop.iter().map(|&stop| stop.to_owned()).collect();
        let ids = tokenizer.encode_fragment(text).unwrap();
        let mut texts = StopStrings::new(tokenizer, &stop, 2);
        let ended = ids.iter().position(|&id| texts.push(1, id).unwrap());
        let found = ended.map(|at| tokenizer.decode(&ids[..=at]).unwrap());
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }
    let dir = folder(&[("tokenizer.json", byte_level().to_string())]);
    let tokenizer = load(dir.path());
    // A token a byte.
    check(&tokenizer, "4\n\nQuestion: 5?", &["Question:"], Some("4\n\nQuestion:"));
    check(&tokenizer, "QuQuestion: 5?", &["Question:", "?"], Some("QuQuestion:"));
    check(&tokenizer, "naïve → é", &["→"], Some("naïve →"));
    check(&tokenizer, "4", &["Question:", ""], None);
    check(&tokenizer, "4", &[], None);
}

#[test]
fn an_answer_is_cut_where_its_prompt_ends_alone() {
    let asked = [Message::user("ab ")];
    let plain = load(folder(&[("tokenizer.json", byte_level().to_string())]).path());
    // White space at the end of the prompt is the answer's; a token goes before the text.
    let whole = [vec![256], plain.encode_fragment("ab  c").unwrap()].concat();
    assert_eq!(plain.encode_answer(&asked, " c").unwrap(), (whole.clone(), 3));
    let template = "{% for m in messages %}<{{ m.content }}>{% endfor %}{{ '\\n' }}";
    let files = [("tokenizer.json", byte_level().to_string()), ("chat_template.jinja", template.to_owned())];
    let chat = load(folder(&files).path());
    assert_eq!(chat.encode_answer(&asked, " c").unwrap(), (plain.encode_fragment("<ab >\nc").unwrap(), 5));
    assert_eq!(chat.raw().encode_answer(&asked, " c").unwrap(), (whole, 3));
}

#[test]
fn special_tokens_are_added_once_and_never_shown() {
    let files = [
        ("tokenizer.json", byte_level().to_string()),
        ("chat_template.jinja", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}".to_owned()),
        ("special_tokens_map.json", json!({ "bos_token": { "content": "<s>" } }).to_string()),
    ];
    let dir = folder(&files);
    let tokenizer = load(dir.path());
    assert_eq!((tokenizer.token_id("<s>"), tokenizer.vocab()), (Some(256), 257));
    let text = "longer than the truncation in the file";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!((ids[0], ids.len()), (256, text.len() + 1));
    assert_eq!(tokenizer.encode_chat(&[Message::user(text)]).unwrap(), ids);
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
}

#[test]
fn without_a_template_the_last_question_is_the_prompt() {
    let dir = folder(&[("tokenizer.json", byte_level().to_string())]);
    let tokenizer = load(dir.path());
    assert!(tokenizer.chat_template().is_none());
    let chat = [Message::user("a"), Message::assistant("b"), Message::user("c"), Message::assistant("d")];
    assert_eq!(tokenizer.encode_chat(&chat).unwrap(), tokenizer.encode("c").unwrap());
    let none = tokenizer.encode_chat(&[Message::assistant("b")]);
    assert!(matches!(none, Err(TokenizerError::NoQuestion)), "{none:?}");
}

#[test]
fn broken_files_are_named() {
    assert!(Tokenizer::load(tempfile::tempdir().unwrap().path()).unwrap().is_none());
    let good = || byte_level().to_string();
    let cases = [
        (vec![("tokenizer.json", good()[..500].to_owned())], "tokenizer.json"),
        (vec![("tokenizer.json", good()), ("tokenizer_config.json", "{".to_owned())], "tokenizer_config.json"),
        (vec![("tokenizer.json", good()), ("special_tokens_map.json", "[]".to_owned())], "special_tokens_map.json"),
        (vec![("tokenizer.json", good()), ("added_tokens.json", "{".to_owned())], "added_tokens.json"),
        (vec![("tokenizer.json", good()), ("added_tokens.json", r#"{"<x>": "7"}"#.to_owned())], "\"<x>\""),
        (
            vec![
                ("tokenizer.json", good()),
                ("tokenizer_config.json", json!({ "added_tokens_decoder": { "7th": "<x>" } }).to_string()),
            ],
            "\"7th\"",
        ),
    ];
    for (files, name) in cases {
        let error = Tokenizer::load(folder(&files).path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("download"), "{error}");
    }
    let dir = folder(&[("tokenizer.json", good()), ("chat_template.jinja", "{% nonsense %}".to_owned())]);
    let error = load(dir.path()).encode_chat(&[]).unwrap_err().to_string();
    assert!(error.contains("nonsense") && error.contains("chat_template.jinja"), "{error}");
    let config = json!({ "chat_template": "{{ 'x' * 1000000000000 }}" }).to_string();
    let dir = folder(&[("tokenizer.json", good()), ("tokenizer_config.json", config)]);
    let error = load(dir.path()).encode_chat(&[]).unwrap_err();
    assert!(matches!(error, TokenizerError::EndlessTemplate { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("tokenizer_config.json") && error.contains("--raw"), "{error}");
}

#[test]
fn a_vocabulary_that_is_not_read_is_named() {
    for (file, missing) in [
        ("vocab.json", "needs merges.txt"),
        ("merges.txt", "needs vocab.json"),
        ("vocab.txt", "WordPiece"),
        ("spiece.model", "T5"),
        ("tekken.json", "tiktoken"),
    ] {
        let error = Tokenizer::load(folder(&[(file, "{}".to_owned())]).path()).unwrap_err().to_string();
        assert!([file, missing, "tokenizer.json"].iter().all(|word| error.contains(word)), "{file}: {error}");
    }
}

/// The folder of real files that this repository does not hold; `None`, said aloud, when it is not given.
#[expect(clippy::disallowed_methods, reason = "a test asks for its data through the environment")]
fn data() -> Option<PathBuf> {
    let dir = std::env::var_os("T2_DATA").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: set T2_DATA to the folder with the real tokenizers and chat templates");
    }
    dir
}

#[test]
fn real_tokenizers_give_text_back() {
    let Some(data) = data() else { return };
    for (name, lossless) in [("tok_smollm2", true), ("tok_llama2_32k_minueza", true), ("model_tinystories_656k", false)]
    {
        let tokenizer = load(&data.join(name));
        for text in TEXTS {
            let ids = tokenizer.encode_fragment(text).unwrap();
            assert!(tokenizer.encode(text).unwrap().ends_with(&ids));
            let decoded = check_decode(&tokenizer, &ids);
            assert!(decoded == text || !lossless, "{name}: {decoded:?} is not {text:?}");
        }
    }
}

/// `messages`, rendered by `template`.
fn render(template: &str, special: &Value, messages: &[Message]) -> Result<String, TokenizerError> {
    let mut config = special.clone();
    config["chat_template"] = template.into();
    let mut tokenizer = byte_level();
    // Bytes alone, so that decoding shows what the template wrote: special tokens are left out of texts.
    tokenizer["added_tokens"] = json!([]);
    tokenizer["post_processor"] = Value::Null;
    tokenizer["model"]["vocab"].as_object_mut().unwrap().remove("<s>");
    let dir = folder(&[("tokenizer.json", tokenizer.to_string()), ("tokenizer_config.json", config.to_string())]);
    let tokenizer = load(dir.path());
    tokenizer.decode(&tokenizer.encode_chat(messages)?)
}

fn golden<T: serde::de::DeserializeOwned>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[derive(serde::Deserialize)]
struct Rendered {
    template: String,
    /// `None` where transformers refuses.
    text: Option<String>,
}

#[derive(serde::Deserialize)]
struct Templates {
    messages: Vec<Message>,
    special: Value,
    rendered: Vec<Rendered>,
}

#[test]
fn templates_render_as_in_transformers() {
    let Templates { messages, special, rendered } = golden("templates.json");
    for Rendered { template, text } in rendered {
        match (render(&template, &special, &messages), text) {
            (Ok(ours), Some(text)) => assert_eq!(ours, text, "{template}"),
            (Err(e), Some(_)) => panic!("{template}: {e}"),
            (ours, None) => assert!(ours.is_err(), "{template} gives {ours:?}"),
        }
    }
}

#[test]
fn a_template_that_runs_in_circles_ends() {
    let endless = "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{{ a + b }}{% endfor %}{% endfor %}";
    let error = render(endless, &json!({}), &[]).unwrap_err().to_string();
    assert!(error.contains("steps"), "{error}");
}

/// Not a test of its own: says what a template takes for now, in the zone that the test below gives its process.
#[test]
fn hour_of_now() {
    println!("now: {}", render("{{ strftime_now('%F %H') }}", &json!({}), &[]).unwrap());
}

#[test]
fn the_date_is_that_of_the_users_zone() {
    for (zone, hours) in [("UTC0", 0), ("EAST-14", 14), ("WEST12", -12)] {
        let there = || (Utc::now() + TimeDelta::hours(hours)).format("now: %F %H").to_string();
        let before = there();
        let mut ours = Command::new(std::env::current_exe().unwrap());
        let ours = ours.args(["--exact", "hour_of_now", "--nocapture"]).env("TZ", zone).output().unwrap();
        let said = String::from_utf8_lossy(&ours.stdout).into_owned();
        assert!(said.contains(&before) || said.contains(&there()), "{zone}: {said}, not {before}");
    }
}

#[derive(serde::Deserialize)]
struct Chats {
    messages: Vec<Vec<Message>>,
    special: Value,
    rendered: BTreeMap<PathBuf, Vec<String>>,
}

#[test]
fn real_templates_render_as_in_transformers() {
    let Some(data) = data() else { return };
    let chats: Chats = golden("chats.json");
    for (path, expected) in &chats.rendered {
        let template = std::fs::read_to_string(data.join(path)).unwrap();
        for (messages, expected) in chats.messages.iter().zip(expected) {
            assert_eq!(&render(&template, &chats.special, messages).unwrap(), expected, "{}", path.display());
        }
    }
}
