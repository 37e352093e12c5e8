//! Experts: the scales `z` of every adapted weight, with where they came from, in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::files::{self, WriteError};
use crate::paths;

/// Name of the one metadata entry, a JSON document.
const METADATA: &str = "t2_expert";
/// Suffix of the scales of a weight in an adapted model.
pub(crate) const Z_SUFFIX: &str = ".svf.z";

/// A 32-byte BLAKE3 hash; shown as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

/// What an expert file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExpertInfo {
    /// What the expert is good at, as strategies and people name it: `math`.
    pub name: String,
    /// Hash of the base model the scales belong to, hexadecimal.
    pub base_model: String,
    /// The targets that were adapted: `mlp`, `attn`, or both separated by a comma.
    pub targets: String,
    /// How `z` enters the weight; `scale` is `W' = U diag(z ∘ s) Vᵀ`.
    pub parametrization: String,
    /// The training run in a line: task, steps, seed.
    pub training: String,
}

/// The scales of the singular values of every adapted weight, by parameter path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expert {
    /// `[k]` for each adapted weight, e.g. `blocks.0.mlp.up.weight`.
    z: BTreeMap<String, Vec<f32>>,
    /// What the file says about itself.
    pub info: ExpertInfo,
}

/// Why an expert could not be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertError {
    /// The file cannot be read.
    #[error("cannot read the expert {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not an expert.
    #[error("{path} is not an expert file: {reason}; `t2 train` writes experts")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The expert was trained on another model.
    #[error(
        "expert `{name}` was trained on the base model {expected}, this model is {found}; \
         use that model or train the expert again"
    )]
    OtherBase {
        /// The expert.
        name: String,
        /// Base model of the expert.
        expected: String,
        /// The model at hand.
        found: String,
    },
    /// The expert scales a weight that is not decomposed.
    #[error(
        "expert `{name}` scales `{target}`, which this model has not decomposed; \
         decompose it with the expert's targets (`{targets}`)"
    )]
    UnknownTarget {
        /// The expert.
        name: String,
        /// Parameter path.
        target: String,
        /// The expert's targets.
        targets: String,
    },
    /// The expert has more or fewer scales for a weight than the weight has singular values.
    #[error(
        "expert `{name}` has {found} scales for `{target}`, which has {expected} singular values; \
         use the model it was trained on"
    )]
    OtherRank {
        /// The expert.
        name: String,
        /// Parameter path.
        target: String,
        /// Scales of the expert.
        found: usize,
        /// Singular values of the weight.
        expected: usize,
    },
}

impl Expert {
    /// An expert with the scales `z`, by parameter path.
    pub fn new(z: BTreeMap<String, Vec<f32>>, info: ExpertInfo) -> Self {
        Self { z, info }
    }

    /// Read the scales out of an adapted model.
    pub fn from_model<M: Module>(model: &M, info: ExpertInfo) -> Self {
        let mut read = ReadScales { path: paths::Path::default(), z: BTreeMap::new() };
        model.visit(&mut read);
        Self { z: read.z, info }
    }

    /// Write the scales into an adapted model. Weights the expert does not name get `z = 1`.
    ///
    /// # Errors
    ///
    /// [`ExpertError::UnknownTarget`] when the expert scales a weight the model has not decomposed, and
    /// [`ExpertError::OtherRank`] when it has another number of singular values.
    pub fn apply_to<M: Module>(&self, model: M) -> Result<M, ExpertError> {
        let own = Self::from_model(&model, ExpertInfo::default());
        self.check_targets(|path| own.z(path).map(<[f32]>::len))?;
        Ok(model.map(&mut WriteScales { path: paths::Path::default(), z: &self.z }))
    }

    /// `1 + Σ_e α_e (z_e - 1)` over the union of the experts' weights; experts of one base model.
    pub fn mix(experts: &[(&Self, f32)], info: ExpertInfo) -> Self {
        let mut z: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (expert, alpha) in experts {
            for (path, scales) in &expert.z {
                let mixed = z.entry(path.clone()).or_insert_with(|| vec![1.0; scales.len()]);
                mixed.iter_mut().zip(scales).for_each(|(mixed, z)| *mixed += alpha * (z - 1.0));
            }
        }
        Self { z, info }
    }

    /// The scales of one weight, `[k]`.
    pub fn z(&self, path: &str) -> Option<&[f32]> {
        self.z.get(path).map(Vec::as_slice)
    }

