//! Experts for other programs: a merged checkpoint, as a folder or as a GGUF file, or an adapter of low rank beside the one
//! at hand.
//!
//! `W' - W = U diag((z - 1) ∘ s) Vᵀ` is what an expert changes. Merged, it is added to the weight in the shape and order
//! that the checkpoint stores it in: so names, fused tensors and the config stay those of its family, and a weight that
//! the expert leaves alone is copied bit for bit. As a LoRA adapter only the directions of largest `|(z - 1) s|` are
//! written. Both read the factors from a folder and go through the model tensor by tensor.

mod change;
mod companions;
mod error;
mod gguf;
mod lora;
mod merged;
mod shards;

pub use error::ExportError;
pub use gguf::{check_gguf, write_gguf};
pub use lora::{LoraOptions, LoraReport, Residual, write_lora};
pub use merged::{MergeOptions, MergeReport, write_merged};

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::Device;
use burn::tensor::TensorData;

use crate::adapter::Expert;
use crate::checkpoint::{FileTensor, Files};
use crate::decomposition::Targets;
use change::Change;

/// What is written, where its factors are, and who is told how far it is.
pub struct Export<'a> {
    /// The checkpoint of the base model.
    pub files: &'a Files,
    /// The expert; `None` for the base model itself.
    pub expert: Option<&'a Expert>,
    /// The folder with the f32 factors of every weight that the expert scales.
    pub factors: &'a Path,
    /// Where matrices are multiplied.
    pub device: &'a Device,
    /// Called with the number of tensors done and in all; may break off.
    pub progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
}

impl Export<'_> {
    /// Refuse what cannot be written, before anything is decomposed for it: to `path` if it is a file, or a folder that
    /// holds something already, of an expert that does not fit the model, of a model that sees.
    ///
    /// # Errors
    ///
    /// [`ExportError`] as it says.
    pub fn check(&self, path: &Path) -> Result<(), ExportError> {
        if self.files.json()["vision_config"].is_object() {
            return Err(ExportError::OnlyText);
        }
        let is_taken = match std::fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.exists(),
        };
        if is_taken {
            return Err(ExportError::Taken { path: path.to_owned() });
        }
        let Some(expert) = self.expert else { return Ok(()) };
        let targets = self.files.config.parameters().filter(|(path, _)| Targets::ALL.matches(path));
        let ranks: BTreeMap<String, usize> =
            targets.filter_map(|(path, shape)| Some((path, shape.into_iter().min()?))).collect();
        Ok(expert.check_targets(|path| ranks.get(path).copied())?)
    }

    /// The values of `tensor` with the expert in them, f32 in the order of the file, and whether it changes them.
    fn merged(&self, tensor: &FileTensor<'_>) -> Result<(TensorData, bool), ExportError> {
        let mut values = tensor.values();
        let Some(expert) = self.expert else { return Ok((values, false)) };
        let rows = tensor.shape.first().copied().unwrap_or(1);
        let stored: &mut [f32] = values.as_mut_slice().unwrap_or_default();
        let changes = Change::of(tensor, stored, expert, self.factors)?;
        let changed = !changes.is_empty();
        changes.into_iter().for_each(|change| change.add_to(stored, rows, self.device));
        Ok((values, changed))
    }

    /// Tell that `done` of `total` tensors are written.
    fn tell(&mut self, done: usize, total: usize) -> Result<(), ExportError> {
        match (self.progress)(done, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Interrupted { done, total }),
        }
    }
}
