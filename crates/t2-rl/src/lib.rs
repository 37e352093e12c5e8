#![doc = include_str!("../README.md")]

pub mod evaluate;
pub mod metrics;
pub mod optimizer;
pub mod policy;
mod prompts;
pub mod rollout;
pub mod train;

pub use burn;
pub use evaluate::{Accuracy, Answer, Comparison, Evaluation, evaluate, evaluate_with};
pub use metrics::{JsonLines, Monitor, Sample, Step, StepMetrics};
pub use policy::{PolicyGradient, Reinforce};
pub use prompts::{Fitting, Skipped, fitting};
pub use rollout::{Rollout, rollout, rollout_with};
pub use t2_model;
pub use t2_task::{self, Example, RIGHT, Split, Task, TaskError, WRONG, reward};
pub use train::{Activations, TrainConfig, TrainError, TrainInputs, train};

/// What a program that trains an expert names.
pub mod prelude {
    pub use burn::prelude::Device;
    pub use t2_model::{self, CausalLm, DecoderConfig, Decomposition, Expert, ExpertInfo, Targets, Tokenizer};
    pub use t2_task::{Example, Split, Task, TaskError, reward};

    pub use crate::{JsonLines, Reinforce, Step, StepMetrics, TrainConfig, TrainError, TrainInputs, train};
}
