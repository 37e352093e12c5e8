//! Learning as it is written down: every row by itself, logits of every position at once, and automatic differentiation
//! through all of it. What is fast is compared with it.

use std::sync::{LazyLock, Mutex};

use burn::module::{ModuleMapper, Param};
use burn::tensor::activation::log_softmax;
use t2_model::decoder::config::{BlockKind, Rotary, ScaleConfig};
use t2_model::decoder::{Decoder, DecoderConfig};
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::generate::score::Sequences;
use t2_model::generate::{Completion, FinishReason};

use super::super::batch::batches;
use super::*;
use crate::policy::{KlDirection, Needs, Reinforce};

/// Sums of some hundred f32 numbers in another order, by the largest of them.
const TOLERANCE: f32 = 2e-5;
/// The same, of numbers near one.
const FIGURE: f32 = 2e-5;
/// What a policy gradient says of a loss of its own.
const OWN: &str = "a loss of its own";

/// A policy gradient that keeps what its losses came to.
struct Heard<'a> {
    inner: &'a dyn PolicyGradient,
    losses: Mutex<Vec<f32>>,
}

impl PolicyGradient for Heard<'_> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        rewards.to_vec()
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        let loss = self.inner.loss(inputs);
        self.losses.lock().unwrap().push(loss.clone().into_scalar());
        loss
    }
}

/// A policy gradient with a loss of its own.
struct Own {
    needs: Needs,
    loss: fn(LossInputs) -> Tensor<1>,
}

impl PolicyGradient for Own {
    fn describe(&self) -> String {
        OWN.to_owned()
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        rewards.to_vec()
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        (self.loss)(inputs)
    }
}

/// Sum over a row of what its tokens have, `[batch]`.
fn by_row(values: Tensor<2>) -> Tensor<1> {
    values.sum_dim(1).squeeze_dim(1)
}

/// How much likelier each token became, clipped as in proximal policy optimization.
fn clipped(inputs: LossInputs) -> Tensor<1> {
    let ratio = (inputs.logprobs - inputs.sampled.unwrap()).exp();
    let advantages = inputs.advantages.unsqueeze_dim::<2>(1);
    let gains = (ratio.clone() * advantages.clone()).min_pair(ratio.clamp(0.8, 1.2) * advantages);
    (gains * inputs.mask).sum().neg() / inputs.completions as f32
}

/// How much likelier each whole completion became: no sum over tokens.
fn of_sequences(inputs: LossInputs) -> Tensor<1> {
    let change = by_row((inputs.logprobs - inputs.sampled.unwrap()) * inputs.mask.clone());
    let ratio = (change / by_row(inputs.mask)).exp();
    (ratio * inputs.advantages).sum().neg() / inputs.completions as f32
}

/// A divergence from the policy that sampled, estimated from the tokens: it does not go by the advantage.
fn from_the_sampler(inputs: LossInputs) -> Tensor<1> {
    let change = inputs.sampled.unwrap() - inputs.logprobs;
    ((change.clone().exp() - change - 1.0) * inputs.mask).sum() / inputs.completions as f32
}

fn with_entropy(inputs: LossInputs) -> Tensor<1> {
    let score = by_row(inputs.logprobs * inputs.mask.clone()) * inputs.advantages;
    let entropy = (inputs.entropy.unwrap() * inputs.mask).sum();
    (score.sum() + entropy * 0.3).neg() / inputs.completions as f32
}

fn with_everything(inputs: LossInputs) -> Tensor<1> {
    let divergence = (inputs.kl.clone().unwrap() * inputs.mask.clone()).sum().square();
    divergence * 0.1 + with_entropy(inputs.clone()) + of_sequences(inputs)
}

static PLAIN: Reinforce = Reinforce::PLAIN;

fn policies() -> Vec<Box<dyn PolicyGradient>> {
    let diverging = |kl_direction| Box::new(Reinforce { kl_weight: 0.7, kl_direction }) as Box<dyn PolicyGradient>;
    let own = |needs, loss| Box::new(Own { needs, loss }) as Box<dyn PolicyGradient>;
    let sampled = Needs { sampled: true, ..Needs::default() };
    vec![
        Box::new(PLAIN),
        diverging(KlDirection::NewToBase),
        diverging(KlDirection::BaseToNew),
        own(Needs { entropy: true, ..Needs::default() }, with_entropy),
        own(sampled, clipped),
        own(sampled, of_sequences),
        own(Needs { idle_rows: true, ..sampled }, from_the_sampler),
        own(Needs { entropy: true, kl: Some(KlDirection::NewToBase), ..sampled }, with_everything),
    ]
}

/// A completion of `prompt` by `ids`, sampled by a policy that was another.
fn rollout(prompt: &[u32], ids: &[u32]) -> Rollout {
    let logprobs = ids.iter().map(|&id| -3.5 - 0.1 * (id % 7) as f32).collect();
    let completion = Completion { ids: ids.to_vec(), logprobs, finish: FinishReason::Length };
    Rollout { prompt: prompt.to_vec(), completion, text: String::new() }
}

