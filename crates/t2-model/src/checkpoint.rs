//! Checkpoints in the Hugging Face layout: a folder with `config.json`, weights in safetensors files, and
//! optionally `generation_config.json`.

mod error;
pub(crate) mod foreign;
mod generation;
mod save;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::architecture::{self, Architecture, Source};
use crate::decoder::config::{EMBED, HEAD};
use crate::decoder::{Decoder, DecoderConfig};
use crate::decomposition::{Targets, Weights};
use crate::format::safetensors::{Shards, float_dtype, values};
use crate::hash::Hash;
use crate::paths;

pub use error::{LoadError, SaveError};
pub use generation::GenerationDefaults;
pub(crate) use save::hash_of_model;
pub use save::save;

const CONFIG: &str = "config.json";

/// A model as loaded from disk.
#[derive(Debug)]
pub struct Checkpoint {
    /// The decoder with its weights.
    pub model: Decoder,
    /// The family it is stored as.
    pub architecture: &'static dyn Architecture,
    /// Hash of the stored weights: the same however they are split into files, and whatever they are converted to.
    pub hash: Hash,
    /// Type of the weights in memory.
    pub dtype: DType,
    /// Type of the weights on disk.
    pub stored_dtype: DType,
    /// Special tokens and suggested sampling.
    pub generation: GenerationDefaults,
}

/// What the JSON files of a checkpoint say, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Hugging Face name of the family.
    pub architecture: &'static str,
    /// The shape of the decoder.
    pub config: DecoderConfig,
    /// Special tokens and suggested sampling.
    pub generation: GenerationDefaults,
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

    /// The weights of `targets`, to be decomposed on `device`. Their values are rounded to `dtype` (f32 when `None`) as
    /// they are in a model that is loaded with this type, so that the factors are found again for that model.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, or no plain float.
    pub fn weights(&self, targets: Targets, dtype: Option<DType>, device: &Device) -> Result<Weights<'_>, LoadError> {
        let dtype = dtype.unwrap_or(DType::F32);
        let mut weights = Weights::none(targets, dtype, Some(device));
        for Stored { source, view, .. } in self.stored()?.into_values() {
            let (path, shape) = (source.path.clone(), source.shape.clone());
            weights.add(path, &shape, move || {
                let values = values(&view, &source.rows, source.layout).convert_dtype(dtype).convert_dtype(DType::F32);
                Ok(values.try_into_vec()?)
            });
        }
        Ok(weights)
    }

    /// The stored tensor of every parameter, by the path of the parameter, checked for shape and type.
    fn stored(&self) -> Result<BTreeMap<String, Stored<'_>>, LoadError> {
        let mut theirs = self.shards.tensors()?;
        let mut used = vec![];
        let mut ours = BTreeMap::new();
        for source in self.architecture.sources(&self.config) {
            let found = source.names.iter().find_map(|name| Some((name.clone(), theirs.get(name)?.clone())));
            let (name, view) = found.ok_or_else(|| LoadError::MissingTensor {
                name: source.names.first().cloned().unwrap_or_else(|| source.path.clone()),
                dir: self.dir.clone(),
            })?;
            let expected = source.stored_shape();
            if view.shape() != expected {
                return Err(LoadError::WrongShape { name, found: view.shape().to_vec(), expected });
            }
            if float_dtype(&view).is_none() {
                return Err(LoadError::WrongDtype { name, found: format!("{:?}", view.dtype()) });
            }
            used.push(name.clone());
            ours.insert(source.path.clone(), Stored { source, name, view });
        }
        theirs.retain(|name, _| !used.contains(name));
        match theirs.into_keys().find(|name| self.is_surplus(name)) {
            Some(name) => Err(LoadError::SurplusTensor { name }),
            None => Ok(ours),
        }
    }

    /// Whether `name`, which no parameter was read from, is a tensor of this family: then the config does not describe
    /// these weights. The head beside a tied embedding is let pass: it is a copy, and transformers ignores it too.
    fn is_surplus(&self, name: &str) -> bool {
        let names = self.architecture.names();
        let is_head = names.iter().any(|(theirs, ours)| *ours == HEAD && *theirs == name);
        architecture::is_known(names, name) && !(is_head && self.config.tied_head)
    }
}

/// A parameter on disk.
struct Stored<'a> {
    source: Source,
    /// The name that the tensor was found under.
    name: String,
    view: TensorView<'a>,
}

