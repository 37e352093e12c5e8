//! What goes wrong while a run runs: it ends, says why, learns nothing from it, and keeps the checkpoint before.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::prelude::*;
use t2_model::adapter::Expert;
use t2_rl::policy::{LossInputs, Needs, PolicyGradient, Reinforce};
use t2_rl::train::{TrainConfig, TrainError, TrainInputs};

use crate::tiny::{Spoilt, Tiny, bytes, config};

/// A checkpoint after every step, and several backward passes in each.
fn three_steps() -> TrainConfig {
    TrainConfig { steps: 3, save_every: 1, ..config() }
}

/// The expert after the first step is whole, and a run that goes on from it ends where one without a fault does.
#[track_caller]
fn check_first_step_is_kept(tiny: &Tiny, dir: &Path) {
    let kept = Expert::load(&dir.join("checkpoints/expert-1.safetensors")).unwrap();
    let (expected, steps) = tiny.run(&three_steps());
    assert_eq!(kept.hash().to_string(), steps[1].expert_hash);
    let (resumed, steps) = tiny.finish(&three_steps(), tiny.inputs(dir));
    assert_eq!(steps.iter().map(|step| step.step).collect::<Vec<_>>(), [2, 3]);
    assert!(bytes(&resumed) == bytes(&expected), "the experts differ");
}

#[track_caller]
fn check_rewards(spoil: fn(Vec<f32>) -> Vec<f32>, given: &str) {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let task = Spoilt::by(|step, rewards| if step == 1 { spoil(rewards) } else { rewards });
    let error = tiny.refusal(&three_steps(), TrainInputs { task: &task, ..tiny.inputs(dir.path()) });
    assert!(matches!(error, TrainError::Rewards { step: 2, expected: 16, .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("vowels") && message.contains(given) && message.contains("16 finite"), "{message}");
    check_first_step_is_kept(&tiny, dir.path());
}

#[test]
fn rewards_that_are_no_numbers_or_too_few_or_too_many_are_refused() {
    check_rewards(|rewards| with(rewards, 5, f32::NAN), "NaN at 5");
    check_rewards(|rewards| with(rewards, 0, f32::INFINITY), "inf at 0");
    check_rewards(|rewards| with(rewards, 15, f32::NEG_INFINITY), "-inf at 15");
    check_rewards(|rewards| rewards[1..].to_vec(), "15 numbers");
    check_rewards(|rewards| [&rewards[..], &[1.0]].concat(), "17 numbers");
    check_rewards(|_| vec![], "0 numbers");
}

fn with(mut values: Vec<f32>, index: usize, value: f32) -> Vec<f32> {
    values[index] = value;
    values
}

/// Plain REINFORCE, so that a run without the fault may go on, but for the advantages of a group or the loss of a
/// backward pass.
struct Broken {
    /// Groups that were asked for in all, and backward passes since the last of them.
    asked: [AtomicUsize; 2],
    /// Of the group with this number.
    advantages: fn(usize, Vec<f32>) -> Vec<f32>,
    /// Of this step and backward pass.
    loss: fn([usize; 2], Tensor<2>, Tensor<1>) -> Tensor<1>,
}

/// Without a fault.
fn sound() -> Broken {
    Broken { asked: Default::default(), advantages: |_, advantages| advantages, loss: |_, _, loss| loss }
}

impl PolicyGradient for Broken {
    fn describe(&self) -> String {
        Reinforce::PLAIN.describe()
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        self.asked[1].store(0, Ordering::Relaxed);
        (self.advantages)(self.asked[0].fetch_add(1, Ordering::Relaxed), Reinforce::PLAIN.advantages(rewards))
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        let logprobs = inputs.logprobs.clone();
        let step = self.asked[0].load(Ordering::Relaxed) / three_steps().prompts;
        let pass = self.asked[1].fetch_add(1, Ordering::Relaxed);
        (self.loss)([step, pass], logprobs, Reinforce::PLAIN.loss(inputs))
    }
}

#[track_caller]
fn check_policy(policy: &Broken, is_expected: fn(&TrainError) -> bool, said: &str) {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let error = tiny.refusal(&three_steps(), TrainInputs { policy, ..tiny.inputs(dir.path()) });
    assert!(is_expected(&error), "{error:?}");
    assert!(error.to_string().contains(said), "{error}");
    check_first_step_is_kept(&tiny, dir.path());
}

#[test]
fn advantages_that_are_no_numbers_or_too_few_are_refused() {
    let second_step = |error: &TrainError| matches!(error, TrainError::Advantages { step: 2, expected: 4, .. });
    let check = |advantages, said| check_policy(&Broken { advantages, ..sound() }, second_step, said);
    // Four groups a step: the sixth is the second of step 2.
    check(|group, advantages| if group == 5 { advantages[1..].to_vec() } else { advantages }, "3 numbers");
    check(|group, advantages| if group == 5 { with(advantages, 2, f32::NAN) } else { advantages }, "NaN at 2");
    check(|group, advantages| if group == 5 { with(advantages, 0, f32::INFINITY) } else { advantages }, "inf at 0");
}

#[test]
fn a_loss_or_gradient_that_is_no_number_ends_the_run_and_teaches_nothing() {
    let loss = |error: &TrainError| matches!(error, TrainError::NotFinite { what: "loss", step: 2 });
    let gradient = |error: &TrainError| matches!(error, TrainError::NotFinite { what: "gradient", step: 2 });
    // The second backward pass of step 2, after one that was sound.
    const FAULT: [usize; 2] = [2, 1];
    let nan = |pass, _, loss: Tensor<1>| if pass == FAULT { loss * f32::NAN } else { loss };
    check_policy(&Broken { loss: nan, ..sound() }, loss, "step 2: the loss is not finite");
    let infinite = |pass, _, loss: Tensor<1>| if pass == FAULT { loss + f32::INFINITY } else { loss };
    check_policy(&Broken { loss: infinite, ..sound() }, loss, "the checkpoints before it are kept");
    // The root of nothing is 0, and rises without bound there.
    let steep = |pass, logprobs: Tensor<2>, loss: Tensor<1>| {
        let nothing = (logprobs.clone() - logprobs.detach()).sqrt().sum();
        if pass == FAULT { loss + nothing } else { loss }
    };
    check_policy(&Broken { loss: steep, ..sound() }, gradient, "step 2: the gradient is not finite");
}
