//! The SVD of every adapted weight of a model, computed once and kept on disk.
//!
//! Weights flow through: one batch of a shape is read while the one before it is decomposed and the factors before that
//! are written. Each weight's factors go to a file of their own, named by the hash of the weight and written whole or
//! not at all: an interrupted run goes on where it stopped, and two models that share a weight share its file.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::module::{Param, ParamId, Reparameterizer};
use burn::prelude::*;
use burn::tensor::TensorReadError;
use t2_linalg::{Attempt, AutoSvd, Demand, SvdError, SvdSolver};

use crate::adapter::Svf;
use crate::decoder::CausalLm;
use crate::files::WriteError;
use crate::hash::Hash;

pub(crate) use lookup::{StoredFactors, find as find_factors};
use stream::Stream;
pub use targets::{Targets, UnknownTarget};
pub use weights::Weights;

mod lookup;
mod manifest;
mod plan;
mod store;
mod stream;
mod targets;
mod weights;

/// How weights are decomposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecomposeConfig {
    /// Most memory the work may take, in bytes: that of the device and, where it is another, the host's, added up. The
    /// weights that wait on disk and the factors that the caller keeps are not in it. `None` takes what keeps the
    /// device busy.
    pub memory: Option<usize>,
    /// Type of the singular vectors on disk.
    pub factors: FactorType,
}

/// Type of singular vectors on disk; singular values are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FactorType {
    /// The type of the weight in memory: the one that a model computes with.
    #[default]
    Base,
    /// f32: takes twice the space for a half-precision weight, and serves the same weight loaded as f32 too.
    F32,
}

/// How far a decomposition is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Matrices decomposed or found on disk.
    pub done: usize,
    /// Matrices in all.
    pub total: usize,
    /// Time left, by the operations done so far; `None` before the first batch is decomposed.
    pub remaining: Option<Duration>,
}

/// How well the factors reproduce the weights, and where they came from.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Report {
    /// Matrices in all.
    pub matrices: usize,
    /// Matrices whose factors were found on disk.
    pub cached: usize,
    /// Files that were damaged or of another version, and were made again.
    pub repaired: usize,
    /// Largest `‖W − U diag(s) Vᵀ‖ / ‖W‖` (Frobenius).
    pub max_residual: f32,
    /// Largest of `‖UᵀU − I‖ / √k` and `‖VᵀV − I‖ / √k` (Frobenius).
    pub max_orthogonality: f32,
    /// Memory that the largest batch takes at most, as [`DecomposeConfig::memory`] counts it, in bytes.
    pub memory: usize,
}

impl Report {
    fn add(&mut self, record: &Record) {
        self.max_residual = self.max_residual.max(record.residual);
        self.max_orthogonality = self.max_orthogonality.max(record.orthogonality);
    }
}

/// What is known of the factors of one weight: how well they reproduce it, in f32, before they are rounded to their type
/// on disk, and who computed them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Record {
    residual: f32,
    orthogonality: f32,
    /// The solver; files of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    solver: Option<String>,
}

/// Why a model could not be decomposed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecomposeError {
    /// The solver failed.
    #[error("cannot decompose `{path}`")]
    Svd {
        /// The weight, or the first of its batch when the solver names none.
        path: String,
        /// What the solver said.
        source: SvdError,
    },
    /// A weight did not leave the device it is on.
    #[error("cannot read `{path}` from its device")]
    Read {
        /// The weight.
        path: String,
        /// What the device said.
        source: TensorReadError,
    },
    /// The factors could not be kept.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A single weight needs more memory than the whole work may take.
    #[error(
        "decomposing `{path}`, {d_in} x {d_out}, takes {needed} MiB of memory and {memory} are allowed; allow more"
    )]
    Memory {
        /// The weight.
        path: String,
        /// Rows of the weight.
        d_in: usize,
        /// Columns of the weight.
        d_out: usize,
        /// What decomposing it takes, in MiB.
        needed: usize,
        /// What is allowed, in MiB.
        memory: usize,
    },
    /// Factors were to be read from the disk alone, and some are not there.
    #[error("{} does not hold the factors of all {total} weights; decompose the model into it first", cache.display())]
    NotCached {
        /// The folder.
        cache: PathBuf,
        /// Weights in all.
        total: usize,
    },
    /// The caller broke off; what is done is on disk.
    #[error("interrupted after {done} of {total} matrices; run it again to go on from there")]
    Interrupted {
        /// Matrices done.
        done: usize,
        /// Matrices in all.
        total: usize,
    },
    /// Nothing to decompose.
    #[error("the model has no weights of the targets `{targets}`")]
    NoTargets {
        /// What was asked for.
        targets: Targets,
    },
}

/// Decompose `weights` into files under `cache`, holding no more of them in memory than `config` allows.
///
/// `progress` is called whenever weights are done and may break off.
///
/// # Errors
///
/// [`DecomposeError`] when a weight is not finite or larger than the memory allowed, the disk refuses, or the caller
/// breaks off. What was done before is on disk.
pub fn decompose(
    weights: Weights<'_>,
    config: DecomposeConfig,
    solver: &dyn SvdSolver,
    cache: &Path,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report, DecomposeError> {
    Stream { config, solver, cache: Some(cache), keep: None, progress: &mut progress }.run(weights)
}

/// How a model in memory is decomposed. Every field has a default.
#[derive(Clone, Copy, Default)]
pub struct DecomposeOptions<'a> {
    /// How weights are decomposed.
    pub config: DecomposeConfig,
    /// The solver; [`AutoSvd`] when `None`.
    pub solver: Option<&'a dyn SvdSolver>,
    /// A folder to keep factors in, and to find them again.
    pub cache: Option<&'a Path>,
}