impl Stored<'_> {
    /// The values of the parameter as `dtype`, laid out as in the decoder. One that is not finite is refused.
    fn values(&self, dtype: DType) -> Result<TensorData, LoadError> {
        let values = values(&self.view, &self.source.rows, self.source.layout).convert_dtype(dtype);
        match first_not_finite(&values) {
            None => Ok(values),
            Some(value) => Err(LoadError::NotFinite { name: self.name.clone(), value, dtype: dtype.name() }),
        }
    }
}

/// The first value that is not a finite number.
fn first_not_finite(values: &TensorData) -> Option<f32> {
    fn first<E: Copy>(values: Option<&[E]>, to_f32: impl Fn(E) -> f32) -> Option<f32> {
        values?.iter().map(|&value| to_f32(value)).find(|value| !value.is_finite())
    }
    match values.dtype() {
        DType::F16 => first(values.as_slice::<f16>().ok(), f16::to_f32),
        DType::BF16 => first(values.as_slice::<bf16>().ok(), bf16::to_f32),
        _ => first(values.as_slice::<f32>().ok(), |value| value),
    }
}

/// Read the checkpoint in `dir` onto `device`, with weights of `dtype` (f32 when `None`).
///
/// # Errors
///
/// [`LoadError`] when a file is missing, broken or of an unknown family, or a tensor missing, of the wrong shape, not
/// finite, or not foreseen by `config.json`.
///
/// # Panics
///
/// When the list of parameters disagrees with the decoder, which a test rules out.
pub fn load(dir: &Path, dtype: Option<DType>, device: &Device) -> Result<Checkpoint, LoadError> {
    let dtype = dtype.unwrap_or(DType::F32);
    let files = Files::open(dir)?;
    let generation = GenerationDefaults::read(dir, &files.json)?;
    let stored = files.stored()?;
    let stored_dtype = stored.get(EMBED).and_then(|embed| float_dtype(&embed.view)).unwrap_or(dtype);
    let hash = hash_of(&stored);
    let mut fill = Fill { path: paths::Path::default(), stored: &stored, dtype, filled: 0, failed: None };
    let model = files.config.init(device).map(&mut fill);
    if let Some(error) = fill.failed {
        return Err(error);
    }
    assert_eq!(fill.filled, stored.len(), "parameters of the decoder and of DecoderConfig::parameters");
    let model = model.with_base_hash(hash);
    Ok(Checkpoint { model, architecture: files.architecture, hash, dtype, stored_dtype, generation })
}

/// Read what `config.json` and `generation_config.json` in `dir` say, without touching the weights.
///
/// # Errors
///
/// [`LoadError`] when a file is missing, broken or of an unknown family.
pub fn summarize(dir: &Path) -> Result<Summary, LoadError> {
    let (architecture, json) = read_architecture(dir)?;
    let config = architecture.config(&json)?;
    Ok(Summary { architecture: architecture.hf_name(), config, generation: GenerationDefaults::read(dir, &json)? })
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

fn read_architecture(dir: &Path) -> Result<(&'static dyn Architecture, Value), LoadError> {
    let json = read_json(dir, CONFIG);
    foreign::refuse_foreign(dir, json.as_ref().unwrap_or(&Value::Null))?;
    let json = json?;
    Ok((architecture::find(&json)?, json))
}

/// The JSON document `file` in `dir`.
pub(crate) fn read_json(dir: &Path, file: &'static str) -> Result<Value, LoadError> {
    let path = dir.join(file);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => LoadError::NotFound { file, dir: dir.to_owned() },
        _ => LoadError::Read { path: path.clone(), source },
    })?;
    serde_json::from_slice(&text).map_err(|e| LoadError::Malformed { path, reason: e.to_string() })
}

/// Hash of path, stored type, stored shape and bytes of every tensor, in the order of the paths.
fn hash_of(stored: &BTreeMap<String, Stored<'_>>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for (path, Stored { source, view, .. }) in stored {
        let shape = source.layout.turn(&source.shape);
        let rows = view.shape().first().copied().unwrap_or(1);
        hasher.update(format!("{path} {:?} {shape:?}\n", view.dtype()).as_bytes());
        hasher.update(source.rows.bytes(view.data(), rows));
    }
    hasher.finalize().into()
}

/// Replaces every parameter by its stored value, before anybody asks for the initial one: so it is never drawn.
struct Fill<'a> {
    path: paths::Path,
    stored: &'a BTreeMap<String, Stored<'a>>,
    dtype: DType,
    filled: usize,
    failed: Option<LoadError>,
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(stored) = self.stored.get(&self.path.to_string()).filter(|_| self.failed.is_none()) else {
            return param;
        };
        self.filled += 1;
        let values = match stored.values(self.dtype) {
            Ok(values) => values,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        let tensor = Tensor::from_data(values, (&param.lazy_device(), self.dtype));
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
