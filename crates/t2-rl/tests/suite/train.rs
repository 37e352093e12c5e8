//! What training does: rewards rise, a divergence holds back, an algorithm gets what it asks for.

use std::sync::Mutex;

use burn::module::Module;
use burn::prelude::*;
use t2_model::adapter::{Active, Expert, ExpertInfo};
use t2_model::decoder::CausalLm;
use t2_rl::policy::{KlDirection, LossInputs, Needs, PolicyGradient, Reinforce};
use t2_rl::train::{Activations, TrainConfig, TrainInputs};

use crate::tiny::{Tiny, config};

/// Sampling goes token by token through the cache, scoring does not: some roundings of f32 log-probabilities near -6.
const LOGPROB_GAP: f32 = 1e-4;

/// How many seeds the rise of the reward is averaged over: one seed's last steps spread by 0.2.
const SEEDS: u64 = 3;

#[test]
fn the_reward_rises() {
    let tiny = Tiny::new();
    let train = |seed| {
        let config = TrainConfig {
            steps: 100,
            prompts: 8,
            group: 8,
            max_new_tokens: 3,
            learning_rate: 0.1,
            micro_batch_tokens: 4096,
            seed,
            ..config()
        };
        tiny.run(&config)
    };
    let runs: Vec<_> = (0..SEEDS).map(train).collect();
    let mean = |range: std::ops::Range<usize>| {
        let rewards = runs.iter().flat_map(|(_, metrics)| &metrics[range.clone()]).map(|step| step.reward_mean);
        rewards.sum::<f32>() / (runs.len() * range.len()) as f32
    };
    let (first, last) = (mean(0..5), mean(90..100));
    println!("reward {first:.2} -> {last:.2}");
    assert!(first < 0.0 && last > 0.5, "{first} -> {last}");
    for step in runs.iter().flat_map(|(_, metrics)| metrics) {
        assert!(step.logprob_gap < LOGPROB_GAP, "{step:?}");
        assert!(
            step.grad_norm.is_finite() && step.entropy.is_none_or(|entropy| entropy > 0.0) && step.kl.is_none(),
            "{step:?}"
        );
        assert!((1..=4).contains(&step.completion_len_max), "{step:?}");
    }
    let (expert, metrics) = &runs[0];
    // The first step samples from the base model, and every later one from another expert.
    let neutral = Expert::from_model(&tiny.model, tiny.info.clone()).unwrap();
    assert_eq!(metrics[0].expert_hash, neutral.hash().to_string());
    let mut hashes: Vec<&str> = metrics.iter().map(|step| step.expert_hash.as_str()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), metrics.len());
    assert_eq!(expert.info, tiny.info);
    assert_ne!(expert.hash(), neutral.hash());
}

/// Mean divergence from the base model over some text, nats per token.
fn divergence(tiny: &Tiny, expert: &Expert) -> f32 {
    let model = expert.apply_to(tiny.model.clone()).unwrap().valid();
    let ids = tiny.tokenizer.encode("Say vowel 3. The cat sat on the mat.").unwrap();
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, ids.len()]), &Device::flex());
    let logprobs = |active| burn::tensor::activation::log_softmax(model.forward(tokens.clone(), None, active), 2);
    let (new, base) = (logprobs(Active::Own), logprobs(Active::Base));
    (new.clone().exp() * (new - base)).sum_dim(2).mean().into_scalar::<f32>()
}

#[test]
fn a_divergence_in_the_loss_keeps_the_expert_near_the_base() {
    let tiny = Tiny::new();
    let config = TrainConfig { steps: 12, ..config() };
    let far = divergence(&tiny, &tiny.run(&config).0);
    for kl_direction in [KlDirection::NewToBase, KlDirection::BaseToNew] {
        let dir = tempfile::tempdir().unwrap();
        let policy = Reinforce { kl_weight: 2.0, kl_direction };
        let (expert, metrics) = tiny.finish(&config, TrainInputs { policy: &policy, ..tiny.inputs(dir.path()) });
        let near = divergence(&tiny, &expert);
        println!("{kl_direction:?}: {near:.4} instead of {far:.4} nats");
        assert!(near < far / 2.0, "{kl_direction:?}: {near} vs {far}");
        // Nothing diverges before the first step but the rounding of the factors.
        assert!(metrics[0].kl.unwrap().abs() < 1e-5 && metrics[11].kl.unwrap() > 0.0);
    }
}

/// An algorithm of one's own: the leave-one-out advantages, weighed by how much likelier a token became since it was
/// sampled, over several epochs. Keeps, for each step, the largest difference between the log-probabilities of each loss.
struct Ratio {
    epochs: usize,
    gaps: Mutex<Vec<Vec<f32>>>,
}

