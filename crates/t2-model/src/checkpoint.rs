//! Checkpoints in the Hugging Face layout: a folder with `config.json`, weights in safetensors files, and
//! optionally `generation_config.json`.

mod error;
mod generation;
mod save;
pub(crate) mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::architecture::{self, Architecture};
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::decomposition::{Targets, Weights};
use crate::expert::Hash;
use crate::paths;

pub use error::{LoadError, SaveError};
pub use generation::GenerationConfig;
pub use save::save;
use tensors::{Layout, Shards};

const CONFIG: &str = "config.json";
/// The embedding, which is stored the way we use it.
const EMBED: &str = "embed.weight";
/// The output head, whose name the embedding of a tied checkpoint may go by.
const HEAD: &str = "head.weight";

/// A model as loaded from disk.
#[derive(Debug)]
pub struct Checkpoint {
    /// The decoder with its weights.
    pub model: Decoder,
    /// Hash of the stored weights: the same however they are split into files, and whatever they are converted to.
    pub hash: Hash,
    /// Type of the weights in memory.
    pub dtype: DType,
    /// Type of the weights on disk.
    pub stored_dtype: DType,
    /// Special tokens and suggested sampling.
    pub generation: GenerationConfig,
}

/// What `config.json` says, without the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Hugging Face name of the family.
    pub architecture: &'static str,
    /// The shape of the decoder.
    pub config: DecoderConfig,
    /// Special tokens and suggested sampling.
    pub generation: GenerationConfig,
}

/// The files of a checkpoint, mapped and not yet read.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
    architecture: &'static dyn Architecture,
    json: Value,
    /// The shape of the decoder.
    pub config: DecoderConfig,
    shards: Shards,
}

impl Files {
    /// Open the checkpoint in `dir`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a file is missing, broken or of an unknown family.
    pub fn open(dir: &Path) -> Result<Self, LoadError> {
        let (architecture, json) = read_architecture(dir)?;
        let config = architecture.config(&json)?;
        Ok(Self { dir: dir.to_owned(), architecture, config, shards: Shards::open(dir)?, json })
    }

    /// The weights of `targets` as they are with `dtype` in memory (f32 when `None`), to be decomposed on `device`: the
    /// same that a model has which is loaded with this type.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, or no plain float.
    pub fn weights(&self, targets: Targets, dtype: Option<DType>, device: &Device) -> Result<Weights<'_>, LoadError> {
        let dtype = dtype.unwrap_or(DType::F32);
        let mut stored = self.stored()?;
        let mut weights = Weights::none(targets, dtype, Some(device));
        for (path, shape) in self.config.parameters() {
            let Some(view) = stored.remove(&path) else { continue };
            let layout = layout(&path, shape.len());
            weights.add(path, &shape, move || {
                let values = tensors::values(&view, layout).convert_dtype(dtype).convert_dtype(DType::F32);
                Ok(values.try_into_vec()?)
            });
        }
        Ok(weights)
    }

    fn stored(&self) -> Result<BTreeMap<String, TensorView<'_>>, LoadError> {
        stored(&self.dir, self.architecture, &self.config, &self.shards)
    }
}

/// Read the checkpoint in `dir` onto `device`, with weights of `dtype` (f32 when `None`).
///
/// # Errors
///
/// [`LoadError`] when a file is missing, broken or of an unknown family, or a tensor missing or of the wrong shape.
///
/// # Panics
///
/// When the list of parameters disagrees with the decoder, which a test rules out.
pub fn load(dir: &Path, dtype: Option<DType>, device: &Device) -> Result<Checkpoint, LoadError> {
    let dtype = dtype.unwrap_or(DType::F32);
    let files = Files::open(dir)?;
    let generation = GenerationConfig::read(dir, &files.json)?;
    let stored = files.stored()?;
    let stored_dtype = stored.get(EMBED).and_then(tensors::float_dtype).unwrap_or(dtype);
    let hash = hash_of(&stored);
    let mut fill = Fill { path: paths::Path::default(), stored: &stored, dtype, filled: 0 };
    let model = files.config.init(device).map(&mut fill);
    assert_eq!(fill.filled, stored.len(), "parameters of the decoder and of DecoderConfig::parameters");
    Ok(Checkpoint { model, hash, dtype, stored_dtype, generation })
}

/// Read what `config.json` and `generation_config.json` in `dir` say, without touching the weights.
///
/// # Errors
///
/// [`LoadError`] when a file is missing, broken or of an unknown family.
pub fn summarize(dir: &Path) -> Result<Summary, LoadError> {
    let (architecture, json) = read_architecture(dir)?;
    let config = architecture.config(&json)?;
    Ok(Summary { architecture: architecture.hf_name(), config, generation: GenerationConfig::read(dir, &json)? })
}

/// Read the shape of the decoder in `dir`.
///
/// # Errors
///
/// As [`summarize`].
pub fn read_config(dir: &Path) -> Result<DecoderConfig, LoadError> {
    Ok(summarize(dir)?.config)
}

