//! What training does: rewards rise, a divergence holds back, nonsense is refused.

use burn::module::Module;
use burn::prelude::*;
use t2_model::decoder::CausalLm;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::adapter::Active;
use t2_rl::policy::{KlDirection, kl};
use t2_rl::rollout::RolloutError;
use t2_rl::train::{Setting, TrainConfig, TrainError};

use crate::tiny::{Tiny, config};

/// Sampling goes token by token through the cache, scoring does not: some roundings of f32 log-probabilities near -6.
const LOGPROB_GAP: f32 = 1e-4;

#[test]
fn the_reward_rises() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 100,
        prompts: 8,
        group: 8,
        max_new_tokens: 3,
        learning_rate: 0.1,
        micro_batch: 64,
        ..config()
    };
    let (expert, metrics) = tiny.train(&config, dir.path(), usize::MAX).unwrap();
    let mean = |range: std::ops::Range<usize>| {
        let rewards = &metrics[range];
        rewards.iter().map(|step| step.reward_mean).sum::<f32>() / rewards.len() as f32
    };
    let (first, last) = (mean(0..5), mean(90..100));
    println!("reward {first:.2} -> {last:.2}");
    assert!(first < 0.0 && last > 0.5, "{first} -> {last}");
    for step in &metrics {
        assert!(step.logprob_gap < LOGPROB_GAP, "{step:?}");
        assert!(step.grad_norm.is_finite() && step.entropy > 0.0 && step.kl.is_none(), "{step:?}");
        assert!((1..=4).contains(&step.completion_len_max), "{step:?}");
    }
    // The first step samples from the base model, and every later one from another expert.
    let neutral = Expert::from_model(&tiny.model, tiny.info.clone());
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
    kl(KlDirection::NewToBase, logprobs(Active::Own), logprobs(Active::Base)).mean().into_scalar::<f32>()
}

#[test]
fn a_divergence_in_the_loss_keeps_the_expert_near_the_base() {
    let tiny = Tiny::new();
    let free = TrainConfig { steps: 12, ..config() };
    let run = |config: &TrainConfig| tiny.train(config, tempfile::tempdir().unwrap().path(), usize::MAX).unwrap();
    let far = divergence(&tiny, &run(&free).0);
    for kl_direction in [KlDirection::NewToBase, KlDirection::BaseToNew] {
        let (expert, metrics) = run(&TrainConfig { kl_weight: 2.0, kl_direction, ..free.clone() });
        let near = divergence(&tiny, &expert);
        println!("{kl_direction:?}: {near:.4} instead of {far:.4} nats");
        assert!(near < far / 2.0, "{kl_direction:?}: {near} vs {far}");
        // Nothing diverges before the first step but the rounding of the factors.
        assert!(metrics[0].kl.unwrap().abs() < 1e-5 && metrics[11].kl.unwrap() > 0.0);
    }
}

#[track_caller]
fn check_config(change: impl Fn(&mut TrainConfig), name: &str) {
    let mut config = config();
    change(&mut config);
    let dir = tempfile::tempdir().unwrap();
    let error = Tiny::new().train(&config, dir.path(), usize::MAX).unwrap_err();
    assert!(matches!(error, TrainError::Config { name: found, .. } if found == name), "{error:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    check_config(|config| config.steps = 0, "steps");
    check_config(|config| config.prompts = 0, "prompts");
    check_config(|config| config.max_new_tokens = 0, "max_new_tokens");
    check_config(|config| config.micro_batch = 0, "micro_batch");
    check_config(|config| config.save_every = 0, "save_every");
    check_config(|config| config.group = 1, "group");
    check_config(|config| config.learning_rate = 0.0, "learning_rate");
    check_config(|config| config.learning_rate = f64::NAN, "learning_rate");
    check_config(|config| config.max_grad_norm = -1.0, "max_grad_norm");
    check_config(|config| config.kl_weight = -0.1, "kl_weight");
    check_config(|config| config.kl_weight = f32::NAN, "kl_weight");
}

#[test]
fn problems_that_cannot_be_asked_are_refused() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let run = |setting: Setting<'_>, config: &TrainConfig| {
        t2_rl::train::train(tiny.model.clone(), config, setting, |_| std::ops::ControlFlow::Continue(()))
    };
    let none = run(Setting { problems: &[], ..tiny.setting(dir.path()) }, &config()).unwrap_err();
    assert!(matches!(none, TrainError::NoProblems { .. }) && none.to_string().contains("vowels"), "{none}");
    let long = TrainConfig { max_new_tokens: 60, ..config() };
    let too_long = run(tiny.setting(dir.path()), &long).unwrap_err();
    assert!(matches!(too_long, TrainError::Rollout(RolloutError::Generate(_))), "{too_long}");
    let mut empty = tiny.problems.clone();
    empty.iter_mut().for_each(|problem| problem.question.clear());
    let empty = run(Setting { problems: &empty, ..tiny.setting(dir.path()) }, &config()).unwrap_err();
    assert!(matches!(empty, TrainError::Rollout(RolloutError::Generate(_))), "{empty}");
}

#[test]
fn micro_batches_change_the_memory_and_not_the_gradient() {
    let tiny = Tiny::new();
    let expert = |micro_batch| {
        let config = TrainConfig { steps: 1, micro_batch, kl_weight: 0.1, ..config() };
        let (expert, metrics) = tiny.train(&config, tempfile::tempdir().unwrap().path(), usize::MAX).unwrap();
        (expert, metrics[0].clone())
    };
    let ((_, whole), (_, parts)) = (expert(16), expert(3));
    // The same sum in another order.
    assert!((whole.grad_norm / parts.grad_norm - 1.0).abs() < 1e-4, "{whole:?} vs {parts:?}");
    assert!((whole.entropy - parts.entropy).abs() < 1e-4, "{whole:?} vs {parts:?}");
    assert_eq!((whole.reward_mean, whole.completion_len), (parts.reward_mean, parts.completion_len));
}

#[test]
fn what_an_expert_says_about_itself_is_what_the_run_was_told() {
    let mut tiny = Tiny::new();
    tiny.info = ExpertInfo { targets: "mlp,attn".to_owned(), training: "vowels".to_owned(), ..tiny.info };
    let config = TrainConfig { steps: 1, ..config() };
    let (expert, _) = tiny.train(&config, tempfile::tempdir().unwrap().path(), usize::MAX).unwrap();
    assert_eq!(expert.info, tiny.info);
}