/// The reduced SVD of every adapted weight, by parameter path.
///
/// [`CausalLm::adapted`] and [`CausalLm::trainable`] attach it: every parameter is frozen, and an [`Svf`] with `z = 1`
/// hangs beside each adapted weight.
#[derive(Clone, Debug)]
pub struct Decomposition {
    factors: BTreeMap<String, Factors>,
    /// Hash of the model that was decomposed.
    base: Hash,
    /// Quality and origin of the factors.
    pub report: Report,
}

/// The factors belong to another model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the factors are those of the model {factors}, this model is {model}; decompose this one")]
pub struct OtherModel {
    /// Hash of the model that was decomposed.
    pub factors: Hash,
    /// Hash of the model at hand.
    pub model: Hash,
}

/// Factors of one weight, on its device.
#[derive(Clone, Debug)]
struct Factors {
    /// `[d_in, k]`.
    u: Tensor<2>,
    /// `[k]`.
    s: Tensor<1>,
    /// `[k, d_out]`.
    vt: Tensor<2>,
}

impl Decomposition {
    /// Decompose the weights of `targets` of a model in memory, with [`AutoSvd`] on the device they are on.
    ///
    /// # Errors
    ///
    /// As [`decompose`].
    pub fn of<M: CausalLm>(model: &M, targets: Targets) -> Result<Self, DecomposeError> {
        Self::with(model, targets, DecomposeOptions::default(), |_| ControlFlow::Continue(()))
    }

    /// Decompose the weights of `targets` of a model in memory as `options` say, keeping the factors in memory too.
    ///
    /// `progress` is called whenever weights are done and may break off.
    ///
    /// # Errors
    ///
    /// As [`decompose`].
    pub fn with<M: CausalLm>(
        model: &M,
        targets: Targets,
        options: DecomposeOptions<'_>,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DecomposeError> {
        let weights = Weights::of_model(model, targets);
        let mut factors = BTreeMap::new();
        let auto = AutoSvd::default();
        let DecomposeOptions { config, solver, cache } = options;
        let solver = solver.unwrap_or(&auto);
        let stream = Stream { config, solver, cache, keep: Some(&mut factors), progress: &mut progress };
        let report = stream.run(weights)?;
        Ok(Self { factors, base: model.base_hash(), report })
    }

    /// Read the factors of the weights of `targets` of a model in memory from the folder `cache`, decomposing nothing.
    ///
    /// # Errors
    ///
    /// [`DecomposeError::NotCached`] when some are not there.
    pub fn load<M: CausalLm>(model: &M, targets: Targets, cache: &Path) -> Result<Self, DecomposeError> {
        let total = Weights::of_model(model, targets).len();
        let options = DecomposeOptions { solver: Some(&NoSolver), cache: Some(cache), ..DecomposeOptions::default() };
        match Self::with(model, targets, options, |_| ControlFlow::Continue(())) {
            Err(DecomposeError::Svd { .. }) => Err(DecomposeError::NotCached { cache: cache.to_owned(), total }),
            loaded => loaded,
        }
    }

    /// Paths of the decomposed weights, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.factors.keys().map(String::as_str)
    }

    /// Hang the factors beside the weights of `model`.
    pub(crate) fn attach<M: CausalLm>(&self, model: M) -> Result<M, OtherModel> {
        let found = model.base_hash();
        if found != self.base {
            return Err(OtherModel { factors: self.base, model: found });
        }
        Ok(model.apply_reparameterization(Attach(self)))
    }
}

/// A solver that refuses to work: where every factor is expected to be on disk, none should be asked.
struct NoSolver;

impl SvdSolver for NoSolver {
    fn svd_each(&self, _: Tensor<3>) -> Result<Attempt, SvdError> {
        Err(SvdError::Other("the factors of this weight are not on disk".into()))
    }

    fn demand(&self, _: [usize; 2], _: &Device) -> Demand {
        Demand { bytes_per_matrix: 0, batch: 1 }
    }
}

/// Hangs factors beside weights.
struct Attach<'a>(&'a Decomposition);

impl Reparameterizer for Attach<'_> {
    type Reparam = Svf;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Svf>) {
        let param = param.set_require_grad(false);
        let svf = self.0.factors.get(path).cloned().map(|Factors { u, s, vt }| {
            let device = param.lazy_device();
            let dtype = param.base().dtype();
            let [k] = s.dims();
            let z = Tensor::ones([k], &device);
            let z = if device.is_autodiff() { z.require_grad() } else { z };
            let frozen =
                |factor: Tensor<2>| Param::from_tensor(factor.cast(dtype).to_device(&device)).set_require_grad(false);
            Svf {
                z: Param::initialized(id_of(path), z),
                s: Param::from_tensor(s.to_device(&device)).set_require_grad(false),
                u: frozen(u),
                vt: frozen(vt),
            }
        });
        (param, svf)
    }
}

/// The identity of the scales of the weight at `path`: the same in every run, so that an optimizer's state on disk
/// finds its parameters again.
fn id_of(path: &str) -> ParamId {
    let hash = Hash::from(blake3::hash(path.as_bytes())).0;
    let [a, b, c, d, e, f, g, h, ..] = hash;
    ParamId::from(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}
