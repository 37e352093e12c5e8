//! The SVD of every adapted weight of a model, computed once and kept on disk.
//!
//! Matrices of one shape are decomposed together. Each one's factors go to a file of their own, named by the hash of
//! the weight and written whole or not at all: an interrupted run goes on where it stopped, and two models that share
//! a weight share its file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;

use burn::module::{Module, ModuleVisitor, Param, ParamId, Reparameterizer};
use burn::prelude::*;
use t2_linalg::quality::Quality;
use t2_linalg::{Svd, SvdError, SvdSolver};

use crate::config::DecoderConfig;
use crate::expert::Hash;
use crate::files::WriteError;
use crate::paths;
use crate::svf::Svf;
use store::{Key, Stored};

mod store;

/// Most matrices that are decomposed in one batch; bounds memory and the work an interruption loses.
const MAX_BATCH: usize = 8;

/// Which weights of the decoder are adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The feed-forward matrices: gate, up and down.
    pub mlp: bool,
    /// The attention matrices: queries, keys, values and output.
    pub attn: bool,
}

impl Targets {
    /// Every matrix of every block.
    pub const ALL: Self = Self { mlp: true, attn: true };

    /// Whether the parameter at `path` is adapted.
    pub fn matches(&self, path: &str) -> bool {
        let inside = |module: &str| path.contains(module) && path.ends_with(".weight");
        self.mlp && inside(".mlp.") || self.attn && inside(".attn.")
    }

    /// Number of trainable scales: the ranks of the adapted matrices, added up.
    pub fn num_scales(&self, config: &DecoderConfig) -> usize {
        let adapted = config.parameters().filter(|(path, _)| self.matches(path));
        adapted.filter_map(|(_, shape)| shape.into_iter().min()).sum()
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.mlp, self.attn) {
            (true, true) => "mlp,attn",
            (true, false) => "mlp",
            (false, true) => "attn",
            (false, false) => "",
        })
    }
}

/// A target that no decoder has.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no target; use mlp, attn, or both separated by a comma")]
pub struct UnknownTarget(String);

impl FromStr for Targets {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let mut targets = Self { mlp: false, attn: false };
        for name in text.split(',').map(str::trim) {
            match name {
                "mlp" => targets.mlp = true,
                "attn" => targets.attn = true,
                other => return Err(UnknownTarget(other.to_owned())),
            }
        }
        Ok(targets)
    }
}

/// How far a decomposition is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Matrices decomposed or found on disk.
    pub done: usize,
    /// Matrices in all.
    pub total: usize,
}

/// How well the factors stand for the weights, and where they came from.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Report {
    /// Matrices in all.
    pub matrices: usize,
    /// Those found on disk.
    pub cached: usize,
    /// Files that were damaged or of another version, and were made again.
    pub repaired: usize,
    /// Largest `‖W − U diag(s) Vᵀ‖ / ‖W‖` (Frobenius).
    pub max_residual: f64,
    /// Largest of `‖UᵀU − I‖ / (m ε)` and `‖VᵀV − I‖ / (n ε)` (1-norm, ε of f32).
    pub max_orthogonality: f64,
}

