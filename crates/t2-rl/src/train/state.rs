//! Checkpoints of a run: the experts and the optimizer's moments of the last two, and a small file that names them.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use burn::module::ParamId;
use burn::optim::{Adam, AdamConfig};
use burn::prelude::Device;
use serde::{Deserialize, Serialize};
use t2_model::Hash;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::files::write_atomically;

use super::{TrainConfig, TrainError, TrainInputs};
use crate::optimizer::Moments;
use crate::prompts::Fitting;

/// Version of the folder's layout.
const VERSION: u32 = 3;
/// Folder of the checkpoints, inside that of the run.
const CHECKPOINTS: &str = "checkpoints";
/// Checkpoints that are kept: should the last be damaged, the one before is still there.
const KEPT: usize = 2;

/// What a resumed run must share with the one on disk, besides the expert's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    task: String,
    config: TrainConfig,
    /// The algorithm and its settings.
    policy: String,
    /// Hash of the examples to learn from.
    examples: Hash,
    /// Token ids that end a completion.
    stop: Vec<u32>,
    /// Strings that end one.
    #[serde(default)]
    stop_strings: Vec<String>,
    /// The grader and its version.
    #[serde(default)]
    grader: String,
    /// The kind of device.
    device: String,
    /// Type of the weights.
    dtype: String,
}

/// A checkpoint and the hashes of its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Checkpoint {
    step: usize,
    expert: Hash,
    optimizer: Hash,
}

/// What `state.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    #[serde(flatten)]
    identity: Identity,
    /// The oldest first.
    checkpoints: Vec<Checkpoint>,
}

/// What every version of `state.json` says, or the first did not.
#[derive(Deserialize)]
struct Layout {
    #[serde(default = "first_version")]
    version: u32,
}

fn first_version() -> u32 {
    1
}

/// A run that was interrupted.
pub(super) struct Saved {
    pub(super) step: usize,
    pub(super) expert: Expert,
    /// What the optimizer keeps.
    pub(super) moments: Moments<Adam, 1>,
}

/// The folder of a run, held by this process until it is dropped.
pub(super) struct RunDir<'a> {
    dir: &'a Path,
    identity: Identity,
    /// What the expert's file will say about itself.
    info: &'a ExpertInfo,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Identity {
    pub(super) fn new(
        config: &TrainConfig,
        inputs: TrainInputs<'_>,
        fitting: &Fitting<'_>,
        (device, dtype): (&Device, String),
    ) -> Self {
        let mut hasher = fitting.prompts.clone();
        for example in &fitting.examples {
            // A map of strings cannot fail to be written.
            hasher.update(serde_json::to_string(example).unwrap_or_default().as_bytes()).update(b"\n");
        }
        Self {
            task: inputs.task.name().to_owned(),
            config: config.clone(),
            policy: inputs.policy.describe(),
            examples: hasher.finalize().into(),
            stop: inputs.stop.to_vec(),
            stop_strings: inputs.task.answering().stop,
            grader: inputs.task.grader(),
            device: kind(device),
            dtype,
        }
    }

    /// What differs from the run on disk, `before`, in words; the number of steps may grow.
    fn difference(&self, before: &Self) -> Option<String> {
        let Self { task, config, policy, examples, stop, stop_strings, grader, device, dtype } = self;
        let differs = |what: &str, before: &dyn std::fmt::Display, now: &dyn std::fmt::Display| {
            Some(format!("{what} was {before} and is {now}"))
        };
        if before.task != *task {
            return differs("the task", &before.task, task);
        }
        if let Some(difference) = before.config.difference(config) {
            return Some(difference);
        }
        if before.policy != *policy {
            return differs("the policy gradient", &before.policy, policy);
        }
        if before.examples != *examples {
            return Some("the examples of the task, or their prompts, are others".to_owned());
        }
        if before.stop != *stop {
            return Some(format!("the stop tokens were {:?} and are {stop:?}", before.stop));
        }
        if before.stop_strings != *stop_strings {
            return Some(format!("the stop strings were {:?} and are {stop_strings:?}", before.stop_strings));
        }
        // Runs of before graders had versions say nothing.
        if !before.grader.is_empty() && before.grader != *grader {
            return differs("the grader", &before.grader, grader);
        }
        if before.device != *device {
            return differs("the device", &before.device, device);
        }
        if before.dtype != *dtype {
            return differs("the type of the weights", &before.dtype, dtype);
        }
        None
    }
}