/// The [`Checkpoint::hash`] of the weights in `dir`, without loading them.
///
/// # Errors
///
/// As [`load`].
pub fn hash(dir: &Path) -> Result<Hash, LoadError> {
    Ok(hash_of(&Files::open(dir)?.stored()?))
}

impl DecoderConfig {
    /// Path and shape of every parameter of the decoder, in the order of its fields.
    pub fn parameters(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let one = |path: &str, shape| (path.to_owned(), shape);
        let head = (!self.tied_head).then(|| one(HEAD, vec![self.d_model, self.vocab]));
        std::iter::once(one(EMBED, vec![self.vocab, self.d_model]))
            .chain((0..self.layers).flat_map(|layer| self.block_parameters(layer)))
            .chain([one("norm.gamma", vec![self.d_model])])
            .chain(head)
    }

    fn block_parameters(&self, layer: usize) -> Vec<(String, Vec<usize>)> {
        let (d_q, d_kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attn =
            [("q", self.d_model, d_q), ("k", self.d_model, d_kv), ("v", self.d_model, d_kv), ("o", d_q, self.d_model)];
        let mlp = [
            ("gate", self.d_model, self.d_hidden),
            ("up", self.d_model, self.d_hidden),
            ("down", self.d_hidden, self.d_model),
        ];
        let mut all = vec![];
        for (half, linears, bias) in [("attn", &attn[..], self.attention_bias), ("mlp", &mlp[..], self.mlp_bias)] {
            let half = format!("blocks.{layer}.{half}");
            all.push((format!("{half}_norm.gamma"), vec![self.d_model]));
            for &(name, d_in, d_out) in linears {
                all.push((format!("{half}.{name}.weight"), vec![d_in, d_out]));
                all.extend(bias.then(|| (format!("{half}.{name}.bias"), vec![d_out])));
            }
        }
        all
    }

    /// Number of weights; a tied head counts once.
    pub fn num_params(&self) -> usize {
        self.parameters().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

fn read_architecture(dir: &Path) -> Result<(&'static dyn Architecture, Value), LoadError> {
    let json = read_json(dir, CONFIG)?;
    Ok((architecture::find(&json)?, json))
}

/// The JSON document `file` in `dir`.
fn read_json(dir: &Path, file: &'static str) -> Result<Value, LoadError> {
    let path = dir.join(file);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => LoadError::NotFound { file, dir: dir.to_owned() },
        _ => LoadError::Read { path: path.clone(), source },
    })?;
    serde_json::from_slice(&text).map_err(|e| LoadError::Malformed { path, reason: e.to_string() })
}

/// How the parameter at `path` with `rank` dimensions is stored.
fn layout(path: &str, rank: usize) -> Layout {
    if rank == 2 && path != EMBED { Layout::Transposed } else { Layout::Same }
}

/// The stored tensor of every parameter, by our path, checked for shape and type.
fn stored<'a>(
    dir: &Path,
    architecture: &dyn Architecture,
    config: &DecoderConfig,
    shards: &'a Shards,
) -> Result<BTreeMap<String, TensorView<'a>>, LoadError> {
    let mut theirs = shards.tensors()?;
    let mut ours = BTreeMap::new();
    for (path, shape) in config.parameters() {
        let alias = (path == EMBED && config.tied_head).then_some(HEAD);
        let names = [Some(path.as_str()), alias].into_iter().flatten();
        let names: Vec<String> = names.filter_map(|path| architecture::their_name(architecture, path)).collect();
        let found = names.iter().find_map(|name| theirs.remove_entry(name));
        let (name, view) = found.ok_or_else(|| LoadError::MissingTensor {
            name: names.first().cloned().unwrap_or_else(|| path.clone()),
            dir: dir.to_owned(),
        })?;
        let expected = tensors::in_layout(&shape, layout(&path, shape.len()));
        if view.shape() != expected {
            return Err(LoadError::WrongShape { name, found: view.shape().to_vec(), expected });
        }
        if tensors::float_dtype(&view).is_none() {
            return Err(LoadError::WrongDtype { name, found: format!("{:?}", view.dtype()) });
        }
        ours.insert(path, view);
    }
    Ok(ours)
}

/// Hash of path, stored type, stored shape and bytes of every tensor, in the order of the paths.
fn hash_of(stored: &BTreeMap<String, TensorView<'_>>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for (path, view) in stored {
        let header = format!("{path} {:?} {:?}\n", view.dtype(), view.shape());
        hasher.update(header.as_bytes()).update(view.data());
    }
    hasher.finalize().into()
}

/// Replaces every parameter by its stored value, without ever drawing the initial one.
struct Fill<'a> {
    path: paths::Path,
    stored: &'a BTreeMap<String, TensorView<'a>>,
    dtype: DType,
    filled: usize,
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.to_string();
        let Some(view) = self.stored.get(&path) else { return param };
        self.filled += 1;
        let values = tensors::values(view, layout(&path, D));
        let tensor = Tensor::from_data(values, (&param.lazy_device(), self.dtype));
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
