//! Reading and writing of checkpoint folders, and what happens with broken ones.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::DType;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use t2_model::adapter::Active;
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, Checkpoint, GenerationDefaults, LoadError};
use t2_model::decoder::CausalLm;
use t2_model::text::Tokenizer;
use tempfile::TempDir;

const GOLDEN: [&str; 9] =
    ["tied", "untied", "sharded", "bf16", "llama3_old", "llama3_new", "linear", "biases", "head_only"];
const EMBED: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn load(dir: &Path) -> Result<Checkpoint, LoadError> {
    checkpoint::load(dir, None, &Device::flex())
}

/// A copy of a golden checkpoint to break.
fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn edit_weights(dir: &Path, edit: impl FnOnce(&mut Tensors)) {
    let mut tensors = Tensors::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            let bytes = std::fs::read(&path).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                tensors.insert(name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
            }
        }
    }
    edit(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(dir.join(WEIGHTS), safetensors::serialize(views, None::<HashMap<_, _>>).unwrap()).unwrap();
}

fn edit_json(dir: &Path, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut json = std::fs::read(&path).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap());
    edit(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

fn truncate(path: PathBuf, len: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Break a copy of the checkpoint `name` and expect an error that says where it is and all of `parts`.
#[track_caller]
fn check(name: &str, break_it: impl FnOnce(&Path), parts: &[&str]) {
    let dir = copy(name);
    break_it(dir.path());
    let error = load(dir.path()).unwrap_err().to_string();
    println!("{error}");
    assert!(error.contains(dir.path().to_str().unwrap()), "{error} names no file");
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

#[test]
fn missing_files_are_named() {
    let remove = |file: &'static str| move |dir: &Path| std::fs::remove_file(dir.join(file)).unwrap();
    check("tied", remove("config.json"), &["config.json", "folder"]);
    check("tied", remove(WEIGHTS), &[WEIGHTS, INDEX]);
    check("sharded", remove("model-00003-of-00004.safetensors"), &["model-00003-of-00004.safetensors", "cannot read"]);
    let error = load(Path::new("no/such/folder")).unwrap_err().to_string();
    assert!(error.contains("no/such/folder") && error.contains("config.json"), "{error}");
}

#[test]
fn broken_json_is_named() {
    let write =
        |file: &'static str, text: &'static str| move |dir: &Path| std::fs::write(dir.join(file), text).unwrap();
    check("tied", write("config.json", "{\"hidden_size\": "), &["config.json", "EOF", "download"]);
    check("tied", write("config.json", ""), &["config.json", "EOF"]);
    check(
        "tied",
        write("generation_config.json", "{\"eos_token_id\": \"<s>\"}"),
        &["generation_config.json", "token id"],
    );
    check("tied", write("config.json", "[]"), &["config.json: it names no architecture", "LlamaForCausalLM"]);
    check("sharded", write(INDEX, "{}"), &[INDEX, "weight_map"]);
    check("sharded", write(INDEX, "{\"weight_map\": {\"a\": \"../../secret\"}}"), &[INDEX, "../../secret"]);
}

#[test]
fn what_config_json_cannot_say_is_refused() {
    let set =
        |key: &'static str, value: Value| move |dir: &Path| edit_json(dir, "config.json", |json| json[key] = value);
    check("tied", set("architectures", json!(["GPTNeoForCausalLM"])), &["GPTNeoForCausalLM", "LlamaForCausalLM"]);
    check("tied", set("hidden_act", json!("relu")), &["config.json: `hidden_act` is relu", "silu"]);
    check("linear", set("rope_scaling", json!({ "type": "mrope", "factor": 2.0 })), &["rope_type", "mrope", "llama3"]);
    check("tied", set("num_hidden_layers", json!(3)), &["model.layers.2.input_layernorm.weight"]);
    check("tied", set("num_hidden_layers", json!(2_000_000_000)), &["config.json", "2000000000", "65536"]);
    check("tied", set("vocab_size", json!(65)), &["tensor", EMBED, "[64, 32]", "[65, 32]"]);
    check("tied", set("num_key_value_heads", json!(2)), &["k_proj.weight", "[32, 32]", "[16, 32]"]);
}

#[test]
fn missing_and_odd_tensors_are_named() {
    let edit = |f: fn(&mut Tensors)| move |dir: &Path| edit_weights(dir, f);
    let up = "model.layers.1.mlp.up_proj.weight";
    check("tied", edit(|t| drop(t.remove("model.layers.1.mlp.up_proj.weight"))), &[up, "no tensor"]);
    check("biases", edit(|t| drop(t.remove("model.layers.0.self_attn.q_proj.bias"))), &["q_proj.bias"]);
    check("untied", edit(|t| drop(t.remove(HEAD))), &[HEAD]);
    check("tied", edit(|t| drop(t.remove(EMBED))), &[EMBED]);
    check(
        "tied",
        edit(|t| t.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().1.reverse()),
        &[up, "[32, 48]", "[48, 32]"],
    );
    check(
        "tied",
        edit(|t| t.get_mut("model.norm.weight").unwrap().0 = Dtype::I32),
        &["model.norm.weight", "I32", "BF16"],
    );
}

#[test]
fn truncated_weights_are_an_error_at_any_length() {
    let size = std::fs::metadata(golden("bf16").join(WEIGHTS)).unwrap().len();
    for len in [0, 1, 7, 8, 100, 2000, size / 2, size - 1] {
        check("bf16", |dir| truncate(dir.join(WEIGHTS), len), &[WEIGHTS, &format!("{len} bytes"), "download"]);
    }
    check("sharded", |dir| truncate(dir.join("model-00002-of-00004.safetensors"), 5000), &["model-00002-of-00004"]);
}

#[test]
fn no_header_makes_the_reader_panic() {
    let original = std::fs::read(golden("llama3_new").join(WEIGHTS)).unwrap();
    let header = 8 + u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
    let dir = copy("llama3_new");
    for at in (0..header).step_by(5) {
        let mut bytes = original.clone();
        bytes[at] ^= 1 << (at % 7);
        std::fs::write(dir.path().join(WEIGHTS), bytes).unwrap();
        let _ = load(dir.path());
    }
}

#[test]
fn the_list_of_parameters_is_that_of_the_decoder() {
    for name in GOLDEN {
        let config = checkpoint::read_config(&golden(name)).unwrap();
        assert_eq!(config.num_params(), config.init(&Device::flex()).num_params(), "{name}");
    }
}

#[test]
fn the_hash_is_of_the_weights_alone() {
    let hash = |dir: &Path| checkpoint::hash(dir).unwrap();
    let merged = copy("sharded");
    edit_weights(merged.path(), |_| ());
    assert_eq!(hash(&golden("sharded")), hash(merged.path()), "however they are split");
    let renamed = copy("head_only");
    edit_weights(renamed.path(), |tensors| {
        let embed = tensors.remove(HEAD).unwrap();
        tensors.insert(EMBED.into(), embed);
    });
    assert_eq!(hash(&golden("head_only")), hash(renamed.path()), "whatever a tied head is called");
    edit_weights(merged.path(), |tensors| tensors.get_mut("model.norm.weight").unwrap().2[0] ^= 1);
    assert_ne!(hash(&golden("sharded")), hash(merged.path()), "one bit");
    let loaded = checkpoint::load(&golden("bf16"), Some(DType::F16), &Device::flex()).unwrap();
    assert_eq!(loaded.hash, hash(&golden("bf16")), "whatever they are converted to");
}

#[test]
fn weights_are_converted_on_request() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let loaded = checkpoint::load(&golden("bf16"), Some(dtype), &Device::flex()).unwrap();
        assert_eq!((loaded.dtype, loaded.stored_dtype), (dtype, DType::BF16));
        assert_eq!(loaded.model.blocks[1].mlp.up.weight.dtype(), dtype);
    }
}

#[test]
fn weights_can_be_trained_on_a_device_that_can() {
    let loaded = checkpoint::load(&golden("tied"), None, &Device::flex().autodiff()).unwrap();
    assert!(loaded.model.blocks[0].attn.q.weight.is_require_grad());
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let tokens = || Tensor::<2, Int>::from_data([[1, 5, 9, 63, 2]], &Device::flex());
    for name in GOLDEN {
        let first = load(&golden(name)).unwrap();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        checkpoint::save(&first.model, &Llama, &first.generation, dirs[0].path()).unwrap();
        let second = load(dirs[0].path()).unwrap();
        checkpoint::save(&second.model, &Llama, &second.generation, dirs[1].path()).unwrap();
        assert_eq!(first.model.config(), second.model.config(), "{name}");
        assert_eq!(first.generation, second.generation, "{name}");
        let logits = [&first, &second].map(|c| c.model.forward(tokens(), None, Active::Base).into_data());
        assert_eq!(logits[0], logits[1], "{name}");
        for file in ["config.json", "generation_config.json", WEIGHTS] {
            let [a, b] = [&dirs[0], &dirs[1]].map(|dir| std::fs::read(dir.path().join(file)).unwrap());
            assert!(a == b, "{name}: {file} is the same bytes");
        }
    }
}

#[test]
fn special_tokens_come_from_either_file() {
    let dir = copy("tied");
    let read = || checkpoint::summarize(dir.path()).unwrap().generation;
    assert_eq!(read(), GenerationDefaults { eos: vec![2], bos: Some(1), ..Default::default() });
    let sampling = json!({ "eos_token_id": [7, 9], "pad_token_id": -1, "temperature": 0.6, "top_p": 0.9, "top_k": 50, "min_p": 0.05, "repetition_penalty": 1.1, "do_sample": true });
    edit_json(dir.path(), "generation_config.json", |json| *json = sampling);
    let expected = GenerationDefaults {
        eos: vec![7, 9, 2],
        bos: Some(1),
        pad: None,
        temperature: Some(0.6),
        top_p: Some(0.9),
        top_k: Some(50),
        min_p: Some(0.05),
        repetition_penalty: Some(1.1),
        do_sample: Some(true),
    };
    assert_eq!(read(), expected);
    let model = load(dir.path()).unwrap().model;
    checkpoint::save(&model, &Llama, &expected, dir.path()).unwrap();
    assert_eq!(read(), expected);
}

#[test]
fn tensors_that_the_config_has_no_use_for_are_refused_by_name() {
    let add = |name: &'static str, len: usize| {
        move |dir: &Path| {
            edit_weights(dir, |tensors| {
                tensors.insert(name.to_owned(), (Dtype::F32, vec![len], vec![0; 4 * len]));
            });
        }
    };
    let bias = "model.layers.0.self_attn.q_proj.bias";
    check("tied", add(bias, 32), &[bias, "the config"]);
    let layer = "model.layers.2.input_layernorm.weight";
    check("tied", add(layer, 32), &[layer, "more layers"]);
    // What the family does not know belongs to somebody else.
    let dir = copy("tied");
    add("model.layers.0.self_attn.rotary_emb.inv_freq", 4)(dir.path());
    load(dir.path()).unwrap();
}

