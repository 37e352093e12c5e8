//! Checkpoints: folders in the layout of the Hugging Face Hub, and GGUF files.

mod error;
mod fill;
mod fingerprint;
pub(crate) mod foreign;
mod generation;
mod save;
mod tensors;
mod tied;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use serde_json::Value;

use crate::architecture::{self, Architecture, Source};
use crate::decoder::config::HEAD;
use crate::decoder::{Decoder, DecoderConfig};
use crate::decomposition::{Targets, Weights};
use crate::format::stored::{StoredTensor, first_not_finite};
use crate::format::{self, Format};
use crate::hash::Hash;

pub use error::{LoadError, SaveError};
pub use fill::{LoadOptions, Loading};
pub use generation::GenerationDefaults;
pub(crate) use save::hash_of_model;
pub use save::save;
pub(crate) use tensors::FileTensor;

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
    format: Box<dyn Format>,
    architecture: &'static dyn Architecture,
    /// The shape of the decoder.
    pub config: DecoderConfig,
}

impl Files {
    /// Open the checkpoint at `path`: a folder in the Hugging Face layout, a GGUF file, or a folder with one.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a file is missing, broken or of an unknown family.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let mut files = Self::describe(path)?;
        files.format.open()?;
        if files.has_other_head()? {
            tracing::warn!(
                "{}: the config says that the head is the embedding, but both are stored and differ; going on with the \
                 two as they are",
                path.display()
            );
            files.config.tied_head = false;
        }
        Ok(files)
    }

    /// As [`open`](Self::open), without the weights, which may not be there.
    fn describe(path: &Path) -> Result<Self, LoadError> {
        let format = format::describe(path)?;
        let read = |json| -> Result<_, LoadError> {
            let architecture = architecture::find(json)?;
            Ok((architecture, architecture::describe(architecture, json)?))
        };
        match read(format.config()) {
            Ok((architecture, config)) => Ok(Self { format, architecture, config }),
            Err(problem) => Err(problem.within(&format.config_path())),
        }
    }

    /// The weights of `targets`, to be decomposed on `device`. Their values are rounded to `dtype` (f32 when `None`) as
    /// they are in a model that is loaded with this type, so that the factors are found again for that model.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, or no plain float.
    pub fn weights(&self, targets: Targets, dtype: Option<DType>, device: &Device) -> Result<Weights<'_>, LoadError> {
        let dtype = dtype.unwrap_or(DType::F32);
        self.weights_as([dtype; 2], targets, device)
    }

    /// As [`weights`](Self::weights), for a model whose weights are rounded to `rounded` and f32 in memory
    /// ([`LoadOptions::rounded`]).
    ///
    /// # Errors
    ///
    /// As [`weights`](Self::weights).
    pub fn rounded_weights(&self, targets: Targets, rounded: DType, device: &Device) -> Result<Weights<'_>, LoadError> {
        self.weights_as([rounded, DType::F32], targets, device)
    }

    /// The weights of `targets`, rounded to the first type and, in memory, of the second.
    fn weights_as(
        &self,
        [rounded, dtype]: [DType; 2],
        targets: Targets,
        device: &Device,
    ) -> Result<Weights<'_>, LoadError> {
        let mut weights = Weights::none(targets, dtype, Some(device));
        for stored in self.stored()?.into_values() {
            let (path, shape) = (stored.source.path.clone(), stored.source.shape.clone());
            weights.add(path, &shape, move || Ok(stored.read(rounded).convert_dtype(DType::F32).try_into_vec()?));
        }
        Ok(weights)
    }

    /// The tensors of the model as they are stored, counted by type.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, or no plain float.
    pub fn stored_as(&self) -> Result<BTreeMap<&'static str, StoredAs>, LoadError> {
        let mut types: BTreeMap<&str, StoredAs> = BTreeMap::new();
        let tensors: BTreeMap<String, StoredTensor<'_>> =
            self.stored()?.into_values().map(|stored| (stored.name, stored.tensor)).collect();
        for tensor in tensors.into_values() {
            let entry = types.entry(tensor.ty.name()).or_default();
            entry.tensors += 1;
            entry.bytes += tensor.range.len();
        }
        Ok(types)
    }

    /// The [`Checkpoint::hash`] of the weights, if the folder `hashes` remembers it: no weight is read.
    pub fn known_hash(&self, hashes: &Path) -> Option<Hash> {
        fingerprint::known(self, hashes)
    }

    /// The [`Checkpoint::hash`] of the weights. It is kept in the folder `hashes`, where there is one, and taken from
    /// there while the files have their size and time of change.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, or no plain float.
    pub fn hash(&self, hashes: Option<&Path>) -> Result<Hash, LoadError> {
        fingerprint::of(self, &self.stored()?, hashes)
    }

    /// The stored tensor of every parameter, by the path of the parameter, checked for shape and type.
    fn stored(&self) -> Result<BTreeMap<String, Stored<'_>>, LoadError> {
        let mut theirs = self.format.tensors()?;
        let path = || self.format.path().to_owned();
        let mut used = BTreeSet::new();
        let mut ours = BTreeMap::new();
        for source in self.architecture.sources(&self.config) {
            let source = self.format.locate(self.architecture, source);
            let found = source.names.iter().find_map(|name| Some((name.clone(), theirs.get(name)?.clone())));
            let (name, tensor) = found.ok_or_else(|| LoadError::MissingTensor {
                name: source.names.first().cloned().unwrap_or_else(|| source.path.clone()),
                path: path(),
            })?;
            let expected = source.stored_shape();
            let tensor = match tensor {
                Ok(tensor) if tensor.shape == expected => tensor,
                Ok(tensor) => return Err(LoadError::WrongShape { path: path(), name, found: tensor.shape, expected }),
                Err(found) => return Err(LoadError::WrongDtype { path: path(), name, found }),
            };
            used.insert(name.clone());
            ours.insert(source.path.clone(), Stored { source, name, tensor });
        }
        theirs.retain(|name, _| !used.contains(name));
        match theirs.into_keys().find(|name| self.is_surplus(name)) {
            Some(name) => Err(LoadError::SurplusTensor { path: path(), name }),
            None => Ok(ours),
        }
    }

    /// Whether `name`, which no parameter was read from, is a tensor of this family: then the config does not describe
    /// these weights. The head beside a tied embedding is let pass: it is a copy, or the two would not be tied.
    fn is_surplus(&self, name: &str) -> bool {
        let names = self.architecture.names();
        let is_head = names.iter().any(|(theirs, ours)| *ours == HEAD && *theirs == name);
        self.format.is_known(self.architecture, name) && !(is_head && self.config.tied_head)
    }
}

