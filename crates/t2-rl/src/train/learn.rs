//! One backward pass over some completions, and the figures that come off on the way.

use burn::prelude::*;
use t2_model::adapter::Active;
use t2_model::decoder::CausalLm;

use super::Activations;
use super::TrainError;
use super::batch::Batch;
use super::gradients::ZGradients;
use super::scores::{Scorer, Scores};
use super::states::{Reading, States, indices};
use super::trail::Trail;
use crate::metrics::{Sample, StepMetrics};
use crate::policy::{LossInputs, PolicyGradient};
use crate::rollout::Rollout;

/// Sums over the tokens that were scored, nats.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    tokens: f32,
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
            entropy: (self.tokens > 0.0).then(|| self.entropy / self.tokens),
            kl: self.kl.map(|kl| kl / self.tokens),
            grad_norm: 0.0,
            completion_len: lengths.clone().sum::<usize>() as f32 / n,
            completion_len_max: lengths.max().unwrap_or(0),
            tokens_per_sec: 0.0,
            logprob_gap: self.logprob_gap,
            expert_hash: String::new(),
        }
    }
}

/// A completion to learn from, with its advantage.
pub(super) type Row<'a> = (&'a Rollout, f32);

/// How completions become a gradient.
#[derive(Clone, Copy)]
pub(super) struct Learning<'a> {
    pub(super) policy: &'a dyn PolicyGradient,
    /// Completions of the whole step.
    pub(super) completions: usize,
    /// Positions whose logits exist at a time.
    pub(super) chunk: usize,
    pub(super) activations: Activations,
}

impl Learning<'_> {
    /// Learn from all `batches`: what there is to log, and the sum of their gradients.
    pub(super) fn all<M: CausalLm>(
        &self,
        model: &M,
        batches: &[Batch<'_>],
    ) -> Result<(Totals, ZGradients), TrainError> {
        let (mut totals, mut gradients) = (Totals::default(), ZGradients::of(model));
        for batch in batches {
            totals.add(self.backward(model, batch, &mut gradients)?);
        }
        Ok((totals, gradients))
    }

    /// Score the completions of `batch` again by the forward pass that sampled them, and go back through it; what comes of it
    /// is added to `gradients`.
    fn backward<M: CausalLm>(
        &self,
        model: &M,
        batch: &Batch<'_>,
        gradients: &mut ZGradients,
    ) -> Result<Totals, TrainError> {
        let device = model.devices()[0].clone();
        let plain = device.clone().without_autodiff();
        let needs = self.policy.needs();
        let [reading, reading_plain] = [&device, &plain].map(|device| Reading { batch, device });
        let trail = self.recomputes(model, batch).then(|| Trail::lay(&model.valid(), reading_plain));
        let States { hidden, places } = match &trail {
            Some(trail) => trail.states(model, reading),
            None => reading.states(model, Active::Own),
        };
        let base = needs.kl.map(|_| reading_plain.states(&model.valid(), Active::Base).hidden);
        let targets: Vec<usize> = places.iter().map(|&(row, t)| batch.completion(row)[t] as usize).collect();
        let scorer = Scorer { model, needs, chunk: self.chunk };
        let Scores { logprobs, kl, entropy } = scorer.scores(hidden, base, &targets);
        let columns = batch.completion_len();
        let grid = Grid { rows: batch.rows.len(), columns, places: &places };
        let scored = finite_all(logprobs.clone(), "log-probability of a token")?;
        let totals = Totals {
            tokens: places.len() as f32,
            entropy: finite(entropy.clone().sum(), "entropy")?,
            kl: kl.clone().map(|kl| finite(kl.sum(), "divergence from the base model")).transpose()?,
            logprob_gap: largest_gap(batch, &places, &scored),
        };
        let advantages: Vec<f32> = batch.rows.iter().map(|&(_, advantage)| advantage).collect();
        let loss = self.policy.loss(LossInputs {
            logprobs: grid.place(logprobs),
            sampled: needs.sampled.then(|| grid.place(sampled(batch, &places, &device))),
            kl: kl.map(|kl| grid.place(kl)),
            entropy: needs.entropy.then(|| grid.place(entropy)),
            advantages: Tensor::from_data(advantages.as_slice(), &device),
            mask: grid.place(Tensor::ones([places.len()], &device)),
            completions: self.completions,
        });
        finite(loss.clone(), "loss")?;
        match trail {
            Some(trail) => trail.back(model, reading, loss.backward(), gradients),
            None => gradients.add_of(loss.backward(), model),
        }
        Ok(totals)
    }

    /// Whether blocks are computed again. Rows that the model reads anew once they are long are read as a whole.
    fn recomputes(&self, model: &impl CausalLm, batch: &Batch<'_>) -> bool {
        let longest = batch.prompt_len() + batch.completion_len();
        self.activations == Activations::Recompute && model.shape().outgrown_at.is_none_or(|limit| longest <= limit)
    }
}

/// Completions as a rectangle, and which of its places hold a token.
struct Grid<'a> {
    rows: usize,
    columns: usize,
    /// Row and column of each token.
    places: &'a [(usize, usize)],
}

impl Grid<'_> {
    /// `values` `[tokens]` in their places and 0 elsewhere, `[rows, columns]`.
    fn place(&self, values: Tensor<1>) -> Tensor<2> {
        let device = values.device();
        let none = self.places.len();
        let mut index = vec![none; self.rows * self.columns];
        for (i, (row, column)) in self.places.iter().enumerate() {
            index[row * self.columns + column] = i;
        }
        let padded = Tensor::cat(vec![values, Tensor::zeros([1], &device)], 0);
        padded.select(0, indices(&index, &device)).reshape([self.rows, self.columns])
    }
}

/// Log-probabilities as sampled, `[tokens]`.
fn sampled(batch: &Batch<'_>, places: &[(usize, usize)], device: &Device) -> Tensor<1> {
    let values: Vec<f32> = places.iter().map(|&(row, t)| batch.rows[row].0.completion.logprobs[t]).collect();
    Tensor::from_data(values.as_slice(), device)
}

/// Largest difference between sampled and `scored` log-probabilities.
fn largest_gap(batch: &Batch<'_>, places: &[(usize, usize)], scored: &[f32]) -> f32 {
    let gap = |(&(row, t), scored): (&(usize, usize), &f32)| (batch.rows[row].0.completion.logprobs[t] - scored).abs();
    places.iter().zip(scored).map(gap).fold(0.0, f32::max)
}

/// The number in `[1]`, unless it is none.
fn finite(value: Tensor<1>, what: &'static str) -> Result<f32, TrainError> {
    match finite_all(value, what)?.as_slice() {
        &[value] => Ok(value),
        values => Err(TrainError::Sum { what, found: values.len() }),
    }
}

/// The numbers in `values`, unless one is none.
fn finite_all(values: Tensor<1>, what: &'static str) -> Result<Vec<f32>, TrainError> {
    let values = values.detach().try_into_vec_as::<f32>()?;
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(TrainError::NotFinite { what, step: 0 }) }
}

#[cfg(test)]
mod tests;
