//! Whole models: which tensors are read, and as what.

use std::path::Path;

use burn::prelude::*;
use t2_model::checkpoint::{self, Checkpoint, LoadError};
use t2_model::format::gguf::{MetaValue, NewTensor, write};
use t2_model::format::quant::GgmlType;
use t2_model::{Active, CausalLm};

/// Width of everything in the model: two blocks of `Q8_0`.
const WIDTH: usize = 64;
const VOCAB: usize = 6;

/// Write a Llama of one layer to `path`, its vectors as `vectors`, with the tensors of `more`.
fn llama(path: &Path, vectors: GgmlType, more: &[&str]) {
    let counts = ["block_count", "attention.head_count", "context_length", "embedding_length", "feed_forward_length"];
    let counts = counts.into_iter().zip([1, 2, 64, WIDTH as u32, WIDTH as u32]);
    let mut metadata: Vec<_> = counts.map(|(key, n)| (format!("llama.{key}"), MetaValue::U32(n))).collect();
    metadata.push(("llama.attention.layer_norm_rms_epsilon".to_owned(), 1e-5_f32.into()));
    metadata.push(("general.architecture".to_owned(), "llama".into()));
    let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let norms = ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"].map(|name| format!("{name}.weight"));
    let matrices = matrices.map(|name| tensor(&format!("blk.0.{name}.weight"), &[WIDTH, WIDTH], GgmlType::F32));
    let mut tensors = vec![tensor("token_embd.weight", &[VOCAB, WIDTH], GgmlType::F32)];
    tensors.extend(matrices);
    tensors.extend(
        norms.iter().map(String::as_str).chain(more.iter().copied()).map(|name| tensor(name, &[WIDTH], vectors)),
    );
    write(path, &metadata, tensors).unwrap();
}

/// A tensor whose numbers are the same in every type that is written: whole numbers, the largest of each block 127.
fn tensor(name: &str, shape: &[usize], ty: GgmlType) -> NewTensor<'static> {
    let len = shape.iter().product();
    let values = Box::new(move || Ok((0..len).map(|at: usize| (at % 32) as f32 * 4.0 + 3.0).collect()));
    NewTensor { name: name.to_owned(), shape: shape.to_vec(), ty, values }
}

fn load(vectors: GgmlType, more: &[&str]) -> Result<Checkpoint, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    llama(&path, vectors, more);
    checkpoint::load(&path, None, &Device::flex())
}

#[test]
fn norms_and_biases_are_the_same_in_every_type() {
    let biases = ["q", "k", "v", "output"].map(|which| format!("blk.0.attn_{which}.bias"));
    let biases = biases.each_ref().map(String::as_str);
    let logits = |vectors| {
        let model = load(vectors, &biases).unwrap().model;
        let ids = Tensor::from_data([[1_i64, 3]], &Device::flex());
        model.forward(ids, None, Active::Base).into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let expected = logits(GgmlType::F32);
    assert!(expected.iter().all(|logit| logit.is_finite()));
    for ty in [GgmlType::F16, GgmlType::Bf16, GgmlType::Q8_0] {
        assert_eq!(logits(ty), expected, "{ty}");
    }
}

/// Expect that a model with a tensor `name` of no use to its family is refused, and told so.
#[track_caller]
fn check_surplus(name: &str) {
    match load(GgmlType::F32, &[name]) {
        Err(LoadError::SurplusTensor { name: found, .. }) => assert_eq!(found, name),
        other => panic!("a model with {name} is {other:?}"),
    }
}

#[test]
fn a_tensor_that_nothing_reads_makes_another_model() {
    check_surplus("blk.0.attn_norm.bias");
    check_surplus("output.bias");
    check_surplus("blk.0.attn_q.scale");
    check_surplus("blk.0.attn_q_norm.weight");
    check_surplus("blk.1.attn_norm.weight");
    check_surplus("blk.0.ffn_gate_exps.weight");
    check_surplus("position_embd.weight");
}

#[test]
fn what_sees_and_what_old_files_store_is_let_pass() {
    let names = ["v.blk.0.attn_q.weight", "mm.input_projection.weight", "blk.0.attn_rot_embd.weight"];
    assert!(load(GgmlType::F32, &names).is_ok());
}
