//! Policy gradients: rewards to advantages, advantages to a loss.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// What the loss is computed from, for the rows of one backward pass.
#[derive(Clone, Debug)]
pub struct LossInputs {
    /// Log-probabilities of every next token under the policy, `[batch, seq, vocab]`.
    pub log_softmax: Tensor<3>,
    /// Those of the sampled tokens, `[batch, seq]`.
    pub logprobs: Tensor<2>,
    /// Log-probabilities under the base model (`z = 1`), `[batch, seq, vocab]`; constants.
    pub reference: Option<Tensor<3>>,
    /// Log-probabilities of the sampled tokens as they were when sampled, `[batch, seq]`; constants, 0 outside the mask.
    pub sampled: Option<Tensor<2>>,
    /// One per row, `[batch]`.
    pub advantages: Tensor<1>,
    /// 1 on completion tokens, 0 on prompt and padding, `[batch, seq]`.
    pub mask: Tensor<2>,
    /// Completions of the whole step: the loss of a step is the sum of its backward passes.
    pub completions: usize,
}

/// The loss and what there is to log about it.
#[derive(Clone, Debug)]
pub struct LossOutputs {
    /// To minimise, `[1]`.
    pub loss: Tensor<1>,
    /// Sum over the completion tokens of the divergence from the base model, nats; constants, `[1]`.
    pub kl: Option<Tensor<1>>,
}

/// What a policy gradient wants to be given. What it does not ask for is not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Log-probabilities under the base model, a second forward pass over every row.
    pub reference: bool,
    /// Log-probabilities of the sampled tokens as they were when sampled.
    pub sampled: bool,
    /// Optimizer steps on the same completions.
    pub epochs: usize,
}

impl Default for Needs {
    /// Neither, and one step.
    fn default() -> Self {
        Self { reference: false, sampled: false, epochs: 1 }
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

    /// The loss of some rows.
    fn loss(&self, inputs: LossInputs) -> LossOutputs;
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
        Needs { reference: self.kl_weight > 0.0, ..Needs::default() }
    }

    /// `A_i = r_i - mean_{j≠i} r_j`; a group of one has no baseline.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let others = (rewards.len() - 1).max(1) as f32;
        let sum: f32 = rewards.iter().sum();
        rewards.iter().map(|r| r - (sum - r) / others).collect()
    }

    fn loss(&self, inputs: LossInputs) -> LossOutputs {
        let LossInputs { log_softmax, logprobs, reference, advantages, mask, completions, .. } = inputs;
        let n = completions as f32;
        let score = (logprobs * mask.clone()).sum_dim(1).squeeze_dim::<1>(1);
        let loss = (score * advantages).sum().neg() / n;
        let kl = reference.map(|reference| (kl(self.kl_direction, log_softmax, reference) * mask).sum());
        LossOutputs {
            loss: match &kl {
                Some(kl) if self.kl_weight > 0.0 => loss + kl.clone() * (self.kl_weight / n),
                _ => loss,
            },
            kl: kl.map(Tensor::detach),
        }
    }
}

/// Exact divergence at every position, `[batch, seq]`, of log-probabilities `[batch, seq, vocab]`.
pub fn kl(direction: KlDirection, new: Tensor<3>, base: Tensor<3>) -> Tensor<2> {
    let (p, q) = match direction {
        KlDirection::NewToBase => (new, base),
        KlDirection::BaseToNew => (base, new),
    };
    (p.clone().exp() * (p - q)).sum_dim(2).squeeze_dim(2)
}

/// Entropy at every position, `[batch, seq]`, of log-probabilities `[batch, seq, vocab]`.
pub fn entropy(log_softmax: Tensor<3>) -> Tensor<2> {
    (log_softmax.clone().exp() * log_softmax).sum_dim(2).squeeze_dim::<2>(2).neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::activation;

    const PLAIN: Reinforce = Reinforce::PLAIN;
    /// A few roundings of f32 numbers near one.
    const TOLERANCE: f32 = 1e-6;

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

    /// One choice among three: the gradient of the loss in the logits is `A (p - onehot)`, plus that of the KL.
    fn gradient(policy: Reinforce) -> (Vec<f32>, [f32; 3], [f32; 3]) {
        let device = Device::flex().autodiff();
        let theta = Tensor::<1>::from_floats([0.3, -0.2, 0.5], &device).require_grad();
        let log_softmax = activation::log_softmax(theta.clone(), 0).reshape([1, 1, 3]);
        let base = activation::log_softmax(Tensor::<1>::from_floats([0.0, 0.4, -0.1], &device), 0).reshape([1, 1, 3]);
        let probs =
            |t: &Tensor<3>| <[f32; 3]>::try_from(t.clone().exp().into_data().try_to_vec::<f32>().unwrap()).unwrap();
        let (p, q) = (probs(&log_softmax), probs(&base));
        let inputs = LossInputs {
            logprobs: log_softmax.clone().slice_dim(2, 0..1).reshape([1, 1]),
            log_softmax,
            reference: Some(base),
            sampled: None,
            advantages: Tensor::from_floats([2.0], &device),
            mask: Tensor::ones([1, 1], &device),
            completions: 1,
        };
        let gradient = theta.grad(&policy.loss(inputs).loss.backward()).unwrap();
        (gradient.into_data().try_to_vec().unwrap(), p, q)
    }

    #[test]
    fn a_weight_that_makes_no_sense_is_refused() {
        let with = |kl_weight| Reinforce { kl_weight, ..PLAIN }.check();
        assert!(with(0.0).is_ok() && with(0.1).is_ok());
        for bad in [-0.1, f32::NAN, f32::INFINITY] {
            assert!(with(bad).unwrap_err().to_string().contains("kl_weight is"), "{bad}");
        }
    }

    #[track_caller]
    fn check_gradient(policy: Reinforce, kl_term: impl Fn(usize, &[f32; 3], &[f32; 3]) -> f32) {
        let (found, p, q) = gradient(policy);
        for i in 0..3 {
            let expected = 2.0 * (p[i] - f32::from(u8::from(i == 0))) + policy.kl_weight * kl_term(i, &p, &q);
            assert!((found[i] - expected).abs() < TOLERANCE, "{i}: {} vs {expected}", found[i]);
        }
    }

    #[test]
    fn gradients_match_the_closed_forms() {
        check_gradient(PLAIN, |_, _, _| 0.0);
        let weighted = |kl_direction| Reinforce { kl_weight: 0.7, kl_direction };
        check_gradient(weighted(KlDirection::BaseToNew), |i, p, q| p[i] - q[i]);
        check_gradient(weighted(KlDirection::NewToBase), |i, p, q| {
            let total: f32 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
            p[i] * ((p[i] / q[i]).ln() - total)
        });
    }
}
