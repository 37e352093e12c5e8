//! Experts: the scales `z` of every adapted weight, with where they came from, in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::mixture::{MixtureError, adapted_params};
use super::statistics::layer_of;
use crate::decoder::CausalLm;
use crate::decoder::config::MAX_LAYERS;
use crate::decomposition::Targets;
use crate::files::{self, WriteError};
use crate::hash::Hash;
use crate::paths;

/// Name of the one metadata entry of an expert file: an [`ExpertInfo`] as JSON.
const METADATA: &str = "t2_expert";
/// What the path of a weight's scales ends in, after the path of the weight, in an adapted model.
pub(crate) const Z_SUFFIX: &str = ".svf.z";

/// What an expert file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertInfo {
    /// What the expert is good at, as strategies and people name it: `math`.
    pub name: String,
    /// Hash of the base model the scales belong to.
    pub base_model: Hash,
    /// The weights that were adapted.
    pub targets: Targets,
    /// How the numbers enter the weight.
    pub parametrization: Parametrization,
    /// The training run in a line: task, steps, seed.
    pub training: String,
}

impl ExpertInfo {
    /// An expert called `name` for `model`, which carries adapters: base model and targets are those of the model.
    pub fn for_model(name: impl Into<String>, model: &impl CausalLm) -> Self {
        let targets = adapted_params(model).keys().map(|path| Targets::of(path)).fold(Targets::NONE, |a, b| a | b);
        Self {
            name: name.into(),
            base_model: model.base_hash(),
            targets,
            parametrization: Parametrization::Scale,
            training: String::new(),
        }
    }
}

/// How the numbers of an expert enter the weight they belong to. Reading a file checks that it is one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Parametrization {
    /// `W' = U diag(z ∘ s) Vᵀ`: one scale `z` for each singular value.
    #[default]
    Scale,
}

impl fmt::Display for Parametrization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scale => "scale",
        })
    }
}

/// The scales of the singular values of every adapted weight, by parameter path.
#[derive(Clone, Debug, PartialEq)]
pub struct Expert {
    /// `[k]` for each adapted weight, e.g. `blocks.0.mlp.up.weight`; finite numbers.
    z: BTreeMap<String, Vec<f32>>,
    /// What the file says about itself.
    pub info: ExpertInfo,
}

/// Why an expert could not be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertError {
    /// The file cannot be read.
    #[error("cannot read the expert {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not an expert.
    #[error("{path} is not an expert file: {reason}; give a file that `Expert::save` wrote")]
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
        expected: Hash,
        /// The model at hand.
        found: Hash,
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
        targets: Targets,
    },
    /// A scale is not a finite number.
    #[error("expert `{name}` has the scale {value} at {index} of `{target}`; expected finite numbers")]
    NotFinite {
        /// The expert.
        name: String,
        /// Parameter path.
        target: String,
        /// Position among the scales of that weight.
        index: usize,
        /// The number.
        value: f32,
    },
    /// The model carries no adapters whose scales could be read.
    #[error("the model carries no adapters; attach a decomposition before making an expert `{name}` of it")]
    NoAdapter {
        /// The expert.
        name: String,
    },
    /// A mixture by block does not fit the experts.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// There is nothing to mix.
    #[error("there is no expert to mix; give at least one")]
    NothingToMix,
    /// The weight of an expert in a mixture is not a finite number.
    #[error("expert `{name}` has the weight {weight}; expected a finite number")]
    BadWeight {
        /// The expert.
        name: String,
        /// How much of it the mixture was to take.
        weight: f32,
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
    ///
    /// # Errors
    ///
    /// [`ExpertError::NotFinite`] for a scale that is no finite number.
    pub fn new(z: BTreeMap<String, Vec<f32>>, info: ExpertInfo) -> Result<Self, ExpertError> {
        match not_finite(&z) {
            Some((target, index, value)) => {
                Err(ExpertError::NotFinite { name: info.name, target: target.to_owned(), index, value })
            }
            None => Ok(Self { z, info }),
        }
    }

    /// Read the scales out of an adapted model.
    ///
    /// # Errors
    ///
    /// [`ExpertError::NoAdapter`] for a model without factors, [`ExpertError::NotFinite`] for one whose scales are no
    /// numbers any more.
    pub fn from_model<M: Module>(model: &M, info: ExpertInfo) -> Result<Self, ExpertError> {
        let mut read = ReadScales { path: paths::Path::default(), z: BTreeMap::new() };
        model.visit(&mut read);
        if read.z.is_empty() {
            return Err(ExpertError::NoAdapter { name: info.name });
        }
        Self::new(read.z, info)
    }

    /// Write the scales into an adapted model. Weights the expert does not name get `z = 1`.
    ///
    /// # Errors
    ///
    /// [`ExpertError::OtherBase`] for another base model than that of the expert, [`ExpertError::UnknownTarget`] when
    /// the expert scales a weight the model has not decomposed, and [`ExpertError::OtherRank`] when it has another
    /// number of singular values.
    pub fn apply_to<M: CausalLm>(&self, model: M) -> Result<M, ExpertError> {
        self.check_base(&model.base_hash())?;
        let adapted = adapted_params(&model);
        self.check_targets(|path| adapted.get(path).map(|param| param.k))?;
        Ok(with_scales(model, &self.z))
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
        hasher.update(self.info.base_model.to_string().as_bytes());
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
        let (expected, found) = (self.info.base_model, *base);
        if expected == found {
            return Ok(());
        }
        Err(ExpertError::OtherBase { name: self.info.name.clone(), expected, found })
    }

    /// Refuse a model where `rank`, the number of singular values of a decomposed weight, does not fit the scales.
    pub(crate) fn check_targets(&self, rank: impl Fn(&str) -> Option<usize>) -> Result<(), ExpertError> {
        for (target, z) in &self.z {
            let (name, target, found) = (self.info.name.clone(), target.clone(), z.len());
            match rank(&target) {
                None => {
                    return Err(ExpertError::UnknownTarget { name, target, targets: self.info.targets });
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
            _ if layer_of(&name).is_some_and(|layer| layer >= MAX_LAYERS) => {
                Err(format!("`{name}` is of a block that no model has"))
            }
            (Dtype::F32, [_]) => Ok((name, bytemuck::pod_collect_to_vec(view.data()))),
            (dtype, shape) => Err(format!("`{name}` is {dtype:?} {shape:?}, a scale is F32 [k]")),
        };
        let z = tensors.tensors().into_iter().map(read).collect::<Result<_, String>>()?;
        match not_finite(&z) {
            Some((path, index, value)) => Err(format!("`{path}` is {value} at {index}, a scale is a finite number")),
            None => Ok(Self { z, info }),
        }
    }
}

/// The first scale that is no finite number: the path of its weight, its position among the scales there, its value.
fn not_finite(z: &BTreeMap<String, Vec<f32>>) -> Option<(&str, usize, f32)> {
    z.iter().find_map(|(path, z)| {
        let index = z.iter().position(|z| !z.is_finite())?;
        Some((path.as_str(), index, z[index]))
    })
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

/// Gives every adapted weight the scales that `z` has for its path, and ones where it has none.
struct WriteScales<'a> {
    path: paths::Path,
    z: &'a BTreeMap<String, Vec<f32>>,
}

/// `model` with the scales `z` of each path, and ones elsewhere.
pub(super) fn with_scales<M: Module>(model: M, z: &BTreeMap<String, Vec<f32>>) -> M {
    model.map(&mut WriteScales { path: paths::Path::default(), z })
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
