//! Policy gradients: rewards to advantages, advantages to a loss.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// What the loss is computed from, for the completions of one backward pass.
///
/// A row is a completion, a column the position of a token in it; `seq` is the length of the longest. Numbers of tokens
/// that a completion does not have are 0.
#[derive(Clone, Debug)]
pub struct LossInputs {
    /// Log-probabilities of the sampled tokens under the policy, `[batch, seq]`; differentiable.
    pub logprobs: Tensor<2>,
    /// Those same log-probabilities as they were when sampled, `[batch, seq]`; constants.
    pub sampled: Option<Tensor<2>>,
    /// Exact divergence from the base model at every token, nats, `[batch, seq]`; differentiable.
    pub kl: Option<Tensor<2>>,
    /// Entropy of what every token was drawn from, nats, `[batch, seq]`; differentiable.
    pub entropy: Option<Tensor<2>>,
    /// One per row, `[batch]`.
    pub advantages: Tensor<1>,
    /// 1 where a completion has a token, 0 elsewhere, `[batch, seq]`.
    pub mask: Tensor<2>,
    /// Completions of the whole step: the loss of a step is the sum of its backward passes.
    pub completions: usize,
}

/// What a policy gradient wants to be given. What it does not ask for is not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Log-probabilities of the sampled tokens as they were when sampled.
    pub sampled: bool,
    /// The divergence from the base model in this direction: the base model reads every completion too.
    pub kl: Option<KlDirection>,
    /// The entropy, to go into the loss; its mean is measured anyway.
    pub entropy: bool,
    /// Rows without an advantage too. They are left out otherwise, unless the divergence or the entropy is asked for.
    pub idle_rows: bool,
    /// Optimizer steps on the same completions.
    pub epochs: usize,
}

impl Needs {
    /// Whether a row with this advantage can have a gradient.
    pub(crate) fn has_row(&self, advantage: f32) -> bool {
        advantage != 0.0 || self.kl.is_some() || self.entropy || self.idle_rows
    }
}

impl Default for Needs {
    /// Nothing, and one step.
    fn default() -> Self {
        Self { sampled: false, kl: None, entropy: false, idle_rows: false, epochs: 1 }
    }
}

/// Turns rewards into advantages and advantages into a loss.
pub trait PolicyGradient: Send + Sync {
    /// The algorithm and its settings in a line: a run is only resumed under the same.
    fn describe(&self) -> String;

    /// Refuse settings that make no sense, before anything is learned; accepts everything unless an algorithm says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// An error of the algorithm's own.
    fn check(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    /// What [`loss`](Self::loss) wants to be given.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Advantages of one group, completions of the same prompt: as many as `rewards`, finite.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32>;

    /// The loss of some rows, to minimise, `[1]`. Asked for several backward passes at the same time.
    fn loss(&self, inputs: LossInputs) -> Tensor<1>;
}

/// Which way the divergence from the base model is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlDirection {
    /// `KL(new ‖ base) = Σ_v p(v) (ln p(v) - ln q(v))`, as the paper writes it.
    NewToBase,
    /// `KL(base ‖ new) = Σ_v q(v) (ln q(v) - ln p(v))`, as the paper's code computes it.
    BaseToNew,
}

/// REINFORCE with a leave-one-out baseline and an optional exact KL to the base model:
/// `L = -1/N Σ_b A_b Σ_t ln p(y_bt) + λ/N Σ_b Σ_t KL_bt` over `N` completions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforce {
    /// Weight `λ` of the divergence; nothing is computed at 0.
    pub kl_weight: f32,
    /// Its direction.
    pub kl_direction: KlDirection,
}

impl Default for Reinforce {
    /// [`Reinforce::PLAIN`].
    fn default() -> Self {
        Self::PLAIN
    }
}

impl Reinforce {
    /// Without a divergence.
    pub const PLAIN: Self = Self { kl_weight: 0.0, kl_direction: KlDirection::NewToBase };