/// Ragged completions of three prompts; one has no advantage.
static RAGGED: LazyLock<Vec<(Rollout, f32)>> = LazyLock::new(|| {
    let long = [9, 8, 7, 6, 5, 4, 3];
    vec![
        (rollout(&[1, 2, 3], &[4]), 1.0),
        (rollout(&[1, 2, 3], &[5, 6, 7, 8, 9]), -0.5),
        (rollout(&[1, 2, 3], &[6, 6]), 0.0),
        (rollout(&long, &[2, 1, 2]), 0.25),
        (rollout(&long, &[1; 9]), 2.0),
        (rollout(&[4], &[3, 2]), -1.0),
    ]
});

/// Completions too different in length for one pass.
static MANY: LazyLock<Vec<(Rollout, f32)>> = LazyLock::new(|| {
    let ids = |len: u32| (0..len).map(|i| (i * i + len) % 50).collect::<Vec<_>>();
    (0..12_u16)
        .map(|row| (rollout(&[7, u32::from(row) / 4], &ids(20 + u32::from(row))), f32::from(row) - 5.5))
        .collect()
});

fn plain() -> DecoderConfig {
    DecoderConfig { vocab: 50, tied_head: true, ..DecoderConfig::tiny() }
}

/// Windows, two rotary encodings, and logits that are divided and kept within bounds.
fn switched() -> DecoderConfig {
    let kinds = vec![BlockKind { window: Some(3), rotary: Rotary::Local }, BlockKind::PLAIN];
    let scale = ScaleConfig { logits_divisor: Some(0.25), logits_cap: Some(3.0), ..ScaleConfig::default() };
    let local_rope = Some(DecoderConfig::tiny().rope);
    DecoderConfig { kinds, local_rope, scale, tied_head: false, ..plain() }
}

/// A random model whose scales are away from one, each by another number.
fn model(config: &DecoderConfig, targets: Targets) -> Decoder {
    struct Shaken;
    impl ModuleMapper for Shaken {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !param.base().is_require_grad() {
                return param;
            }
            param.map(|z| {
                let shape = z.shape();
                let shaken = (0..shape.num_elements()).map(|i| 1.0 + 0.3 * (i as f32 * 1.7).sin()).collect::<Vec<_>>();
                Tensor::from_data(TensorData::new(shaken, shape), &z.device()).set_require_grad(true)
            })
        }
    }
    let device = Device::flex();
    device.seed(11);
    let base = config.init(&device);
    base.clone().trainable(&Decomposition::of(&base, targets).unwrap()).unwrap().map(&mut Shaken)
}

/// What learning from some rows gives.
struct Learned {
    loss: f32,
    entropy: f32,
    kl: Option<f32>,
    /// Of every scale, weight after weight.
    gradient: Vec<f32>,
}

fn flat(mut gradients: ZGradients) -> Vec<f32> {
    let ids: Vec<_> = gradients.ids().collect();
    ids.into_iter().flat_map(|id| gradients.take(id).unwrap().try_into_vec_as::<f32>().unwrap()).collect()
}

/// As it is written down; figures are means over the tokens of the rows that the policy gradient needs.
fn reference(model: &Decoder, policy: &dyn PolicyGradient, rows: &[(Rollout, f32)]) -> Learned {
    let device = model.devices()[0].clone();
    let needs = policy.needs();
    let mut gradients = ZGradients::of(model);
    let (mut loss, mut entropies, mut kls, mut tokens) = (0.0, 0.0, 0.0, 0.0);
    for (rollout, advantage) in rows {
        let Rollout { prompt, completion, .. } = rollout;
        let sequences = Sequences::new(&[(prompt, &completion.ids)], &device).unwrap();
        let new = sequences.log_softmax(model, Active::Own).unwrap();
        let hidden = model.hidden(sequences.inputs.clone(), None, Active::Base);
        let base = log_softmax(model.logits(hidden), 2).slice_dim(1, sequences.start..).detach();
        let summed = |values: Tensor<3>| values.sum_dim(2).squeeze_dim::<2>(2);
        let kl = needs.kl.map(|direction| match direction {
            KlDirection::NewToBase => summed(new.clone().exp() * (new.clone() - base.clone())),
            KlDirection::BaseToNew => summed(base.clone().exp() * (base - new.clone())),
        });
        let entropy = summed(new.clone().exp() * new.clone()).neg();
        if needs.has_row(*advantage) {
            tokens += completion.ids.len() as f32;
            entropies += entropy.clone().sum().into_scalar::<f32>();
            kls += kl.clone().map_or(0.0, |kl| kl.sum().into_scalar::<f32>());
        }
        let inputs = LossInputs {
            logprobs: sequences.chosen(new),
            sampled: needs.sampled.then(|| Tensor::<1>::from_floats(&*completion.logprobs, &device).unsqueeze()),
            kl,
            entropy: needs.entropy.then_some(entropy),
            advantages: Tensor::from_floats([*advantage], &device),
            mask: sequences.mask,
            completions: rows.len(),
        };
        let of_row = policy.loss(inputs);
        loss += of_row.clone().into_scalar::<f32>();
        gradients.add_of(of_row.backward(), model);
    }
    let kl = needs.kl.map(|_| kls / tokens);
    Learned { loss, entropy: entropies / tokens, kl, gradient: flat(gradients) }
}