/// The kind of a device, whichever of its kind it is.
fn kind(device: &Device) -> String {
    let device = format!("{device:?}");
    device.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl<'a> RunDir<'a> {
    /// Take hold of the folder.
    pub(super) fn lock(inputs: TrainInputs<'a>, identity: Identity) -> Result<Self, TrainError> {
        let path = inputs.dir.join("run.lock");
        let failed = |source| TrainError::Lock { path: path.clone(), source };
        std::fs::create_dir_all(inputs.dir).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: inputs.dir, identity, info: inputs.info, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(TrainError::InUse { dir: inputs.dir.to_owned() }),
            // A file system without locks: nothing can be said, and nothing stands in the way.
            Err(TryLockError::Error(_)) => Ok(Self { dir: inputs.dir, identity, info: inputs.info, _lock: lock }),
        }
    }

    /// The run in the folder, if there is one: its last checkpoint, or the one before if the last is damaged.
    pub(super) fn load(&self, ids: &[ParamId], device: &Device) -> Result<Option<Saved>, TrainError> {
        let path = self.state_file();
        let Some(state) = read(&path)? else { return Ok(None) };
        if let Some(difference) = self.identity.difference(&state.identity) {
            return Err(TrainError::OtherRun { path, difference });
        }
        let mut failed = None;
        for checkpoint in state.checkpoints.iter().rev() {
            match self.read_checkpoint(checkpoint, ids, device) {
                Ok(saved) => {
                    self.check(&saved, &path)?;
                    if let Some(error) = failed {
                        tracing::warn!("{error}; going on from step {}, one checkpoint earlier", saved.step);
                    }
                    return Ok(Some(saved));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| unusable(&path, &"it names no checkpoint")))
    }

    /// Refuse an expert of another model, of other targets or name, or one that is trained further than asked.
    fn check(&self, saved: &Saved, path: &Path) -> Result<(), TrainError> {
        let other = |difference: String| Err(TrainError::OtherRun { path: path.to_owned(), difference });
        // A longer run of the same kind goes on from a shorter one, and may say so in the expert's file.
        let pairs = facts(&saved.expert.info).into_iter().zip(facts(self.info));
        if let Some(((what, before), (_, now))) = pairs.into_iter().find(|(before, now)| before != now) {
            return other(format!("{what} was {before} and is {now}"));
        }
        if saved.step > self.identity.config.steps {
            return other(format!("it has made {} steps and {} are asked for", saved.step, self.identity.config.steps));
        }
        Ok(())
    }

    fn read_checkpoint(&self, checkpoint: &Checkpoint, ids: &[ParamId], device: &Device) -> Result<Saved, TrainError> {
        let (expert_path, optimizer_path) = (self.expert_file(checkpoint.step), self.optimizer_file(checkpoint.step));
        read_checked(&expert_path, checkpoint.expert)?;
        let bytes = read_checked(&optimizer_path, checkpoint.optimizer)?;
        let adam = AdamConfig::new().build();
        let moments = Moments::from_bytes(adam, &bytes, ids.iter().copied(), device);
        let moments = moments.map_err(|error| unusable(&optimizer_path, &error))?;
        Ok(Saved { step: checkpoint.step, expert: Expert::load(&expert_path)?, moments })
    }

    /// Keep a run after `step` steps: first the files named after the step, then the state that points at them, and only
    /// then do the older ones go. A kill at any moment leaves a whole checkpoint.
    pub(super) fn save(&self, step: usize, expert: &Expert, moments: &Moments<Adam, 1>) -> Result<(), TrainError> {
        let (path, state_path) = (self.optimizer_file(step), self.state_file());
        let moments = moments.to_bytes().map_err(|error| unusable(&path, &error))?;
        write_atomically(&path, &moments)?;
        let expert_path = self.expert_file(step);
        expert.save(&expert_path)?;
        let written = std::fs::read(&expert_path).map_err(|error| unusable(&expert_path, &error))?;
        let before = read(&state_path)?.map_or_else(Vec::new, |state| state.checkpoints);
        // Those of later steps are damaged, or this step would not have been made again.
        let (mut checkpoints, mut old): (Vec<_>, Vec<_>) = before.into_iter().partition(|before| before.step < step);
        old.retain(|before| before.step != step);
        let (expert, optimizer) = (blake3::hash(&written).into(), blake3::hash(&moments).into());
        checkpoints.push(Checkpoint { step, expert, optimizer });
        old.extend(checkpoints.drain(..checkpoints.len().saturating_sub(KEPT)));
        let state = State { version: VERSION, identity: self.identity.clone(), checkpoints };
        let text = serde_json::to_vec_pretty(&state).map_err(|error| unusable(&state_path, &error))?;
        write_atomically(&state_path, &text)?;
        for path in old.into_iter().flat_map(|old| [self.expert_file(old.step), self.optimizer_file(old.step)]) {
            // A file that cannot be removed only costs space.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn expert_file(&self, step: usize) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(format!("expert-{step}.safetensors"))
    }

    fn optimizer_file(&self, step: usize) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(format!("optimizer-{step}.safetensors"))
    }
}

/// What two experts must share to be the same at different times.
fn facts(info: &ExpertInfo) -> [(&'static str, String); 4] {
    [
        ("the base model", info.base_model.to_string()),
        ("the name of the expert", info.name.clone()),
        ("the choice of targets", info.targets.to_string()),
        ("the parametrization", info.parametrization.to_string()),
    ]
}

/// The bytes of a file with this hash.
fn read_checked(path: &Path, hash: Hash) -> Result<Vec<u8>, TrainError> {
    let bytes = std::fs::read(path).map_err(|error| unusable(path, &error))?;
    if Hash::from(blake3::hash(&bytes)) != hash {
        return Err(unusable(path, &"it is not the file that was written"));
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Option<State>, TrainError> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| unusable(path, &error))?,
    };
    let Layout { version } = serde_json::from_slice(&text).map_err(|error| unusable(path, &error))?;
    if version != VERSION {
        return Err(unusable(path, &format!("it is of version {version}, this is version {VERSION}")));
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}
