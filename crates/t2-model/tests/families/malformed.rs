//! GGUF files that are no sound model: the error says which file, and what is wrong in it.

use burn::prelude::*;
use t2_model::checkpoint;
use t2_model::format::gguf::parse;
use t2_model::format::quant::GgmlType;

use crate::converted::{Converted, Written};
use crate::golden::golden;

/// Expect that the file of the golden folder `name` is refused after `change`, with all of `parts` and with its path.
#[track_caller]
fn check(name: &str, change: impl FnOnce(&mut Converted), parts: &[&str]) {
    let mut converted = Converted::of(&golden().join(name)).unwrap();
    change(&mut converted);
    let dir = tempfile::tempdir().unwrap();
    let path = converted.write(dir.path(), "model.gguf");
    let error = checkpoint::load(&path, None, &Device::flex()).unwrap_err().to_string();
    let parts = [&[path.to_str().unwrap()], parts].concat();
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

fn add(converted: &mut Converted, name: &str, len: usize) {
    converted.tensors.insert(name.to_owned(), Written::f32(vec![0.5; len]));
}

#[test]
fn tensors_that_are_not_those_of_the_config_are_named() {
    let remove = |name: &'static str| move |file: &mut Converted| drop(file.tensors.remove(name).unwrap());
    check("qwen2", remove("blk.1.ffn_up.weight"), &["no tensor `blk.1.ffn_up.weight`"]);
    check("qwen2", remove("blk.0.attn_k.bias"), &["no tensor `blk.0.attn_k.bias`"]);
    let turn = |file: &mut Converted| file.tensor("blk.0.ffn_up.weight").shape.reverse();
    check("qwen2", turn, &["`blk.0.ffn_up.weight` is [32, 40], expected [40, 32]"]);
    check("qwen2", |file| add(file, "blk.0.attn_output.bias", 32), &["`blk.0.attn_output.bias` is stored", "none"]);
    check("llama_linear", |file| add(file, "blk.9.attn_norm.weight", 32), &["`blk.9.attn_norm.weight` is stored"]);
    check("olmo2", |file| add(file, "blk.0.attn_norm.weight", 32), &["`blk.0.attn_norm.weight` is stored"]);
}

#[test]
fn fused_tensors_are_whole_and_alone() {
    let fuse = |file: &mut Converted| *file = file.clone().fused();
    let cut_off = |file: &mut Converted| {
        fuse(file);
        let fused = file.tensor("blk.0.attn_qkv.weight");
        fused.shape[0] -= 1;
        fused.values.truncate(fused.shape[0] * fused.shape[1]);
    };
    check("qwen3", cut_off, &["`blk.0.attn_qkv.weight` is", "expected"]);
    let beside = |file: &mut Converted| {
        let query = file.tensor("blk.0.attn_q.weight").clone();
        fuse(file);
        file.tensors.insert("blk.0.attn_q.weight".to_owned(), query);
    };
    check("qwen3", beside, &["`blk.0.attn_q.weight` is stored"]);
}

#[test]
fn models_of_another_kind_are_refused_by_what_makes_them_so() {
    check("olmo2", |file| file.set("olmo2.attention.sliding_window", 4096), &["4096", "OLMo 3 is not read"]);
    check("llama_linear", |file| file.set("llama.expert_count", 8), &["expert_count", "8", "mixtures of experts"]);
    check("llama_linear", |file| file.set("llama.attention.head_count_kv", 3), &["num_key_value_heads", "3"]);
}

#[test]
fn a_scale_that_is_no_number_is_found_in_its_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let converted = Converted::of(&golden().join("llama_linear")).unwrap().stored_as(GgmlType::Q8_0);
    let path = converted.write(dir.path(), "model.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let tensors = parse(&bytes).unwrap().tensors;
    let tensor = tensors.into_iter().find(|tensor| tensor.name == "blk.0.ffn_up.weight").unwrap();
    // The scale of a block is its first two bytes.
    bytes[tensor.bytes.start + GgmlType::Q8_0.block_bytes()..][..2].copy_from_slice(&[0, 0x7E]);
    std::fs::write(&path, bytes).unwrap();
    let error = checkpoint::load(&path, None, &Device::flex()).unwrap_err().to_string();
    let parts = [path.to_str().unwrap(), "`blk.0.ffn_up.weight` holds NaN"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}
