//! Checkpoints of a run: the expert, the optimizer's moments, and a small file that names both.

use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use burn::tensor::Bytes;
use serde::{Deserialize, Serialize};
use t2_model::expert::{Expert, ExpertInfo};
use t2_model::files::write_atomically;

use super::{Setting, TrainConfig, TrainError};

/// A run that was interrupted.
pub(super) struct Saved {
    pub(super) step: usize,
    pub(super) expert: Expert,
    /// What the optimizer keeps.
    moments: Vec<u8>,
}

/// What `state.json` holds.
#[derive(Serialize, Deserialize)]
struct State {
    step: usize,
    task: String,
    config: TrainConfig,
    /// Hash of the expert's file.
    expert: String,
    /// Hash of the optimizer's file.
    optimizer: String,
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

/// The run in the folder of `setting`, if there is one.
pub(super) fn load(config: &TrainConfig, setting: Setting<'_>) -> Result<Option<Saved>, TrainError> {
    let path = state_file(setting.dir);
    let Some(state) = read(&path)? else { return Ok(None) };
    let State { step, .. } = state;
    let expert_path = expert_file(setting.dir, step);
    read_checked(&expert_path, &state.expert)?;
    let moments = read_checked(&optimizer_file(setting.dir, step), &state.optimizer)?;
    let expert = Expert::load(&expert_path)?;
    // A longer run of the same kind goes on from a shorter one, and may say so in the expert's file.
    let same_config = TrainConfig { steps: config.steps, ..state.config } == *config && step <= config.steps;
    let same_expert = ExpertInfo { training: setting.info.training.clone(), ..expert.info.clone() } == *setting.info;
    if !same_config || !same_expert || state.task != setting.task.name() {
        return Err(TrainError::OtherRun { path });
    }
    Ok(Some(Saved { step, expert, moments }))
}

/// The bytes of a file with this hash.
fn read_checked(path: &Path, hash: &str) -> Result<Vec<u8>, TrainError> {
    let bytes = std::fs::read(path).map_err(|error| unusable(path, &error))?;
    if blake3::hash(&bytes).to_string() != hash {
        return Err(unusable(path, &"it is not the file that was written"));
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Option<State>, TrainError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| unusable(path, &error)),
    }
}

impl Saved {
    /// `optimizer` with the moments of the run in `dir`.
    pub(super) fn optimizer(&self, dir: &Path, optimizer: ModuleOptimizer) -> Result<ModuleOptimizer, TrainError> {
        let bytes = Bytes::from_bytes_vec(self.moments.clone());
        optimizer.from_bytes(bytes).map_err(|error| unusable(&optimizer_file(dir, self.step), &error))
    }
}

/// Keep a run after `step` steps: first the files named after the step, then the state that points at them, and only
/// then do the older ones go. A kill at any moment leaves a whole checkpoint.
pub(super) fn save(
    config: &TrainConfig,
    setting: Setting<'_>,
    (step, expert): (usize, &Expert),
    optimizer: &ModuleOptimizer,
) -> Result<(), TrainError> {
    let (path, state_path) = (optimizer_file(setting.dir, step), state_file(setting.dir));
    let before = read(&state_path)?.map(|state| state.step).filter(|&before| before != step);
    let moments = optimizer.into_bytes().map_err(|error| unusable(&path, &error))?;
    write_atomically(&path, &moments)?;
    let expert_path = expert_file(setting.dir, step);
    expert.save(&expert_path)?;
    let written = std::fs::read(&expert_path).map_err(|error| unusable(&expert_path, &error))?;
    let state = State {
        step,
        task: setting.task.name().to_owned(),
        config: config.clone(),
        expert: blake3::hash(&written).to_string(),
        optimizer: blake3::hash(&moments).to_string(),
    };
    let text = serde_json::to_vec_pretty(&state).map_err(|error| unusable(&state_path, &error))?;
    write_atomically(&state_path, &text)?;
    for path in before.into_iter().flat_map(|step| [expert_file(setting.dir, step), optimizer_file(setting.dir, step)])
    {
        // A file that cannot be removed only costs space.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}