/// How much of a checkpoint is stored in one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoredAs {
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// A parameter on disk.
struct Stored<'a> {
    source: Source,
    /// The name that the tensor was found under.
    name: String,
    tensor: StoredTensor<'a>,
}

impl Stored<'_> {
    /// Bytes of the parameter on disk: a fused tensor is shared by several.
    fn bytes(&self) -> usize {
        self.source.rows.bytes(self.tensor.data(), self.tensor.rows()).len()
    }

    /// The values of the parameter in a model of `dtype`, laid out as in the decoder.
    fn read(&self, dtype: DType) -> TensorData {
        let Source { rows, layout, transform, .. } = &self.source;
        let values = self.tensor.values(rows, *layout, self.source.dtype(dtype));
        self.tensor.release();
        transform.in_memory(values)
    }

    /// As [`read`](Self::read); a value that is not finite is refused.
    fn values(&self, dtype: DType) -> Result<TensorData, LoadError> {
        let values = self.read(dtype);
        match first_not_finite(&values) {
            None => Ok(values),
            Some(value) => Err(LoadError::NotFinite {
                path: self.tensor.file.path().to_owned(),
                name: self.name.clone(),
                value,
                dtype: values.dtype().name(),
            }),
        }
    }
}

/// Read the checkpoint in `dir` onto `device`, with weights of `dtype` (f32 when `None`).
///
/// # Errors
///
/// As [`Files::load`].
pub fn load(dir: &Path, dtype: Option<DType>, device: &Device) -> Result<Checkpoint, LoadError> {
    Files::open(dir)?.load(device, LoadOptions { dtype, ..LoadOptions::default() })
}

/// What the checkpoint at `path` says of itself, without touching the weights, which need not be there.
///
/// # Errors
///
/// [`LoadError`] when a file is missing, broken or of an unknown family.
pub fn summarize(path: &Path) -> Result<Summary, LoadError> {
    let Files { format, architecture, config } = Files::describe(path)?;
    Ok(Summary { architecture: architecture.hf_name(), config, generation: format.generation()? })
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
    Files::open(dir)?.hash(None)
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
