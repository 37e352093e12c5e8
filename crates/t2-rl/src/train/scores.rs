//! What the model says of each token of a completion, with logits of no more than a few positions at a time.
//!
//! A number such as `ln p(y)` depends on the final state `h` of its own position alone. So its value and its slope
//! `∂/∂h` are computed a chunk of positions at a time, and of the logits `[tokens, vocab]` nothing else is kept. Then
//! `value + (h - h₀) · slope`, where `h₀` is the same state as a constant, is a tensor of that value and that gradient,
//! and a loss is made of it as of any other.
//!
//! With the logits `x`, the distribution `p` under the policy and `q` under the base model:
//!
//! ```text
//! ln p(y)     = x_y - ln Σ_v exp(x_v)               ∂/∂x_v = [v = y] - p_v
//! H           = -Σ_v p_v ln p_v                     ∂/∂x_v = -p_v (ln p_v + H)
//! KL(p ‖ q)   = Σ_v p_v (ln p_v - ln q_v)           ∂/∂x_v = p_v (ln p_v - ln q_v - KL)
//! KL(q ‖ p)   = Σ_v q_v (ln q_v - ln p_v)           ∂/∂x_v = p_v - q_v
//! ```

use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, IndexingUpdateOp};
use t2_linalg::ops::{self, Likelihood};
use t2_model::decoder::CausalLm;

use super::states::indices;
use crate::policy::{KlDirection, Needs};

/// Logits that exist at a time, where several tensors are made of them: 8 MiB of f32 each.
const CHUNK: usize = 1 << 21;

/// The same where they are the only one: 32 MiB. The head is read for each chunk, and the fewer there are, the better.
const LONE_CHUNK: usize = 1 << 23;

/// Positions whose logits exist at a time, where a vocabulary has `vocab` tokens and a loss has these `needs`.
pub(super) fn chunk_len(vocab: usize, needs: Needs) -> usize {
    let logits = if needs.kl.is_some() || needs.entropy { CHUNK } else { LONE_CHUNK };
    (logits / vocab).max(1)
}

/// A number for each token, `[tokens]`.
pub(super) struct Scores {
    /// Log-probability under the policy; differentiable.
    pub(super) logprobs: Tensor<1>,
    /// Divergence from the base model, where a loss needs it; differentiable.
    pub(super) kl: Option<Tensor<1>>,
    /// Entropy of what the token was drawn from; differentiable where a loss needs it.
    pub(super) entropy: Tensor<1>,
}

/// The head, and what is asked of it.
pub(super) struct Scorer<'a, M> {
    pub(super) model: &'a M,
    pub(super) needs: Needs,
    /// Positions whose logits exist at a time.
    pub(super) chunk: usize,
}

impl<M: CausalLm> Scorer<'_, M> {
    /// Score the tokens `targets`, which the final states `hidden` `[tokens, d_model]` predict. The base model predicts them
    /// by `base` of the same shape, constants, which the divergence needs.
    pub(super) fn scores(&self, hidden: Tensor<2>, base: Option<Tensor<2>>, targets: &[usize]) -> Scores {
        let tokens = targets.len();
        let states = hidden.clone().inner();
        let plain = self.needs.kl.map(|direction| (direction, self.model.valid()));
        let mut lines = Lines::default();
        for start in (0..tokens).step_by(self.chunk) {
            let range = start..(start + self.chunk).min(tokens);
            let of = |states: &Tensor<2>| states.clone().slice_dim(0, range.clone());
            let base = plain.as_ref().zip(base.as_ref());
            let base = base.map(|((direction, plain), base)| (*direction, logits(plain, of(base))));
            self.chunk(of(&states), base, &targets[range.clone()], &mut lines);
        }
        let Lines { logprobs, kl, entropy } = lines;
        Scores {
            logprobs: logprobs.through(&hidden),
            kl: self.needs.kl.map(|_| kl.through(&hidden)),
            entropy: entropy.through(&hidden),
        }
    }

    /// Add the numbers of a chunk to `lines`: `states` `[tokens, d_model]`, `base` logits `[tokens, vocab]`, a target for
    /// each token.
    fn chunk(&self, states: Tensor<2>, base: Option<(KlDirection, Tensor<2>)>, targets: &[usize], lines: &mut Lines) {
        let traced = Traced::of(self.model, states.clone());
        let traced = match base.is_none() && !self.needs.entropy {
            true => match traced.likelihood(targets, lines) {
                Ok(()) => return,
                Err(traced) => *traced,
            },
            false => traced,
        };
        let targets = indices(targets, &states.device()).unsqueeze_dim::<2>(1);
        let again = |slope: Tensor<2>| Traced::of(self.model, states.clone()).back(slope);
        let policy = Distribution::of(traced.logits.clone().inner());
        if let Some((direction, base)) = base {
            let (kl, slope) = policy.clone().divergence(direction, Distribution::of(base));
            lines.kl.push(kl, Some(again(slope)));
        }
        let Distribution { x, ln_sum, p } = policy;
        let entropy = ln_sum.clone() - (p.clone() * x.clone()).sum_dim(1);
        let slope = |entropy: Tensor<2>| (p.clone() * (x.clone() - ln_sum.clone() + entropy)).neg();
        lines.entropy.push(entropy.clone(), self.needs.entropy.then(|| again(slope(entropy))));
        let logprobs = x.gather(1, targets.clone()) - ln_sum;
        let ones = Tensor::ones(targets.dims(), &p.device());
        let slope = p.neg().scatter(1, targets, ones, IndexingUpdateOp::Add);
        lines.logprobs.push(logprobs, Some(traced.back(slope)));
    }
}