/// As training does it.
fn learned(
    model: &Decoder,
    policy: &dyn PolicyGradient,
    rows: &[(Rollout, f32)],
    [budget, chunk]: [usize; 2],
    activations: Activations,
) -> Learned {
    let heard = Heard { inner: policy, losses: Mutex::default() };
    let learning = Learning { policy: &heard, completions: rows.len(), chunk, activations };
    let needed = rows.iter().map(|(rollout, advantage)| (rollout, *advantage));
    let needed = needed.filter(|&(_, advantage)| policy.needs().has_row(advantage)).collect();
    let (totals, gradients) = learning.all(model, &batches(needed, budget)).unwrap();
    let Totals { tokens, entropy, kl, .. } = totals;
    let loss = heard.losses.into_inner().unwrap().iter().sum();
    Learned { loss, entropy: entropy / tokens, kl: kl.map(|kl| kl / tokens), gradient: flat(gradients) }
}

#[track_caller]
fn check(model: &Decoder, policy: &dyn PolicyGradient, rows: &[(Rollout, f32)], size: [usize; 2]) {
    let expected = reference(model, policy, rows);
    for activations in [Activations::Keep, Activations::Recompute] {
        check_same(
            &learned(model, policy, rows, size, activations),
            &expected,
            &format!("{}, {size:?}, {activations:?}", policy.describe()),
        );
    }
}

#[track_caller]
fn check_same(found: &Learned, expected: &Learned, what: &str) {
    let largest = expected.gradient.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
    assert!(largest > 1e-3, "there is something to compare: {largest}");
    let pairs = found.gradient.iter().zip(&expected.gradient);
    let error = pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max) / largest;
    assert!(error < TOLERANCE, "{what}: the gradients differ by {error} of the largest");
    let near = |found: f32, expected: f32| (found - expected).abs() < FIGURE * expected.abs().max(1.0);
    assert!(near(found.loss, expected.loss), "{what}: {} vs {}", found.loss, expected.loss);
    assert!(near(found.entropy, expected.entropy), "{} vs {}", found.entropy, expected.entropy);
    assert_eq!(found.kl.is_some(), expected.kl.is_some());
    assert!(near(found.kl.unwrap_or(0.0), expected.kl.unwrap_or(0.0)), "{:?} vs {:?}", found.kl, expected.kl);
}

/// Sizes that the rows fit in, and sizes that cut them: tokens of a backward pass, and positions of a chunk of which the
/// last is shorter.
const SIZES: [[usize; 2]; 3] = [[4096, 4096], [24, 4], [1, 1]];

#[test]
fn every_policy_gradient_learns_what_is_written_down() {
    let model = model(&plain(), Targets::ALL);
    for policy in policies() {
        // A loss that is no sum over rows is another when the rows are cut.
        let sizes = if policy.needs().entropy && policy.needs().sampled { &SIZES[2..] } else { &SIZES[..] };
        sizes.iter().for_each(|&size| check(&model, &*policy, &RAGGED, size));
    }
}

#[test]
fn targets_windows_and_bounded_logits_make_no_difference() {
    let policy = Reinforce { kl_weight: 0.7, ..Reinforce::PLAIN };
    for config in [plain(), switched()] {
        for targets in [Targets::MLP, Targets::ATTN, Targets::ALL] {
            check(&model(&config, targets), &policy, &RAGGED, [24, 4]);
        }
    }
}

#[test]
fn more_completions_than_one_pass_takes_are_learned_from() {
    let model = model(&switched(), Targets::ALL);
    check(&model, &PLAIN, &MANY, [4096, 64]);
    check(&model, &PLAIN, &MANY, [200, 7]);
}

#[test]
fn without_an_advantage_nothing_is_read() {
    let model = model(&plain(), Targets::ALL);
    let idle: Vec<_> = RAGGED.iter().map(|(rollout, _)| (rollout.clone(), 0.0)).collect();
    let found = learned(&model, &PLAIN, &idle, [4096, 4096], Activations::Keep);
    assert!(found.entropy.is_nan() && found.loss == 0.0);
    assert!(found.gradient.iter().all(|&g| g == 0.0));
}
