#![doc = include_str!("../README.md")]

pub mod evaluate;
pub mod metrics;
pub mod optimizer;
pub mod policy;
mod prompts;
pub mod rollout;
pub mod train;

pub use burn;
pub use evaluate::{Accuracy, Evaluation, evaluate};
pub use metrics::{JsonLines, Monitor, Sample, Step, StepMetrics};
pub use policy::{PolicyGradient, Reinforce};
pub use prompts::{Fitting, Skipped, fitting};
pub use rollout::{Rollout, rollout};
pub use t2_task::{Example, Split, Task};
pub use train::{TrainConfig, TrainError, TrainInputs, train};
