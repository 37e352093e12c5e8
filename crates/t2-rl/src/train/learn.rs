//! One backward pass over some completions, and the figures that come off on the way.

use burn::prelude::*;
use t2_model::adapter::Active;
use t2_model::decoder::CausalLm;
use t2_model::generate::score::Sequences;

use super::TrainError;
use super::gradients::ZGradients;
use crate::metrics::{Sample, StepMetrics};
use crate::policy::{LossInputs, PolicyGradient, entropy};
use crate::rollout::Rollout;

/// Sums over completion tokens, nats.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) tokens: f32,
    entropy: f32,
    kl: Option<f32>,
    logprob_gap: f32,
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.entropy += other.entropy;
        self.kl = other.kl.map(|kl| kl + self.kl.unwrap_or(0.0)).or(self.kl);
        self.logprob_gap = self.logprob_gap.max(other.logprob_gap);
    }

    /// The figures of a step, but for those that the caller knows: step, norm of the gradient, speed and hash.
    pub(super) fn metrics(&self, samples: &[Sample<'_>], group: usize) -> StepMetrics {
        let n = samples.len() as f32;
        let rewards: Vec<f32> = samples.iter().map(|sample| sample.reward).collect();
        let mean = rewards.iter().sum::<f32>() / n;
        let constant = |group: &&[f32]| group.iter().all(|&r| r == group[0]);
        let groups = rewards.chunks(group);
        let lengths = samples.iter().map(|sample| sample.rollout.completion.ids.len());
        StepMetrics {
            step: 0,
            reward_mean: mean,
            reward_std: (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f32>() / n).sqrt(),
            zero_variance_share: groups.clone().filter(constant).count() as f32 / groups.len() as f32,
            cut_share: samples.iter().filter(|sample| sample.rollout.is_cut()).count() as f32 / n,
            entropy: self.entropy / self.tokens,
            kl: self.kl.map(|kl| kl / self.tokens),
            grad_norm: 0.0,
            completion_len: self.tokens / n,
            completion_len_max: lengths.max().unwrap_or(0),
            tokens_per_sec: 0.0,
            logprob_gap: self.logprob_gap,
            expert_hash: String::new(),
        }
    }
}

/// A completion to learn from.
pub(super) type Row<'a> = (&'a Rollout, f32);

/// Score `rows`, completions with their advantages, again by the forward pass that sampled them, and add the gradient of
/// their loss to `gradients`. `completions` is the number of rows of the whole step.
pub(super) fn backward<M: CausalLm>(
    model: &M,
    policy: &dyn PolicyGradient,
    rows: &[Row<'_>],
    completions: usize,
    gradients: &mut ZGradients,
) -> Result<Totals, TrainError> {
    let device = model.devices()[0].clone();
    let ids: Vec<(&[u32], &[u32])> =
        rows.iter().map(|(r, _)| (r.prompt.as_slice(), r.completion.ids.as_slice())).collect();
    let sequences = Sequences::new(&ids, &device)?;
    let log_softmax = sequences.log_softmax(model, Active::Own)?;
    let logprobs = sequences.chosen(log_softmax.clone());
    let needs = policy.needs();
    let reference = if needs.reference {
        let plain = Sequences::new(&ids, &device.clone().without_autodiff())?;
        Some(Tensor::from_inner(plain.log_softmax(&model.valid(), Active::Base)?))
    } else {
        None
    };
    let advantages: Vec<f32> = rows.iter().map(|&(_, advantage)| advantage).collect();
    let mask = sequences.mask.clone();
    let entropies = entropy(log_softmax.clone().detach()) * mask.clone();
    let outputs = policy.loss(LossInputs {
        log_softmax,
        logprobs: logprobs.clone(),
        reference,
        sampled: needs.sampled.then(|| sampled(rows, &sequences, &device)),
        advantages: Tensor::from_data(advantages.as_slice(), &device),
        mask: mask.clone(),
        completions,
    });
    finite(outputs.loss.clone(), "loss")?;
    gradients.add(outputs.loss.backward(), model);
    let scored = logprobs.detach().try_into_vec_as::<f32>()?;
    Ok(Totals {
        tokens: rows.iter().map(|(r, _)| r.completion.ids.len()).sum::<usize>() as f32,
        entropy: finite(entropies.sum(), "entropy")?,
        kl: outputs.kl.map(|kl| finite(kl, "divergence from the base model")).transpose()?,
        logprob_gap: largest_gap(rows, &scored, sequences.start)?,
    })
}

/// The number in `[1]`, unless it is none.
fn finite(value: Tensor<1>, what: &'static str) -> Result<f32, TrainError> {
    let values = value.detach().try_into_vec_as::<f32>()?;
    let &[value] = values.as_slice() else { return Err(TrainError::Sum { what, found: values.len() }) };
    if value.is_finite() { Ok(value) } else { Err(TrainError::NotFinite { what, step: 0 }) }
}

/// Log-probabilities as sampled, `[batch, seq - start]`, 0 outside the completions.
fn sampled(rows: &[Row<'_>], sequences: &Sequences, device: &Device) -> Tensor<2> {
    let [batch, columns] = sequences.mask.dims();
    let row = |(rollout, _): &Row<'_>| {
        let before = rollout.prompt.len() - 1 - sequences.start;
        let logprobs = rollout.completion.logprobs.clone();
        std::iter::repeat_n(0.0, before).chain(logprobs).chain(std::iter::repeat(0.0)).take(columns).collect::<Vec<_>>()
    };
    let values: Vec<f32> = rows.iter().flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [batch, columns]), device)
}

/// Largest difference between sampled and scored log-probabilities; `scored` is `[batch, seq - start]`, row by row.
fn largest_gap(rows: &[Row<'_>], scored: &[f32], start: usize) -> Result<f32, TrainError> {
    let seq = scored.len() / rows.len();
    let mut largest = 0.0_f32;
    for ((rollout, _), scored) in rows.iter().zip(scored.chunks(seq)) {
        let scored = &scored[rollout.prompt.len() - 1 - start..];
        for (sampled, scored) in rollout.completion.logprobs.iter().zip(scored) {
            let gap = (sampled - scored).abs();
            if !gap.is_finite() {
                return Err(TrainError::NotFinite { what: "log-probability of a token", step: 0 });
            }
            largest = largest.max(gap);
        }
    }
    Ok(largest)
}