/// Why a model could not be decomposed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecomposeError {
    /// The solver failed.
    #[error("cannot decompose `{path}`: {source}")]
    Svd {
        /// The weight, or the first of its batch when the solver names none.
        path: String,
        /// What the solver said.
        source: SvdError,
    },
    /// The factors could not be kept.
    #[error(transparent)]
    Write(#[from] WriteError),
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

/// The reduced SVD of every adapted weight, by parameter path.
///
/// Attach it with `model.apply_reparameterization(&decomposition)`: every parameter is frozen, and an [`Svf`] with
/// `z = 1` hangs beside each adapted weight.
#[derive(Clone, Debug)]
pub struct Decomposition {
    factors: BTreeMap<String, Factors>,
    /// Quality and origin of the factors.
    pub report: Report,
}

/// Factors of one weight, with how well they stand for it.
#[derive(Clone, Debug)]
struct Factors {
    /// `[d_in, k]`.
    u: Tensor<2>,
    /// `[k]`.
    s: Tensor<1>,
    /// `[k, d_out]`.
    vt: Tensor<2>,
    residual: f64,
    orthogonality: f64,
}

impl Decomposition {
    /// Decompose the weights of `targets`, keeping the factors under `cache`.
    ///
    /// `progress` is called after each batch and may break off.
    ///
    /// # Errors
    ///
    /// [`DecomposeError`] when a weight is not finite, the disk refuses, or the caller breaks off.
    pub fn of<M: Module>(
        model: &M,
        targets: Targets,
        solver: &dyn SvdSolver,
        cache: Option<&Path>,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DecomposeError> {
        let weights = weights_by_shape(model, targets);
        let total = weights.values().map(Vec::len).sum();
        if total == 0 {
            return Err(DecomposeError::NoTargets { targets });
        }
        let mut all = Self { factors: BTreeMap::new(), report: Report { matrices: total, ..Report::default() } };
        for chunk in weights.values().flat_map(|weights| weights.chunks(MAX_BATCH)) {
            all.add(chunk, solver, cache)?;
            let done = all.factors.len();
            if progress(Progress { done, total }).is_break() && done < total {
                return Err(DecomposeError::Interrupted { done, total });
            }
        }
        Ok(all)
    }

    /// Read or compute the factors of `chunk`, weights of one shape.
    fn add(
        &mut self,
        chunk: &[(String, Tensor<2>)],
        solver: &dyn SvdSolver,
        cache: Option<&Path>,
    ) -> Result<(), DecomposeError> {
        let mut missing = Vec::new();
        for (path, weight) in chunk {
            let key = Key::of(weight);
            match cache.map_or(Stored::Missing, |dir| store::read(dir, &key, &weight.device())) {
                Stored::Found(factors) => {
                    self.report.cached += 1;
                    self.insert(path, *factors);
                }
                Stored::Damaged => {
                    self.report.repaired += 1;
                    missing.push((path, weight, key));
                }
                Stored::Missing => missing.push((path, weight, key)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let failed = |source: SvdError| {
            let path = missing[source.index().unwrap_or(0)].0.clone();
            DecomposeError::Svd { path, source }
        };
        let a = Tensor::stack::<3>(missing.iter().map(|(_, weight, _)| (*weight).clone()).collect(), 0);
        let svd = solver.svd(a.clone()).map_err(failed)?;
        let quality = Quality::of(&a, &svd).map_err(failed)?;
        for (index, ((path, _, key), quality)) in missing.into_iter().zip(quality).enumerate() {
            let factors = Factors::new(&svd, index, &quality);
            if let Some(dir) = cache {
                store::write(dir, &key, &factors)?;
            }
            self.insert(path, factors);
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, factors: Factors) {
        self.report.max_residual = self.report.max_residual.max(factors.residual);
        self.report.max_orthogonality = self.report.max_orthogonality.max(factors.orthogonality);
        self.factors.insert(path.to_owned(), factors);
    }

    /// Paths of the decomposed weights, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.factors.keys().map(String::as_str)
    }
}

impl Factors {
    fn new(svd: &Svd, index: usize, quality: &Quality) -> Self {
        let pick = |factor: &Tensor<3>| factor.clone().slice_dim(0, index..index + 1).squeeze_dim(0);
        Self {
            u: pick(&svd.u),
            s: svd.s.clone().slice_dim(0, index..index + 1).squeeze_dim(0),
            vt: pick(&svd.vt),
            residual: quality.relative_error,
            orthogonality: quality.u_orthogonality.max(quality.vt_orthogonality),
        }
    }
}

impl Reparameterizer for &Decomposition {
    type Reparam = Svf;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Svf>) {
        let param = param.set_require_grad(false);
        let svf = self.factors.get(path).cloned().map(|Factors { u, s, vt, .. }| {
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

/// The adapted weights as f32, with their paths, grouped by `[d_in, d_out]`.
fn weights_by_shape<M: Module>(model: &M, targets: Targets) -> BTreeMap<[usize; 2], Vec<(String, Tensor<2>)>> {
    struct Collect {
        path: paths::Path,
        targets: Targets,
        found: BTreeMap<[usize; 2], Vec<(String, Tensor<2>)>>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.to_string();
            if D == 2 && self.targets.matches(&path) {
                let dims = param.lazy_shape().dims::<2>();
                let weight = param.base().without_autodiff().cast(burn::tensor::DType::F32).reshape(dims);
                self.found.entry(dims).or_default().push((path, weight));
            }
        }
    }
    let mut collect = Collect { path: paths::Path::default(), targets, found: BTreeMap::new() };
    model.visit(&mut collect);
    collect.found
}
