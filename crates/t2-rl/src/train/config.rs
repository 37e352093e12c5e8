//! The numbers of a training run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TrainError;

/// How an expert is trained. Every field has a default; a run file names those it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Prompts of a step.
    pub prompts: usize,
    /// Completions sampled for each prompt; their mean reward is the baseline.
    pub group: usize,
    /// Most tokens of a completion.
    pub max_new_tokens: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Largest norm of the gradient of `z`, all weights together.
    pub max_grad_norm: f32,
    /// Tokens that are learned from at the same time, prompts and padding included; fewer need less memory. A completion that
    /// is longer is learned from all the same.
    pub micro_batch_tokens: usize,
    /// Whether what is computed inside a block is kept for the way back.
    pub activations: Activations,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Seed of the order of the examples and of every draw.
    pub seed: u64,
}

/// What becomes of the numbers between a block's input and its output until the way back needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activations {
    /// They are kept, for all blocks.
    #[default]
    Keep,
    /// They are computed again, block by block: half as much again to compute, and the memory of a single block.
    Recompute,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 100,
            prompts: 16,
            group: 8,
            max_new_tokens: 64,
            learning_rate: 2e-2,
            max_grad_norm: 1.0,
            micro_batch_tokens: 1024,
            activations: Activations::Keep,
            save_every: 10,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// Refuse numbers that make no sense.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let counts = [
            ("steps", self.steps),
            ("prompts", self.prompts),
            ("max_new_tokens", self.max_new_tokens),
            ("micro_batch_tokens", self.micro_batch_tokens),
            ("save_every", self.save_every),
        ];
        let bad =
            |name, value: &dyn ToString, expected| TrainError::Config { name, value: value.to_string(), expected };
        if let Some((name, value)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(bad(name, value, "at least 1"));
        }
        if self.group < 2 {
            return Err(bad(
                "group",
                &self.group,
                "at least 2: a completion is compared with the others of its prompt",
            ));
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.learning_rate) {
            return Err(bad("learning_rate", &self.learning_rate, "above 0"));
        }
        if !positive(f64::from(self.max_grad_norm)) {
            return Err(bad("max_grad_norm", &self.max_grad_norm, "above 0"));
        }
        Ok(())
    }

    /// What sets a run with these numbers apart from one with `now`; more or fewer steps do not.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        // A struct of finite numbers is an object.
        let fields = |json: serde_json::Result<Value>| match json {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        // Reading JSON may change the last bit of a number: `now` is compared as it would be read back.
        let now = serde_json::to_string(now).and_then(|text| serde_json::from_str(&text));
        let (before, now) = (fields(serde_json::to_value(self)), fields(now));
        let (name, value) = before.iter().find(|&(name, value)| name != "steps" && now.get(name) != Some(value))?;
        Some(format!("{name} was {value} and is {}", now.get(name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_json_reads_back_otherwise_is_the_same() {
        for learning_rate in [10_f64.powf(-2.6), 0.1 / 7.0, 0.02 / 2_f64.sqrt(), 0.02] {
            let now = TrainConfig { learning_rate, ..TrainConfig::default() };
            let before: TrainConfig = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
            assert_eq!(before.difference(&now), None);
            assert!(before.difference(&TrainConfig { learning_rate: 2.0 * learning_rate, ..now }).is_some());
        }
    }
}
