//! Filling a decoder with the weights of a checkpoint, one tensor after the other.
//!
//! A weight is read from the mapped file, turned, and handed to the device before the next one is looked at: beside the
//! model, memory holds the one tensor that is on its way.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;

use super::{Checkpoint, Files, LoadError, Stored, fingerprint};
use crate::decoder::config::EMBED;
use crate::paths;

/// Bytes that may be on their way to a device before it is waited for.
const IN_FLIGHT: usize = 256 << 20;

/// How a checkpoint is loaded. Every field has a default.
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// Type of the weights in memory; f32 when `None`.
    pub dtype: Option<DType>,
    /// Type that the weights are rounded to before they take that of memory; not at all when `None`. So a device without
    /// products in bf16 computes with bf16 weights all the same.
    pub rounded: Option<DType>,
    /// A folder that remembers the hashes of checkpoints; without one the weights are read twice, once for the hash.
    pub hashes: Option<&'a Path>,
    /// Called after each tensor; may break off.
    pub progress: Option<&'a mut dyn FnMut(Loading) -> ControlFlow<()>>,
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    /// Bytes of the checkpoint that are read.
    pub done: usize,
    /// Bytes of the checkpoint in all.
    pub total: usize,
}

impl Files {
    /// Read the weights onto `device`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, not finite, or not foreseen by the config, and
    /// [`LoadError::Interrupted`] when the caller breaks off.
    ///
    /// # Panics
    ///
    /// When the list of parameters disagrees with the decoder, which a test rules out.
    pub fn load(&self, device: &Device, options: LoadOptions<'_>) -> Result<Checkpoint, LoadError> {
        let LoadOptions { dtype, rounded, hashes, progress } = options;
        let dtype = dtype.unwrap_or(DType::F32);
        let generation = self.format.generation()?;
        let stored = self.stored()?;
        let stored_dtype = stored.get(EMBED).map_or(dtype, |embed| embed.tensor.ty.dtype());
        let hash = fingerprint::of(self, &stored, hashes)?;
        let total = stored.values().map(Stored::bytes).sum();
        let loading = Loading { done: 0, total };
        let mut nobody = |_| ControlFlow::Continue(());
        let progress = progress.unwrap_or(&mut nobody);
        let path = paths::Path::default();
        let dtypes = [rounded.unwrap_or(dtype), dtype];
        let mut fill = Fill { path, stored: &stored, dtypes, loading, in_flight: 0, filled: 0, failed: None, progress };
        let model = self.config.init(device).map(&mut fill);
        if let Some(error) = fill.failed {
            return Err(error);
        }
        assert_eq!(fill.filled, stored.len(), "parameters of the decoder and of DecoderConfig::parameters");
        let model = model.with_base_hash(hash);
        Ok(Checkpoint { model, architecture: self.architecture, hash, dtype, stored_dtype, generation })
    }
}

/// Replaces every parameter by its stored value, before anybody asks for the initial one: so it is never drawn.
struct Fill<'a> {
    path: paths::Path,
    stored: &'a BTreeMap<String, Stored<'a>>,
    /// What weights are rounded to, and what they are in memory.
    dtypes: [DType; 2],
    loading: Loading,
    /// Bytes handed to the device since it was last waited for.
    in_flight: usize,
    filled: usize,
    failed: Option<LoadError>,
    progress: &'a mut dyn FnMut(Loading) -> ControlFlow<()>,
}

impl Fill<'_> {
    /// The stored tensor for a parameter whose values live on `device`.
    fn tensor<const D: usize>(&mut self, stored: &Stored<'_>, device: &Device) -> Result<Tensor<D>, LoadError> {
        let [rounded, dtype] = self.dtypes.map(|dtype| stored.source.dtype(dtype));
        let values = stored.values(rounded)?.convert_dtype(dtype);
        self.in_flight += values.as_bytes().len();
        let tensor = Tensor::from_data(values, (device, dtype));
        if self.in_flight >= IN_FLIGHT {
            self.in_flight = 0;
            device.sync().map_err(|error| LoadError::Device { reason: error.to_string() })?;
        }
        self.loading.done += stored.bytes();
        match (self.progress)(self.loading) {
            ControlFlow::Continue(()) => Ok(tensor),
            ControlFlow::Break(()) => Err(LoadError::Interrupted),
        }
    }
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
        match self.tensor(stored, &param.lazy_device()) {
            Ok(tensor) => {
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.failed = Some(error);
                param
            }
        }
    }
}