impl PolicyGradient for Ratio {
    fn describe(&self) -> String {
        format!("ratio, {} epochs", self.epochs)
    }

    fn needs(&self) -> Needs {
        Needs { epochs: self.epochs, sampled: true, ..Needs::default() }
    }

    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let mut gaps = self.gaps.lock().unwrap();
        if gaps.last().is_none_or(|step| !step.is_empty()) {
            gaps.push(vec![]);
        }
        Reinforce::PLAIN.advantages(rewards)
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        let LossInputs { logprobs, kl, entropy, sampled, advantages, mask, completions } = inputs;
        assert!(kl.is_none() && entropy.is_none(), "not asked for");
        let sampled = sampled.expect("asked for");
        let outside = sampled.clone() * (mask.clone().neg() + 1.0);
        assert_eq!(outside.abs().max().into_scalar::<f32>(), 0.0);
        let change = (logprobs - sampled) * mask.clone();
        let gap = change.clone().detach().abs().max().into_scalar();
        self.gaps.lock().unwrap().last_mut().unwrap().push(gap);
        let score = (change.exp() * mask).sum_dim(1).squeeze_dim::<1>(1);
        (score * advantages).sum().neg() / completions as f32
    }
}

#[test]
fn an_algorithm_gets_the_epochs_and_the_log_probabilities_it_asks_for() {
    let tiny = Tiny::new();
    let config = TrainConfig { steps: 3, micro_batch_tokens: 4096, ..config() };
    let run = |epochs| {
        let dir = tempfile::tempdir().unwrap();
        let policy = Ratio { epochs, gaps: Mutex::default() };
        let (expert, metrics) = tiny.finish(&config, TrainInputs { policy: &policy, ..tiny.inputs(dir.path()) });
        (expert, metrics, policy.gaps.into_inner().unwrap())
    };
    let (twice, metrics, gaps) = run(2);
    assert_eq!((gaps.len(), metrics.len()), (3, 3));
    for (step, gaps) in metrics.iter().zip(&gaps) {
        // The policy that is scored first is the one that sampled; then it has moved.
        let (first, second) = gaps.split_at(gaps.len() / 2);
        assert!(first.iter().all(|&gap| gap < LOGPROB_GAP), "{gaps:?}");
        assert!(second.iter().any(|&gap| gap > LOGPROB_GAP), "{gaps:?}");
        assert!(step.logprob_gap < LOGPROB_GAP, "{step:?}");
    }
    let (once, _, of_one) = run(1);
    assert_eq!(2 * of_one[0].len(), gaps[0].len());
    assert_ne!(once.hash(), twice.hash());
    // At the policy that sampled, the gradient of the ratio is that of its logarithm.
    let plain = tiny.run(&config).1;
    assert!((plain[0].grad_norm / metrics[0].grad_norm - 1.0).abs() < 1e-3, "{plain:?} vs {metrics:?}");
}

#[test]
fn micro_batches_and_recomputed_activations_change_the_memory_and_not_the_gradient() {
    let tiny = Tiny::new();
    let policy = Reinforce { kl_weight: 0.1, ..Reinforce::PLAIN };
    let first_step = |micro_batch_tokens, activations| {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig { steps: 1, micro_batch_tokens, activations, ..config() };
        let (_, metrics) = tiny.finish(&config, TrainInputs { policy: &policy, ..tiny.inputs(dir.path()) });
        metrics[0].clone()
    };
    let whole = first_step(4096, Activations::Keep);
    for parts in [first_step(20, Activations::Keep), first_step(40, Activations::Recompute)] {
        // The same sum in another order.
        assert!((whole.grad_norm / parts.grad_norm - 1.0).abs() < 1e-4, "{whole:?} vs {parts:?}");
        assert!((whole.entropy.unwrap() - parts.entropy.unwrap()).abs() < 1e-4, "{whole:?} vs {parts:?}");
        assert_eq!((whole.reward_mean, whole.completion_len), (parts.reward_mean, parts.completion_len));
    }
}

#[test]
fn what_an_expert_says_about_itself_is_what_the_run_was_told() {
    let mut tiny = Tiny::new();
    tiny.info = ExpertInfo { name: "a e i o u".to_owned(), training: "vowels".to_owned(), ..tiny.info };
    let (expert, _) = tiny.run(&TrainConfig { steps: 1, ..config() });
    assert_eq!(expert.info, tiny.info);
    assert_eq!(expert.info.base_model, tiny.model.base_hash());
}
