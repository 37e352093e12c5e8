//! What a training step reports, and `metrics.jsonl`, where every step is a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use t2_task::Example;

use crate::rollout::Rollout;

/// One step of reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Steps done, this one included.
    pub step: usize,
    /// Mean reward of the completions.
    pub reward_mean: f32,
    /// Their standard deviation.
    pub reward_std: f32,
    /// Share of groups whose completions all got the same reward: they teach nothing.
    pub zero_variance_share: f32,
    /// Share of completions that were cut off at the limit of tokens.
    #[serde(default)]
    pub cut_share: f32,
    /// Mean entropy of the next token, nats, over the completions that were learned from; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f32>,
    /// Mean divergence from the base model, nats per token, in the configured direction; absent when not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f32>,
    /// Norm of the whole gradient of `z` before clipping.
    pub grad_norm: f32,
    /// Mean length of a completion, tokens.
    pub completion_len: f32,
    /// Longest completion, tokens.
    pub completion_len_max: usize,
    /// Sampled tokens per second of the whole step.
    pub tokens_per_sec: f32,
    /// Largest difference between the log-probability of a token when sampled and when scored again to learn from it.
    pub logprob_gap: f32,
    /// Hash of the expert that produced the completions.
    pub expert_hash: String,
}

/// A completion of a step and what it was worth.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// What was asked.
    pub example: &'a Example,
    /// Prompt and completion.
    pub rollout: &'a Rollout,
    /// What the task gave for it.
    pub reward: f32,
}

/// What is known after a step.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The figures of the step.
    pub metrics: &'a StepMetrics,
    /// Every completion of the step, those of one prompt side by side.
    pub samples: &'a [Sample<'a>],
}

/// Sees every step of a run, and may break it off: the state is then on disk. A closure over [`Step`] is one, and so is
/// a pair of two.
pub trait Monitor {
    /// The run begins after `step` steps that an earlier one made.
    ///
    /// # Errors
    ///
    /// Whatever keeps the record from being kept.
    fn resume(&mut self, step: usize) -> io::Result<()> {
        let _ = step;
        Ok(())
    }

    /// A step is done.
    ///
    /// # Errors
    ///
    /// Whatever keeps the record from being kept.
    fn log(&mut self, step: Step<'_>) -> io::Result<ControlFlow<()>>;
}

impl<F: FnMut(Step<'_>) -> ControlFlow<()>> Monitor for F {
    fn log(&mut self, step: Step<'_>) -> io::Result<ControlFlow<()>> {
        Ok(self(step))
    }
}

impl<A: Monitor, B: Monitor> Monitor for (A, B) {
    fn resume(&mut self, step: usize) -> io::Result<()> {
        self.0.resume(step)?;
        self.1.resume(step)
    }

    fn log(&mut self, step: Step<'_>) -> io::Result<ControlFlow<()>> {
        let (first, second) = (self.0.log(step)?, self.1.log(step)?);
        Ok(if first.is_break() { first } else { second })
    }
}

/// Sees nothing.
impl Monitor for () {
    fn log(&mut self, _: Step<'_>) -> io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Keeps every step in memory.
impl Monitor for Vec<StepMetrics> {
    fn log(&mut self, step: Step<'_>) -> io::Result<ControlFlow<()>> {
        self.push(step.metrics.clone());
        Ok(ControlFlow::Continue(()))
    }
}

/// `metrics.jsonl`: one JSON object a line, flushed after each.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: Option<File>,
}

impl JsonLines {
    /// The file at `path`, which need not exist. Nothing is touched before the run begins.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }
}

/// What a line must say to be kept: its step. Its other numbers may be missing or null.
#[derive(Deserialize)]
struct Line {
    step: usize,
}

impl Monitor for JsonLines {
    /// Lines of later steps, left by an interrupted run, are dropped.
    fn resume(&mut self, step: usize) -> io::Result<()> {
        let text = match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let is_kept = |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| line.step <= step);
        let kept: String = text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect();
        if kept != text {
            t2_model::files::write_atomically(&self.path, kept.as_bytes()).map_err(io::Error::other)?;
        }
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        self.file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
        Ok(())
    }

    fn log(&mut self, step: Step<'_>) -> io::Result<ControlFlow<()>> {
        let line = serde_json::to_string(step.metrics)?;
        if self.file.is_none() {
            self.resume(step.metrics.step.saturating_sub(1))?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(format!("{line}\n").as_bytes())?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_nulls_is_kept_and_a_later_one_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"step\": 1, \"kl\": null, \"grad_norm\": null}\n{\"step\": 2}\n{\"step\": 3}\n{\"st")
            .unwrap();
        JsonLines::new(&path).resume(2).unwrap();
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept, "{\"step\": 1, \"kl\": null, \"grad_norm\": null}\n{\"step\": 2}\n");
    }
}