    /// Every adapted weight and its scales, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.z.iter().map(|(path, z)| (path.as_str(), z.as_slice()))
    }

    /// Number of scales.
    pub fn num_params(&self) -> usize {
        self.z.values().map(Vec::len).sum()
    }

    /// Hash of the scales, their paths and the base model: equal exactly when two experts act the same.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.info.base_model.as_bytes());
        for (path, z) in &self.z {
            hasher.update(path.as_bytes()).update(&[0]).update(&(z.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(z));
        }
        hasher.finalize().into()
    }

    /// Refuse a base model other than the one the expert was trained on.
    ///
    /// # Errors
    ///
    /// [`ExpertError::OtherBase`].
    pub fn check_base(&self, base: &Hash) -> Result<(), ExpertError> {
        let found = base.to_string();
        if self.info.base_model == found {
            return Ok(());
        }
        let expected = self.info.base_model.clone();
        Err(ExpertError::OtherBase { name: self.info.name.clone(), expected, found })
    }

    /// Refuse a model where `rank`, the number of singular values of a decomposed weight, does not fit the scales.
    pub(crate) fn check_targets(&self, rank: impl Fn(&str) -> Option<usize>) -> Result<(), ExpertError> {
        for (target, z) in &self.z {
            let (name, target, found) = (self.info.name.clone(), target.clone(), z.len());
            match rank(&target) {
                None => {
                    return Err(ExpertError::UnknownTarget { name, target, targets: self.info.targets.clone() });
                }
                Some(expected) if expected != found => {
                    return Err(ExpertError::OtherRank { name, target, found, expected });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Write the expert to `path`, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ExpertError::Write`] when the disk refuses.
    pub fn save(&self, path: &Path) -> Result<(), ExpertError> {
        let malformed = |reason: String| ExpertError::Malformed { path: path.to_owned(), reason };
        let info = serde_json::to_string(&self.info).map_err(|e| malformed(e.to_string()))?;
        let views = self.z.iter().map(|(name, z)| {
            TensorView::new(Dtype::F32, vec![z.len()], bytemuck::cast_slice(z)).map(|view| (name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| malformed(e.to_string()))?;
        let metadata = HashMap::from([(METADATA.to_owned(), info)]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| malformed(e.to_string()))?;
        Ok(files::write_atomically(path, &bytes)?)
    }

    /// Read an expert file.
    ///
    /// # Errors
    ///
    /// [`ExpertError::Read`] when the file cannot be read, [`ExpertError::Malformed`] when it is no expert.
    pub fn load(path: &Path) -> Result<Self, ExpertError> {
        let bytes = std::fs::read(path).map_err(|source| ExpertError::Read { path: path.to_owned(), source })?;
        Self::parse(&bytes).map_err(|reason| ExpertError::Malformed { path: path.to_owned(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let info = header.metadata().as_ref().and_then(|m| m.get(METADATA));
        let info = info.ok_or_else(|| format!("its header has no `{METADATA}` entry"))?;
        let info = serde_json::from_str(info).map_err(|e| format!("its `{METADATA}` entry: {e}"))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let read = |(name, view): (String, TensorView<'_>)| match (view.dtype(), view.shape()) {
            (Dtype::F32, [_]) => Ok((name, bytemuck::pod_collect_to_vec(view.data()))),
            (dtype, shape) => Err(format!("`{name}` is {dtype:?} {shape:?}, a scale is F32 [k]")),
        };
        Ok(Self { z: tensors.tensors().into_iter().map(read).collect::<Result<_, _>>()?, info })
    }
}

struct ReadScales {
    path: paths::Path,
    z: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for ReadScales {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(weight) = self.path.to_string().strip_suffix(Z_SUFFIX) {
            let z = param.base().into_data().convert::<f32>();
            self.z.insert(weight.to_owned(), z.iter::<f32>().collect());
        }
    }
}

struct WriteScales<'a> {
    path: paths::Path,
    z: &'a BTreeMap<String, Vec<f32>>,
}

impl ModuleMapper for WriteScales<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.to_string();
        let Some(weight) = path.strip_suffix(Z_SUFFIX) else { return param };
        let shape = param.lazy_shape();
        let z = self.z.get(weight).cloned().unwrap_or_else(|| vec![1.0; shape.num_elements()]);
        let tracked = param.base().is_require_grad();
        let device = param.lazy_device();
        param.map(|_| Tensor::from_data(TensorData::new(z, shape), &device).set_require_grad(tracked))
    }
}
