//! Why training stopped.

use std::path::PathBuf;

use burn::tensor::TensorReadError;
use t2_model::adapter::ExpertError;
use t2_model::decomposition::Targets;
use t2_model::files::WriteError;
use t2_task::TaskError;

use crate::rollout::RolloutError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("task {task} has no training examples that fit the model ({skipped} are too long); check its file")]
    NoExamples {
        /// The task.
        task: String,
        /// Examples that are too long.
        skipped: usize,
    },
    /// The model would weigh choices where it is to write.
    #[error(
        "task {task} is answered by weighing its choices, of which nothing is learned; expected a task or variant whose \
         answers are written"
    )]
    Weighed {
        /// The task.
        task: String,
    },
    /// A number in the configuration makes no sense.
    #[error("{name} is {value}; it must be {expected}")]
    Config {
        /// The field.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The model has nothing to train, or nothing to train it with.
    #[error("the model has no trainable scales; make it ready with `model.trainable(&decomposition)`")]
    NotTrainable,
    /// The expert's file would name other targets than the model has factors for.
    #[error(
        "the expert is to have the targets `{found}` and the model has factors for `{expected}`; make its info from the \
             trainable model"
    )]
    Targets {
        /// Targets of the expert's info.
        found: Targets,
        /// Targets of the model.
        expected: Targets,
    },
    /// The policy gradient refuses its own settings.
    #[error(transparent)]
    Policy(Box<dyn std::error::Error + Send + Sync>),
    /// The policy gradient gave more or fewer numbers than one.
    #[error("the {what} of the policy gradient has {found} numbers; expected one, a sum")]
    Sum {
        /// What should be one number.
        what: &'static str,
        /// How many it gave.
        found: usize,
    },
    /// The folder holds another run.
    #[error("{} holds another run: {difference}; choose another folder, or delete it to start over", path.display())]
    OtherRun {
        /// The state file.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// Another process trains in the folder.
    #[error("another process trains in {}; wait for it, or choose another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder could not be taken hold of.
    #[error("cannot write {}; check the permissions, or choose another folder", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint is damaged.
    #[error("the checkpoint {} is unusable ({reason}); delete the run's folder to start over", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// Something that was computed is no finite number. Nothing was learned from it.
    #[error(
        "step {step}: the {what} is not finite; the checkpoints before it are kept. Lower the learning rate, or load the \
         model as f32"
    )]
    NotFinite {
        /// What is not finite.
        what: &'static str,
        /// The step.
        step: usize,
    },
    /// The task did not give one finite reward for each completion.
    #[error("step {step}: the task {task} gave {found}; expected {expected} finite rewards, one for each completion")]
    Rewards {
        /// The task.
        task: String,
        /// The step.
        step: usize,
        /// What it gave.
        found: String,
        /// Completions.
        expected: usize,
    },
    /// The policy gradient did not give one finite advantage for each reward.
    #[error("step {step}: the policy gradient gave {found} for a group; expected {expected} finite advantages")]
    Advantages {
        /// The step.
        step: usize,
        /// What it gave.
        found: String,
        /// Rewards of the group.
        expected: usize,
    },
    /// The caller broke off; the state is on disk.
    #[error("interrupted after {step} of {steps} steps; train again in the same folder to go on from there")]
    Interrupted {
        /// Steps done.
        step: usize,
        /// Steps asked for.
        steps: usize,
    },
    /// The task failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A prompt was refused.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// The expert could not be attached, read or written.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A monitor failed.
    #[error("the record of the steps cannot be kept")]
    Monitor(#[source] std::io::Error),
    /// The device did not hand over its data.
    #[error("the loss could not be read from its device")]
    Read(#[from] TensorReadError),
}

impl TrainError {
    /// The same, in the step it happened in.
    pub(super) fn at(self, now: usize) -> Self {
        match self {
            Self::NotFinite { what, .. } => Self::NotFinite { what, step: now },
            other => other,
        }
    }
}
