//! The tokenizer inside a file: vocabularies whose ids llama.cpp has given (`golden/make_tokenizers.py`), written as the
//! metadata of a file and read from it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use t2_model::checkpoint;
use t2_model::format::gguf::{Gguf, MetaValue, NewTensor, SpecialTokens, describe, describe_tokenizer, write};
use t2_model::format::quant::GgmlType;
use t2_model::{Message, Tokenizer};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers")
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What the keys are called in a file, and in the small vocabularies. Ids end the list.
const KEYS: &[(&str, &str)] = &[
    ("general.name", "name"),
    ("tokenizer.chat_template", "chat_template"),
    ("tokenizer.ggml.model", "model"),
    ("tokenizer.ggml.pre", "pre"),
    ("tokenizer.ggml.tokens", "tokens"),
    ("tokenizer.ggml.scores", "scores"),
    ("tokenizer.ggml.token_type", "token_types"),
    ("tokenizer.ggml.merges", "merges"),
    ("tokenizer.ggml.add_bos_token", "add_bos"),
    ("tokenizer.ggml.add_eos_token", "add_eos"),
    ("tokenizer.ggml.add_space_prefix", "add_space_prefix"),
    ("tokenizer.ggml.remove_extra_whitespaces", "remove_extra_whitespaces"),
    ("tokenizer.ggml.bos_token_id", "bos"),
    ("tokenizer.ggml.eos_token_id", "eos"),
    ("tokenizer.ggml.eot_token_id", "eot"),
    ("tokenizer.ggml.unknown_token_id", "unk"),
    ("tokenizer.ggml.padding_token_id", "pad"),
];

/// The small vocabulary `json` as metadata.
fn metadata(json: &Value) -> Vec<(String, MetaValue)> {
    let mut left: Vec<&String> = json.as_object().unwrap().keys().collect();
    let mut all = vec![];
    for (key, ours) in KEYS {
        left.retain(|name| name != ours);
        if let Some(value) = value(ours, &json[ours]) {
            all.push(((*key).to_owned(), value));
        }
    }
    assert_eq!(left, Vec::<&String>::new(), "every key of the vocabulary is written");
    all
}

/// What a file has for `json`, the value of the key `ours`.
fn value(ours: &str, json: &Value) -> Option<MetaValue> {
    let list = json.as_array();
    Some(match (ours, json) {
        (_, Value::Null) => return None,
        ("tokens" | "merges", _) => {
            list?.iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>().into()
        }
        ("scores", _) => list?.iter().map(|score| score.as_f64().unwrap() as f32).collect::<Vec<_>>().into(),
        ("token_types", _) => list?.iter().map(|ty| ty.as_i64().unwrap() as i32).collect::<Vec<_>>().into(),
        (_, Value::Bool(flag)) => (*flag).into(),
        (_, Value::Number(id)) => u32::try_from(id.as_u64()?).unwrap().into(),
        (_, other) => other.as_str()?.into(),
    })
}

/// Write `metadata` to a file in `dir`.
fn written(dir: &Path, metadata: &[(String, MetaValue)]) -> PathBuf {
    let path = dir.join("model.gguf");
    let tensor: NewTensor<'_> =
        NewTensor { name: "t".to_owned(), shape: vec![1], ty: GgmlType::F32, values: Box::new(|| Ok(vec![0.0])) };
    write(&path, metadata, vec![tensor]).unwrap();
    path
}

#[test]
fn a_file_gives_the_ids_of_its_vocabulary() {
    let texts: Vec<String> = read(&golden().join("texts.json"));
    let dirs = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let dirs: Vec<_> = dirs.filter(|dir| dir.join("gguf.json").exists()).collect();
    assert!(dirs.len() > 10, "{dirs:?}");
    for dir in dirs {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path(), &metadata(&read(&dir.join("gguf.json"))));
        let expected: Vec<Vec<u32>> = read(&dir.join("ids.json"));
        let tokenizer = Tokenizer::load(&file).unwrap().unwrap();
        let ids: Vec<_> = texts.iter().map(|text| tokenizer.encode_fragment(text).unwrap()).collect();
        assert_eq!(ids, expected, "{}", dir.display());
        let found = Tokenizer::load(folder.path()).unwrap().unwrap();
        assert_eq!(found.vocab(), tokenizer.vocab(), "the folder of the file gives its tokenizer");
    }
}

#[test]
fn the_template_and_the_ends_are_those_of_the_file() {
    let mut json: Value = read(&golden().join("gguf_qwen2/gguf.json"));
    let tokens: Vec<String> = serde_json::from_value(json["tokens"].clone()).unwrap();
    let id = |text: &str| tokens.iter().position(|token| token == text).unwrap() as u32;
    let [turn, text] = ["<|im_end|>", "<|endoftext|>"].map(id);
    json["chat_template"] = "{{ bos_token }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}".into();
    let config = json!({
        "model_type": "qwen2", "vocab_size": tokens.len(), "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_parameters": { "rope_theta": 1e4 },
    });
    let metadata = [describe(&config).unwrap().metadata, metadata(&json)].concat();
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), &metadata);
    let tokenizer = Tokenizer::load(&file).unwrap().unwrap();
    let asked = tokenizer.encode_chat(&[Message::user("a")]).unwrap();
    assert_eq!(asked, tokenizer.encode_fragment("<s>a<|im_end|>").unwrap());
    assert!(tokenizer.end_tokens().all(|end| end == turn) && tokenizer.end_tokens().count() > 0);
    // The file names the end of a turn; that of a text is known by how it is spelt.
    assert_eq!(checkpoint::summarize(&file).unwrap().generation.eos, [turn, text]);
}

#[test]
fn a_tokenizer_that_was_written_gives_the_same_ids() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/tiny");
    let ours = Tokenizer::load(&folder).unwrap().unwrap();
    let special = SpecialTokens { ends: ours.end_tokens().collect(), ..SpecialTokens::default() };
    let json: Value = read(&folder.join("tokenizer.json"));
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), &describe_tokenizer(&json, ours.vocab(), &special).unwrap());
    let again = Tokenizer::load(&file).unwrap().unwrap();
    let texts: Vec<String> = read(&golden().join("texts.json"));
    for text in &texts {
        assert_eq!(again.encode(text).unwrap(), ours.encode(text).unwrap(), "{text:?}");
    }
    assert_eq!(Gguf::open(&file).unwrap().special_tokens().unwrap(), special);
}
