//! The checkpoints in `golden/families`, made by `golden/make_families.py`, and what transformers computed of them.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::DeviceType;
use safetensors::tensor::SafeTensors;
use t2_model::adapter::Active;
use t2_model::checkpoint::{self, Checkpoint};
use t2_model::decoder::{CausalLm, Decoder, KvCache};

/// Largest difference of a logit in f32, relative to the largest logit: f32 sums in another order, through four layers.
/// Measured: 3.9e-6 (`phi3_longrope`).
pub(crate) const TOLERANCE: f32 = 1e-4;

/// One prompt and what transformers makes of it, alone.
pub(crate) struct Case {
    pub(crate) prompt: Vec<i64>,
    /// `[seq, vocab]`.
    pub(crate) logits: Vec<f32>,
    pub(crate) greedy: Vec<i64>,
}

/// Where models run, and what is computed there.
pub(crate) fn devices() -> Vec<(&'static str, Device)> {
    vec![
        ("cpu", Device::flex()),
        #[cfg(feature = "wgpu")]
        ("wgpu", first(DeviceType::Wgpu)),
        #[cfg(feature = "cuda")]
        ("cuda", first(DeviceType::Cuda)),
    ]
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn first(kind: DeviceType) -> Device {
    Device::enumerate(kind).into_iter().next().expect("a GPU, or one of software")
}

pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families")
}

/// Every folder in `golden/families`, by its name.
pub(crate) fn folders() -> Vec<(String, PathBuf)> {
    let paths = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect();
    all.sort();
    all
}

pub(crate) fn cases(dir: &Path) -> Vec<Case> {
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: String| tensors.tensor(&name).unwrap().data().to_vec();
    let ids = |name| bytemuck::pod_collect_to_vec::<u8, i32>(&data(name)).into_iter().map(i64::from).collect();
    let case = |i| Case {
        prompt: ids(format!("prompt.{i}")),
        logits: bytemuck::pod_collect_to_vec(&data(format!("logits.{i}"))),
        greedy: ids(format!("greedy.{i}")),
    };
    (0..2).map(case).collect()
}

pub(crate) fn load(dir: &Path, dtype: DType, device: &Device) -> Checkpoint {
    checkpoint::load(dir, Some(dtype), device).unwrap()
}

/// Logits of `rows` `[batch, seq]`, as a list `[seq, vocab]` for each.
pub(crate) fn forward(
    model: &Decoder,
    device: &Device,
    rows: &[Vec<i64>],
    cache: Option<&mut KvCache>,
) -> Vec<Vec<f32>> {
    let tokens = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
    let logits = model.forward(Tensor::from_data(tokens, device), cache, Active::Base).cast(DType::F32);
    let [_, seq, vocab] = logits.dims();
    logits.into_data().iter::<f32>().collect::<Vec<_>>().chunks(seq * vocab).map(<[f32]>::to_vec).collect()
}

/// Logits of the prompts, and greedy tokens, of `cases` as one batch, padded on the left, with a cache.
pub(crate) fn answers(model: &Decoder, device: &Device, cases: &[Case]) -> Vec<(Vec<f32>, Vec<i64>)> {
    let (vocab, count) = (model.shape().vocab, cases[0].greedy.len());
    let longest = cases.iter().map(|case| case.prompt.len()).max().unwrap();
    let pad: Vec<usize> = cases.iter().map(|case| longest - case.prompt.len()).collect();
    let rows: Vec<_> = cases.iter().zip(&pad).map(|(case, &pad)| [&vec![0; pad], &case.prompt[..]].concat()).collect();
    let mut cache = KvCache::new(model.shape(), pad.clone(), longest + count);
    let mut logits = forward(model, device, &rows, Some(&mut cache));
    let read: Vec<_> = logits.iter().zip(&pad).map(|(row, pad)| row[pad * vocab..].to_vec()).collect();
    let mut greedy = vec![vec![]; cases.len()];
    for _ in 0..count {
        let best = |row: &Vec<f32>| {
            row[row.len() - vocab..].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as i64
        };
        let next: Vec<Vec<i64>> = logits.iter().map(|row| vec![best(row)]).collect();
        greedy.iter_mut().zip(&next).for_each(|(row, next)| row.extend(next));
        logits = forward(model, device, &next, Some(&mut cache));
    }
    read.into_iter().zip(greedy).collect()
}

/// The larger of two, or what is no number.
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// Largest difference relative to the largest reference.
pub(crate) fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.map(f32::abs).fold(0.0, larger);
    largest(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / largest(&mut expected.iter().copied())
}

/// Logits and greedy tokens of `cases`, as one batch, are those that transformers computed of each alone.
#[track_caller]
pub(crate) fn check_answers(what: &str, model: &Decoder, device: &Device, cases: &[Case]) {
    for ((logits, greedy), case) in answers(model, device, cases).into_iter().zip(cases) {
        let error = error(&logits, &case.logits);
        assert!(error <= TOLERANCE, "{what}, {} tokens: {error:.1e}", case.prompt.len());
        assert_eq!(greedy, case.greedy, "{what}, {} tokens", case.prompt.len());
    }
}