/// What is known of each number, chunk after chunk.
#[derive(Default)]
struct Lines {
    logprobs: Line,
    kl: Line,
    entropy: Line,
}

/// Values, `[tokens, 1]` a chunk, and their slopes in the final states, `[tokens, d_model]`; none of constants.
#[derive(Default)]
struct Line {
    values: Vec<Tensor<2>>,
    slopes: Vec<Tensor<2>>,
}

impl Line {
    fn push(&mut self, values: Tensor<2>, slopes: Option<Tensor<2>>) {
        self.values.push(values);
        self.slopes.extend(slopes);
    }

    /// The values as a function of the states `hidden` `[tokens, d_model]`, `[tokens]`.
    fn through(self, hidden: &Tensor<2>) -> Tensor<1> {
        let values = Tensor::from_inner(Tensor::cat(self.values, 0)).squeeze_dim(1);
        if self.slopes.is_empty() {
            return values;
        }
        let hidden = hidden.clone().cast(DType::F32);
        let moved = hidden.clone() - hidden.detach();
        values + (moved * Tensor::from_inner(Tensor::cat(self.slopes, 0))).sum_dim(1).squeeze_dim(1)
    }
}

/// Logits `[tokens, vocab]` in f32 that remember the states they were made of, `[tokens, d_model]`.
struct Traced {
    states: Tensor<2>,
    logits: Tensor<2>,
}

impl Traced {
    fn of(model: &impl CausalLm, states: Tensor<2>) -> Self {
        let states = Tensor::from_inner(states).require_grad();
        Self { logits: logits(model, states.clone()), states }
    }

    /// Add log-probabilities of `targets` with their slope, and entropies without one, to `lines`, by one pass over the
    /// logits; `self` where there is none.
    fn likelihood(self, targets: &[usize], lines: &mut Lines) -> Result<(), Box<Self>> {
        let Self { states, logits } = self;
        let Likelihood { sum, logprobs, entropy } = match ops::likelihood(logits, targets) {
            Ok(likelihood) => likelihood,
            Err(logits) => return Err(Box::new(Self { states, logits: *logits })),
        };
        let mut gradients = sum.backward();
        let slope = states.grad_remove(&mut gradients).expect("logits depend on the states");
        lines.logprobs.push(logprobs.unsqueeze_dim(1), Some(slope.cast(DType::F32)));
        lines.entropy.push(entropy.unsqueeze_dim(1), None);
        Ok(())
    }

    /// The slope in the states, f32 `[tokens, d_model]`, of what has the slope `slope` `[tokens, vocab]` in the logits.
    fn back(self, slope: Tensor<2>) -> Tensor<2> {
        // The gradient of a tensor is that of the sum of its numbers.
        let mut gradients = (self.logits * Tensor::from_inner(slope)).backward();
        self.states.grad_remove(&mut gradients).expect("logits depend on the states").cast(DType::F32)
    }
}

/// Logits in f32, `[tokens, vocab]`, for final states `[tokens, d_model]`.
fn logits(model: &impl CausalLm, states: Tensor<2>) -> Tensor<2> {
    model.logits(states.unsqueeze_dim(0)).squeeze_dim::<2>(0).cast(DType::F32)
}

/// Distributions over the vocabulary, a row for each position.
#[derive(Clone)]
struct Distribution {
    /// Logits, `[tokens, vocab]`.
    x: Tensor<2>,
    /// `ln Σ_v exp(x_v)`, `[tokens, 1]`: log-probabilities are `x - ln_sum`.
    ln_sum: Tensor<2>,
    /// Probabilities, `[tokens, vocab]`.
    p: Tensor<2>,
}

impl Distribution {
    fn of(logits: Tensor<2>) -> Self {
        let p = softmax(logits.clone(), 1);
        // The largest logit has the largest probability, which is no smaller than one over the size of the vocabulary.
        let ln_sum = logits.clone().max_dim(1) - p.clone().max_dim(1).log();
        Self { x: logits, ln_sum, p }
    }

    /// How far `self` is from the distributions `base`, `[tokens, 1]`, and the slope of that in the logits of `self`,
    /// `[tokens, vocab]`.
    fn divergence(self, direction: KlDirection, base: Self) -> (Tensor<2>, Tensor<2>) {
        let ln_ratio = (self.x - base.x) - (self.ln_sum - base.ln_sum);
        match direction {
            KlDirection::NewToBase => {
                let kl = (self.p.clone() * ln_ratio.clone()).sum_dim(1);
                (kl.clone(), self.p * (ln_ratio - kl))
            }
            KlDirection::BaseToNew => ((base.p.clone() * ln_ratio).sum_dim(1).neg(), self.p - base.p),
        }
    }
}
