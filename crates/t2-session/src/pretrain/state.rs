//! Checkpoints of pretraining: weights, optimizer, and a small file that names them.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use serde::{Deserialize, Serialize};
use t2_model::decoder::{Decoder, DecoderConfig};
use t2_model::files::write_atomically;

use super::optimizer::{MATRICES, Optimizer, REST};
use super::{PretrainConfig, PretrainError};

/// Position of a run: all that a resumed one needs besides weights and optimizer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) config: PretrainConfig,
    pub(super) shape: DecoderConfig,
    pub(super) step: usize,
    pub(super) tokens: usize,
    /// Pools of documents read.
    pub(super) pools: u64,
    /// Batches of the last pool still to come.
    pub(super) waiting: usize,
}

impl Progress {
    /// Whether this was read from the folder of a run of the same configuration and shape as `asked`.
    pub(super) fn is_run_of(&self, asked: &Self) -> bool {
        // Reading JSON may change the last bit of a number: what is asked for is compared as it would be read back.
        let read_back = serde_json::to_vec(asked).and_then(|text| serde_json::from_slice::<Self>(&text));
        read_back.is_ok_and(|asked| (&self.config, &self.shape) == (&asked.config, &asked.shape))
    }
}

pub(super) fn state_file(dir: &Path) -> PathBuf {
    dir.join("pretrain.json")
}

fn record_file(dir: &Path, kind: &str, step: usize) -> PathBuf {
    dir.join(format!("pretrain-{kind}-{step}"))
}

/// Weights and optimizer first, under names with their step; then the state that names them; then the old ones go.
pub(super) fn save(
    dir: &Path,
    model: &Decoder,
    optimizer: &Optimizer,
    progress: &Progress,
) -> Result<(), PretrainError> {
    let step = progress.step;
    let path = record_file(dir, "model", step);
    let weights = model.clone().into_record().into_bytes().map_err(|error| unusable(&path, &error))?;
    write_atomically(&path, &weights)?;
    for (kind, moments) in optimizer.to_bytes() {
        let path = record_file(dir, kind, step);
        write_atomically(&path, &moments.map_err(|error| unusable(&path, &error))?)?;
    }
    let before = read_progress(dir).ok();
    let state = serde_json::to_vec(progress).map_err(|error| unusable(&state_file(dir), &error))?;
    write_atomically(&state_file(dir), &state)?;
    if let Some(before) = before.filter(|before| before.step != step) {
        for kind in ["model", MATRICES, REST] {
            // A file that cannot be removed only costs space.
            let _ = std::fs::remove_file(record_file(dir, kind, before.step));
        }
    }
    Ok(())
}

pub(super) fn read_progress(dir: &Path) -> Result<Progress, PretrainError> {
    let path = state_file(dir);
    let text = std::fs::read(&path).map_err(|error| unusable(&path, &error))?;
    serde_json::from_slice(&text).map_err(|error| unusable(&path, &error))
}

pub(super) fn restore(
    dir: &Path,
    step: usize,
    model: Decoder,
    config: &PretrainConfig,
) -> Result<(Decoder, Optimizer), PretrainError> {
    let read = |kind: &str| {
        let path = record_file(dir, kind, step);
        std::fs::read(&path).map_err(|error| unusable(&path, &error))
    };
    let refused = |kind: &str, error: &dyn std::fmt::Display| unusable(&record_file(dir, kind, step), error);
    let weights = ModuleRecord::from_bytes(burn::tensor::Bytes::from_bytes_vec(read("model")?))
        .map_err(|error| refused("model", &error))?;
    let model = model.try_load_record(weights).map_err(|error| refused("model", &error))?;
    let optimizer = Optimizer::from_bytes(config, &model, read)?.map_err(|(kind, error)| refused(kind, &error))?;
    Ok((model, optimizer))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> PretrainError {
    PretrainError::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}
