//! What a training step reports, and `metrics.jsonl`, where every step is a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

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
    /// Mean entropy of the next token, nats.
    pub entropy: f32,
    /// Mean divergence from the base model, nats per token, in the configured direction; absent when not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f32>,
    /// Norm of the whole gradient of `z` before clipping.
    pub grad_norm: f32,
    /// Mean length of a completion, tokens.
    pub completion_len: f32,
    /// Longest completion, tokens.
    pub completion_len_max: usize,
    /// Sampled tokens per second of the whole step.
    pub tokens_per_sec: f32,
    /// Largest difference between the log-probability of a token when sampled and when scored again.
    pub logprob_gap: f32,
    /// Hash of the expert that produced the completions.
    pub expert_hash: String,
}

/// Where the metrics of a run go.
pub trait Monitor {
    /// Record one step.
    ///
    /// # Errors
    ///
    /// Whatever keeps the record from being kept.
    fn log(&mut self, metrics: &StepMetrics) -> io::Result<()>;
}

/// `metrics.jsonl`: one JSON object a line, flushed after each.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
}

impl JsonLines {
    /// Open `path` to go on after `step` steps: lines of later steps, left by an interrupted run, are dropped.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written.
    pub fn resume(path: &Path, step: usize) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let is_kept = |line: &&str| serde_json::from_str::<StepMetrics>(line).is_ok_and(|m| m.step <= step);
        let kept: String = text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect();
        if kept != text {
            t2_model::files::write_atomically(path, kept.as_bytes()).map_err(io::Error::other)?;
        }
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }
}

impl Monitor for JsonLines {
    fn log(&mut self, metrics: &StepMetrics) -> io::Result<()> {
        let line = serde_json::to_string(metrics)?;
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// Keeps every step in memory.
impl Monitor for Vec<StepMetrics> {
    fn log(&mut self, metrics: &StepMetrics) -> io::Result<()> {
        self.push(metrics.clone());
        Ok(())
    }
}