#[test]
fn a_head_that_is_not_the_embedding_is_not_tied_to_it() {
    let dir = copy("tied");
    let with_head = |edit: fn(&mut Vec<u8>)| {
        edit_weights(dir.path(), |tensors| {
            let mut head = tensors[EMBED].clone();
            edit(&mut head.2);
            tensors.insert(HEAD.to_owned(), head);
        });
        load(dir.path()).unwrap()
    };
    let tied = load(&golden("tied")).unwrap();
    let copied = with_head(|_| ());
    assert_eq!((copied.model.config(), copied.hash), (tied.model.config(), tied.hash), "a copy is the embedding");
    let other = with_head(|bytes| bytes.fill(0));
    assert!(!other.model.config().tied_head && other.hash != tied.hash);
    let ids = Tensor::<2, Int>::from_ints([[1, 2, 3]], &Device::flex());
    let logits = other.model.forward(ids, None, Active::Base).into_data();
    assert!(logits.iter::<f32>().all(|logit| logit == 0.0), "scores are those of the head");
    checkpoint::save(&other.model, &Llama, &other.generation, dir.path()).unwrap();
    assert!(!checkpoint::read_config(dir.path()).unwrap().tied_head);
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let set = |name: &'static str, value: f32| {
        move |dir: &Path| {
            edit_weights(dir, |tensors| {
                let (dtype, _, data) = tensors.get_mut(name).unwrap();
                assert_eq!(*dtype, Dtype::F32);
                data[8..12].copy_from_slice(&value.to_le_bytes());
            });
        }
    };
    for value in [f32::NAN, f32::INFINITY] {
        check("tied", set("model.norm.weight", value), &["model.norm.weight", &value.to_string()]);
    }
    // Finite on disk and too large in memory. Gains are f32 in any model.
    let dir = copy("tied");
    set("model.layers.0.self_attn.q_proj.weight", 1e5)(dir.path());
    load(dir.path()).unwrap();
    let error = checkpoint::load(dir.path(), Some(DType::F16), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("model.layers.0.self_attn.q_proj.weight") && error.contains("inf as f16"), "{error}");
}