    /// Refuse a weight that makes no sense.
    ///
    /// # Errors
    ///
    /// [`BadKlWeight`] for a weight that is negative or no finite number.
    pub fn check(&self) -> Result<(), BadKlWeight> {
        let is_good = self.kl_weight >= 0.0 && self.kl_weight.is_finite();
        if is_good { Ok(()) } else { Err(BadKlWeight(self.kl_weight)) }
    }
}

/// The weight of the divergence makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("kl_weight is {0}; it must be 0 or a finite number above")]
pub struct BadKlWeight(f32);

impl PolicyGradient for Reinforce {
    fn describe(&self) -> String {
        let Self { kl_weight, kl_direction } = self;
        match kl_direction {
            _ if *kl_weight == 0.0 => "reinforce".to_owned(),
            KlDirection::NewToBase => format!("reinforce, {kl_weight} KL(new ‖ base)"),
            KlDirection::BaseToNew => format!("reinforce, {kl_weight} KL(base ‖ new)"),
        }
    }

    fn check(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::check(self)?)
    }

    fn needs(&self) -> Needs {
        Needs { kl: (self.kl_weight > 0.0).then_some(self.kl_direction), ..Needs::default() }
    }

    /// `A_i = r_i - mean_{j≠i} r_j`; a group of one has no baseline.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let others = (rewards.len() - 1).max(1) as f32;
        let sum: f32 = rewards.iter().sum();
        rewards.iter().map(|r| r - (sum - r) / others).collect()
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        let LossInputs { logprobs, kl, advantages, mask, completions, .. } = inputs;
        let n = completions as f32;
        let score = (logprobs * mask.clone()).sum_dim(1).squeeze_dim::<1>(1);
        let loss = (score * advantages).sum().neg() / n;
        match kl {
            Some(kl) => loss + (kl * mask).sum() * (self.kl_weight / n),
            None => loss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Reinforce = Reinforce::PLAIN;

    #[track_caller]
    fn check_advantages(rewards: &[f32], expected: &[f32]) {
        assert_eq!(PLAIN.advantages(rewards), expected);
    }

    #[test]
    fn the_baseline_is_the_mean_of_the_others() {
        check_advantages(&[1.0, -1.0], &[2.0, -2.0]);
        check_advantages(&[1.0, 1.0, 1.0], &[0.0, 0.0, 0.0]);
        check_advantages(&[1.0, -1.0, -1.0], &[2.0, -1.0, -1.0]);
        check_advantages(&[1.0], &[1.0]);
    }

    #[test]
    fn a_weight_that_makes_no_sense_is_refused() {
        let with = |kl_weight| Reinforce { kl_weight, ..PLAIN }.check();
        assert!(with(0.0).is_ok() && with(0.1).is_ok());
        for bad in [-0.1, f32::NAN, f32::INFINITY] {
            assert!(with(bad).unwrap_err().to_string().contains("kl_weight is"), "{bad}");
        }
    }

    #[test]
    fn the_loss_weighs_tokens_by_advantage_and_divergence_by_its_weight() {
        let device = Device::flex();
        let inputs = || LossInputs {
            logprobs: Tensor::from_floats([[-1.0, -2.0], [-4.0, 0.0]], &device),
            sampled: None,
            kl: Some(Tensor::from_floats([[0.5, 0.25], [1.0, 0.0]], &device)),
            entropy: None,
            advantages: Tensor::from_floats([1.0, -0.5], &device),
            mask: Tensor::from_floats([[1.0, 1.0], [1.0, 0.0]], &device),
            completions: 4,
        };
        let loss = |policy: Reinforce, inputs| policy.loss(inputs).into_scalar::<f32>();
        // 1 * 3 - 0.5 * 4 of four completions, and 1.75 nats.
        assert_eq!(loss(PLAIN, LossInputs { kl: None, ..inputs() }), 0.25);
        assert_eq!(loss(Reinforce { kl_weight: 2.0, ..PLAIN }, inputs()), 0.25 + 2.0 * 1.75 / 4.0);
    }
}
