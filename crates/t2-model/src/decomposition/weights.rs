//! Weights that wait to be decomposed, each read when its turn comes.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{DType, TensorReadError};

use super::Targets;
use crate::paths;

/// Reads the values of a weight as f32, row-major `[d_in, d_out]`.
type Read<'a> = Box<dyn FnOnce() -> Result<Vec<f32>, TensorReadError> + Send + 'a>;

/// The weights of a model that are to be decomposed, and the device to do it on.
///
/// [`Files::weights`](crate::checkpoint::Files::weights) lists those of a checkpoint on disk, [`Weights::of_model`]
/// those of a model in memory.
pub struct Weights<'a> {
    pub(super) targets: Targets,
    /// Where to decompose. For a model in memory it is the device of its weights, `None` until one is added.
    pub(super) device: Option<Device>,
    /// Type of the weights in memory.
    pub(super) dtype: DType,
    pub(super) list: Vec<Weight<'a>>,
}

/// One weight that has not been read.
pub(super) struct Weight<'a> {
    pub(super) path: String,
    /// `[d_in, d_out]`.
    pub(super) dims: [usize; 2],
    pub(super) read: Read<'a>,
}

impl Weights<'static> {
    /// The weights of `targets` of a model in memory, to be decomposed on the device they are on.
    pub fn of_model<M: Module>(model: &M, targets: Targets) -> Self {
        let mut collect = Collect { path: paths::Path::default(), weights: Weights::none(targets, DType::F32, None) };
        model.visit(&mut collect);
        collect.weights
    }
}

impl<'a> Weights<'a> {
    /// No weights yet, of a model whose weights are `dtype` in memory.
    pub(crate) fn none(targets: Targets, dtype: DType, device: Option<&Device>) -> Self {
        let device = device.map(|device| device.clone().without_autodiff());
        Self { targets, device, dtype, list: Vec::new() }
    }

    /// Add the weight at `path`, `[d_in, d_out]`, if it is a target.
    pub(crate) fn add(
        &mut self,
        path: String,
        shape: &[usize],
        read: impl FnOnce() -> Result<Vec<f32>, TensorReadError> + Send + 'a,
    ) {
        if let &[d_in, d_out] = shape
            && self.targets.matches(&path)
        {
            self.list.push(Weight { path, dims: [d_in, d_out], read: Box::new(read) });
        }
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when there are no weights.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Debug for Weights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&str> = self.list.iter().map(|weight| weight.path.as_str()).collect();
        f.debug_struct("Weights").field("device", &self.device).field("paths", &paths).finish_non_exhaustive()
    }
}

struct Collect {
    path: paths::Path,
    weights: Weights<'static>,
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
        if D == 2 && self.weights.targets.matches(&path) {
            let weight = param.base().without_autodiff();
            self.weights.device = Some(weight.device());
            self.weights.dtype = weight.dtype();
            self.weights.add(path, &param.lazy_shape(), move || weight.try_into_vec_as());
        }
    }
}