#[test]
fn a_model_in_memory_has_the_hash_of_its_checkpoint() {
    for name in ["tied", "biases"] {
        let loaded = load(&golden(name)).unwrap();
        assert_eq!(loaded.model.base_hash(), loaded.hash, "{name}");
        let fresh = loaded.model.config().init(&Device::flex());
        let dir = tempfile::tempdir().unwrap();
        checkpoint::save(&fresh, &Llama, &GenerationDefaults::default(), dir.path()).unwrap();
        assert_eq!(fresh.base_hash(), load(dir.path()).unwrap().hash, "{name}");
    }
}

#[test]
fn a_family_may_go_by_its_type_and_a_base_model_by_bare_names() {
    let set =
        |key: &'static str, value: Value| move |dir: &Path| edit_json(dir, "config.json", |json| json[key] = value);
    let hash = load(&golden("tied")).unwrap().hash;
    for architectures in [Value::Null, json!(["LlamaModel"])] {
        let dir = copy("tied");
        set("architectures", architectures)(dir.path());
        edit_weights(dir.path(), |tensors| {
            let bare = std::mem::take(tensors).into_iter();
            *tensors = bare.map(|(name, tensor)| (name.replace("model.", ""), tensor)).collect();
        });
        assert_eq!(load(dir.path()).unwrap().hash, hash);
    }
}

