//! A folder of the Hub as a GGUF file, as llama.cpp's converter writes it: its names, rows of queries and keys interleaved,
//! the one added that norms multiply by. Written down once more, without what loading goes by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::Value;
use t2_model::architecture::{ARCHITECTURES, Architecture, Source, Transform};
use t2_model::checkpoint;
use t2_model::decoder::{DecoderConfig, QkNorm};
use t2_model::format::gguf::{Family, GgufWriteError, MetaValue, NewTensor, Problem, describe, write};
use t2_model::format::quant::GgmlType;

/// What a GGUF file is written from.
#[derive(Clone)]
pub(crate) struct Converted {
    pub(crate) metadata: Vec<(String, MetaValue)>,
    pub(crate) tensors: BTreeMap<String, Written>,
}

/// A tensor of the file.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) shape: Vec<usize>,
    pub(crate) ty: GgmlType,
    pub(crate) values: Vec<f32>,
}

impl Converted {
    /// The checkpoint in `dir` in f32; the reason where no GGUF file can say what it is.
    pub(crate) fn of(dir: &Path) -> Result<Self, Problem> {
        Self::with(dir, fold_divisor)
    }

    /// The checkpoint as [`of`](Self::of) has it, without folding into its queries what files have no key for.
    pub(crate) fn plainly(dir: &Path) -> Result<Self, Problem> {
        Self::with(dir, |_, _| None)
    }

    fn with(
        dir: &Path,
        fold: impl Fn(&mut Value, &DecoderConfig) -> Option<(&'static str, f32)>,
    ) -> Result<Self, Problem> {
        let summary = checkpoint::summarize(dir).unwrap();
        let is_family = |family: &&&dyn Architecture| family.hf_name() == summary.architecture;
        let architecture = *ARCHITECTURES.iter().find(is_family).unwrap();
        let mut json = architecture.to_json(&summary.config);
        let queries = fold(&mut json, &summary.config);
        let description = describe(&json)?;
        let vectors = description.tensors.into_iter().map(|(name, values)| (name.to_owned(), Written::f32(values)));
        let mut tensors: BTreeMap<_, _> = vectors.collect();
        let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        for source in architecture.sources(&summary.config) {
            let view = source.names.iter().find_map(|name| stored.tensor(name).ok()).unwrap();
            let name = description.family.name(&source.path).unwrap();
            let mut written = convert(&view, &source, description.family, &summary.config);
            if let Some((path, factor)) = queries
                && source.path.ends_with(path)
            {
                written.values.iter_mut().for_each(|value| *value *= factor);
            }
            tensors.insert(name, written);
        }
        Ok(Self { metadata: description.metadata, tensors })
    }

    /// Queries, keys and values of every layer as one tensor, as `--fuse-qkv` has them.
    pub(crate) fn fused(mut self) -> Self {
        let names: Vec<String> = self.tensors.keys().filter(|name| name.contains(".attn_q.")).cloned().collect();
        for name in names {
            let parts = ["attn_q", "attn_k", "attn_v"].map(|part| name.replace("attn_q", part));
            let parts = parts.map(|name| self.tensors.remove(&name).unwrap());
            let mut fused = parts[0].clone();
            fused.shape[0] = parts.iter().map(|part| part.shape[0]).sum();
            fused.values = parts.into_iter().flat_map(|part| part.values).collect();
            self.tensors.insert(name.replace("attn_q", "attn_qkv"), fused);
        }
        self
    }

    /// Every matrix as `ty`, where its rows are whole blocks of it.
    pub(crate) fn stored_as(mut self, ty: GgmlType) -> Self {
        let fits = |tensor: &&mut Written| tensor.shape.len() == 2 && ty.bytes_of(tensor.shape[1]).is_some();
        self.tensors.values_mut().filter(fits).for_each(|tensor| tensor.ty = ty);
        self
    }

    /// The numbers that a file of these types holds, in f32.
    pub(crate) fn rounded(mut self) -> Self {
        for tensor in self.tensors.values_mut() {
            let stored = tensor.ty.quantize(&tensor.values).unwrap();
            tensor.ty.dequantize(&stored, &mut tensor.values);
            tensor.ty = GgmlType::F32;
        }
        self
    }

    /// Write the file `name` in `dir`.
    pub(crate) fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let tensors = self.tensors.iter().map(|(name, tensor)| NewTensor {
            name: name.clone(),
            shape: tensor.shape.clone(),
            ty: tensor.ty,
            values: Box::new(|| Ok(tensor.values.clone())),
        });
        let path = dir.join(name);
        write::<GgufWriteError>(&path, &self.metadata, tensors.collect()).unwrap();
        path
    }

    /// The tensor called `name`.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut Written {
        self.tensors.get_mut(name).unwrap()
    }

    /// Set the number at `key`.
    pub(crate) fn set(&mut self, key: &str, value: u32) {
        self.metadata.retain(|(name, _)| name != key);
        self.metadata.push((key.to_owned(), value.into()));
    }
}

impl Written {
    /// A vector.
    pub(crate) fn f32(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], ty: GgmlType::F32, values }
    }
}

/// Files have no key for what Gemma divides scores by: it is the width of a head. Say so in `json`, and give what queries are
/// multiplied by to make up for it, with the parameter that takes it.
fn fold_divisor(json: &mut Value, config: &DecoderConfig) -> Option<(&'static str, f32)> {
    let (width, divisor) = (config.attention.head_dim as f64, json["query_pre_attn_scalar"].as_f64()?);
    json["query_pre_attn_scalar"] = width.into();
    let path = if config.attention.qk_norm == QkNorm::None { ".attn.q.weight" } else { ".attn.q_norm.gamma" };
    Some((path, (width / divisor).sqrt() as f32))
}

/// The tensor of `view`, of which `source` says what it is in the folder, as the file of a `family` has it.
fn convert(view: &TensorView<'_>, source: &Source, family: &Family, config: &DecoderConfig) -> Written {
    let mut values = floats(view);
    if source.transform == Transform::PlusOne {
        values.iter_mut().for_each(|value| *value += 1.0);
    }
    let layer = source.path.splitn(3, '.').nth(2).unwrap_or_default();
    if family.interleaved && (layer.starts_with("attn.q.") || layer.starts_with("attn.k.")) {
        values = interleave(&values, view.shape()[0], config.attention.head_dim);
    }
    Written { shape: view.shape().to_vec(), ty: GgmlType::F32, values }
}

/// The numbers of a stored tensor.
fn floats(view: &TensorView<'_>) -> Vec<f32> {
    let halves = || bytemuck::pod_collect_to_vec::<u8, u16>(view.data()).into_iter();
    match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
        Dtype::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        other => panic!("a golden folder holds {other:?}"),
    }
}

/// Row `h d/2 + i` of every head of `d` rows becomes its row `2 i + h`: rotary pairs side by side.
fn interleave(values: &[f32], rows: usize, head_dim: usize) -> Vec<f32> {
    let stride = values.len() / rows;
    let row = |row: usize| &values[row * stride..(row + 1) * stride];
    let heads = (0..rows).step_by(head_dim);
    let pairs = heads.flat_map(|head| (0..head_dim / 2).map(move |pair| (head + pair, head + head_dim / 2 + pair)));
    pairs.flat_map(|(one, other)| [row(one), row(other)].concat()).collect()
}
