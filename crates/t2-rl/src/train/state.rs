//! Checkpoints of a run: the expert, the optimizer's moments, and a small file that names both.

use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use burn::tensor::Bytes;
use serde::{Deserialize, Serialize};
use t2_model::expert::Expert;
use t2_model::files::write_atomically;

use super::{TrainConfig, TrainError};

/// A run that was interrupted.
pub(super) struct Saved {
    pub(super) step: usize,
    pub(super) expert: Expert,
}

/// What `state.json` holds.
#[derive(Serialize, Deserialize)]
struct State {
    step: usize,
    config: TrainConfig,
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

fn expert_file(dir: &Path, step: usize) -> PathBuf {
    dir.join(format!("expert-{step}.safetensors"))
}

fn optimizer_file(dir: &Path, step: usize) -> PathBuf {
    dir.join(format!("optimizer-{step}.bpk"))
}

/// The run in `dir`, if there is one.
pub(super) fn load(dir: &Path, config: &TrainConfig) -> Result<Option<Saved>, TrainError> {
    let path = state_file(dir);
    let Some(state) = read(&path)? else { return Ok(None) };
    // A longer run of the same kind goes on from a shorter one.
    if (TrainConfig { steps: config.steps, ..state.config }) != *config || state.step > config.steps {
        return Err(TrainError::OtherRun { path });
    }
    let expert = Expert::load(&expert_file(dir, state.step))?;
    Ok(Some(Saved { step: state.step, expert }))
}

fn read(path: &Path) -> Result<Option<State>, TrainError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| unusable(path, &error)),
    }
}

impl Saved {
    /// `optimizer` with the moments of the run.
    pub(super) fn optimizer(&self, dir: &Path, optimizer: ModuleOptimizer) -> Result<ModuleOptimizer, TrainError> {
        let path = optimizer_file(dir, self.step);
        let bytes = std::fs::read(&path).map_err(|error| unusable(&path, &error))?;
        optimizer.from_bytes(Bytes::from_bytes_vec(bytes)).map_err(|error| unusable(&path, &error))
    }
}

/// Keep a run after `step` steps: first the files named after the step, then the state that points at them, and only
/// then do the older ones go. A kill at any moment leaves a whole checkpoint.
pub(super) fn save(
    dir: &Path,
    config: &TrainConfig,
    (step, expert): (usize, &Expert),
    optimizer: &ModuleOptimizer,
) -> Result<(), TrainError> {
    let before = read(&state_file(dir))?.map(|state| state.step).filter(|&before| before != step);
    let path = optimizer_file(dir, step);
    let moments = optimizer.into_bytes().map_err(|error| unusable(&path, &error))?;
    write_atomically(&path, &moments)?;
    expert.save(&expert_file(dir, step))?;
    let state = State { step, config: config.clone() };
    let text = serde_json::to_vec_pretty(&state).map_err(|error| unusable(&state_file(dir), &error))?;
    write_atomically(&state_file(dir), &text)?;
    for path in before.into_iter().flat_map(|step| [expert_file(dir, step), optimizer_file(dir, step)]) {
        // A file that cannot be removed only costs space.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}