/// What a copy of a golden checkpoint, whose `config.json` names the end 2 and the start 1, suggests with `advice` as its
/// `generation_config.json`.
fn suggested(advice: &str) -> Result<GenerationDefaults, LoadError> {
    let dir = copy("tied");
    std::fs::write(dir.path().join("generation_config.json"), advice).unwrap();
    checkpoint::summarize(dir.path()).map(|summary| summary.generation)
}

#[test]
fn advice_on_generation_is_taken_as_people_publish_it() {
    let plain = || GenerationDefaults { eos: vec![2], bos: Some(1), ..Default::default() };
    let check =
        |advice: &str, expected: GenerationDefaults| assert_eq!(suggested(advice).unwrap(), expected, "{advice}");
    for nothing in ["", "{}", "{\"eos_token_id\": 7,\n}", "[]", "null", "version https://git-lfs.github.com/spec/v1"] {
        check(nothing, plain());
    }
    check(r#"{"top_k": null, "temperature": null, "eos_token_id": null, "cache_config": {"a": [1]}}"#, plain());
    check(
        r#"{"bos_token_id": [5], "eos_token_id": [2.0, null, -1, 9], "pad_token_id": -1}"#,
        GenerationDefaults { eos: vec![2, 9], bos: Some(5), ..plain() },
    );
    check(
        r#"{"top_k": 50.0, "temperature": 1, "top_p": 1}"#,
        GenerationDefaults { top_k: Some(50), temperature: Some(1.0), top_p: Some(1.0), ..plain() },
    );
    check(r#"{"top_k": -1}"#, GenerationDefaults { top_k: Some(0), ..plain() });
    let greedy = GenerationDefaults { do_sample: Some(false), temperature: Some(0.0), ..plain() };
    check(r#"{"do_sample": false, "temperature": 0.0, "top_p": 0}"#, greedy);
}

#[test]
fn advice_that_makes_no_sense_is_named() {
    let check = |advice: &str, key: &str| {
        let error = suggested(advice).unwrap_err().to_string();
        let parts = ["generation_config.json", &format!("`{key}` is "), "expected"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    check(r#"{"eos_token_id": "</s>"}"#, "eos_token_id");
    check(r#"{"eos_token_id": [2, "</s>"]}"#, "eos_token_id");
    check(r#"{"bos_token_id": 1.5}"#, "bos_token_id");
    check(r#"{"pad_token_id": true}"#, "pad_token_id");
    check(r#"{"temperature": "0.7"}"#, "temperature");
    check(r#"{"do_sample": "yes"}"#, "do_sample");
    check(r#"{"do_sample": true, "temperature": -1}"#, "temperature");
    check(r#"{"do_sample": true, "top_p": 1.5}"#, "top_p");
    check(r#"{"do_sample": true, "top_k": 2.5}"#, "top_k");
    check(r#"{"do_sample": true, "min_p": 2}"#, "min_p");
    check(r#"{"do_sample": true, "repetition_penalty": 0}"#, "repetition_penalty");
}

#[test]
fn what_is_no_plain_model_is_named_for_what_it_is() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n";
    let adapter = |dir: &Path| {
        std::fs::remove_file(dir.join("config.json")).unwrap();
        std::fs::rename(dir.join(WEIGHTS), dir.join("adapter_model.safetensors")).unwrap();
        std::fs::write(dir.join("adapter_config.json"), json!({ "base_model_name_or_path": "org/base" }).to_string())
            .unwrap();
    };
    check("tied", adapter, &["adapter of org/base", "merge_and_unload"]);
    let quantized = |dir: &Path| {
        edit_json(dir, "config.json", |json| json["quantization_config"] = json!({ "quant_method": "gptq" }));
    };
    check("tied", quantized, &["quantized", "gptq", "F16"]);
    let rename = |tensors: &mut Tensors| {
        let up = tensors.remove("model.layers.1.mlp.up_proj.weight").unwrap();
        tensors.insert("model.layers.1.mlp.up_proj.qweight".into(), up);
    };
    check("tied", |dir| edit_weights(dir, rename), &["quantized", "up_proj.qweight"]);
    check("tied", |dir| std::fs::write(dir.join(WEIGHTS), POINTER).unwrap(), &[WEIGHTS, "git lfs pull"]);
    let shard = "model-00002-of-00004.safetensors";
    check("sharded", |dir| std::fs::write(dir.join(shard), POINTER).unwrap(), &[shard, "git lfs pull"]);
    let dir = copy("tied");
    std::fs::write(dir.path().join("tokenizer.json"), POINTER).unwrap();
    let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("git lfs pull"), "{error}");
}
