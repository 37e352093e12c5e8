//! One backward pass over some completions, and the figures that come off on the way.

use burn::prelude::*;
use burn::tensor::TensorReadError;
use t2_model::decoder::CausalLm;
use t2_model::mix::Mix;
use t2_model::score::Sequences;

use super::gradients::ZGradients;
use crate::metrics::StepMetrics;
use crate::policy::{LossInputs, PolicyGradient, entropy};
use crate::rollout::Rollout;

/// Sums over completion tokens, nats.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Learned {
    pub(super) tokens: f32,
    entropy: f32,
    kl: Option<f32>,
    logprob_gap: f32,
}

impl Learned {
    pub(super) fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.entropy += other.entropy;
        self.kl = other.kl.map(|kl| kl + self.kl.unwrap_or(0.0)).or(self.kl);
        self.logprob_gap = self.logprob_gap.max(other.logprob_gap);
    }

    /// The figures of a step; what the caller knows better is left at its default.
    pub(super) fn metrics(&self, rollouts: &[Rollout], rewards: &[f32], group: usize) -> StepMetrics {
        let n = rewards.len() as f32;
        let mean = rewards.iter().sum::<f32>() / n;
        let constant = |group: &&[f32]| group.iter().all(|&r| r == group[0]);
        let groups = rewards.chunks(group);
        StepMetrics {
            step: 0,
            reward_mean: mean,
            reward_std: (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f32>() / n).sqrt(),
            zero_variance_share: groups.clone().filter(constant).count() as f32 / groups.len() as f32,
            entropy: self.entropy / self.tokens,
            kl: self.kl.map(|kl| kl / self.tokens),
            grad_norm: 0.0,
            completion_len: self.tokens / n,
            completion_len_max: rollouts.iter().map(|r| r.completion.ids.len()).max().unwrap_or(0),
            tokens_per_sec: 0.0,
            logprob_gap: self.logprob_gap,
            expert_hash: String::new(),
        }
    }
}

/// Score `rows` again by the forward pass that sampled them, and add the gradient of their loss to `gradients`.
pub(super) fn backward<M: CausalLm>(
    model: &M,
    policy: &dyn PolicyGradient,
    (rows, completions): (&[(&Rollout, f32)], usize),
    kl_weight: f32,
    gradients: &mut ZGradients,
) -> Result<Learned, TensorReadError> {
    let device = model.devices()[0].clone();
    let ids: Vec<(&[u32], &[u32])> =
        rows.iter().map(|(r, _)| (r.prompt.as_slice(), r.completion.ids.as_slice())).collect();
    let sequences = Sequences::new(&ids, &device);
    let log_softmax = sequences.log_softmax(model, Mix::Own);
    let logprobs = sequences.chosen(log_softmax.clone());
    let reference = (kl_weight > 0.0).then(|| {
        let plain = Sequences::new(&ids, &device.clone().without_autodiff());
        Tensor::from_inner(plain.log_softmax(&model.valid(), Mix::Base))
    });
    let advantages: Vec<f32> = rows.iter().map(|&(_, advantage)| advantage).collect();
    let mask = sequences.mask.clone();
    let entropies = entropy(log_softmax.clone().detach()) * mask.clone();
    let outputs = policy.loss(LossInputs {
        log_softmax,
        logprobs: logprobs.clone(),
        reference,
        advantages: Tensor::from_data(advantages.as_slice(), &device),
        mask: mask.clone(),
        completions,
    });
    gradients.add(outputs.loss.backward(), model);
    let scored = logprobs.detach().try_into_vec_as::<f32>()?;
    Ok(Learned {
        tokens: rows.iter().map(|(r, _)| r.completion.ids.len()).sum::<usize>() as f32,
        entropy: entropies.sum().try_into_vec_as::<f32>()?[0],
        kl: outputs.kl.map(Tensor::try_into_vec_as::<f32>).transpose()?.map(|kl| kl[0]),
        logprob_gap: largest_gap(rows, &scored, sequences.start),
    })
}

/// Largest difference between sampled and scored log-probabilities; `scored` is `[batch, seq - start]`, row by row.
fn largest_gap(rows: &[(&Rollout, f32)], scored: &[f32], start: usize) -> f32 {
    let seq = scored.len() / rows.len();
    let gaps = rows.iter().zip(scored.chunks(seq)).flat_map(|((rollout, _), scored)| {
        let scored = &scored[rollout.prompt.len() - 1 - start..];
        rollout.completion.logprobs.iter().zip(scored).map(|(sampled, scored)| (sampled - scored).abs())
    });
    gaps.fold(0.0, f32::max)
}
