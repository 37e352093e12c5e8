//! Grading a model on a task.

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::module::Module;
use t2_model::adapter::Active;
use t2_model::decoder::Decoder;
use t2_model::generate::{FinishReason, GenerateConfig, Sampling};
use t2_rl::evaluate::{EvaluateConfig, EvaluateError, Evaluation, evaluate_with};
use t2_task::{Example, Split, Task};

use crate::tiny::{Spoilt, Tiny, Vowels};

/// Tokens of an answer.
const ANSWER: usize = 4;

/// A model, and twelve questions to it.
struct Graded {
    tiny: Tiny,
    model: Decoder,
    examples: Vec<Example>,
}

impl Graded {
    fn new() -> Self {
        let tiny = Tiny::new();
        let model = tiny.model.valid();
        Self { tiny, model, examples: Vowels("vowels").load(Split::Test, 12).unwrap() }
    }

    /// `examples` put to the model, five at a time; `progress` sees how many are answered.
    fn evaluate<'a>(
        &self,
        task: &dyn Task,
        examples: &'a [Example],
        generate: &GenerateConfig,
        progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Evaluation<'a>, EvaluateError> {
        let config = EvaluateConfig { generate, active: Active::Own, batch: 5 };
        evaluate_with(&self.model, &self.tiny.tokenizer, task, examples, config, progress)
    }
}

/// Any token, and none of them ends the answer.
fn endless() -> GenerateConfig {
    GenerateConfig { max_new_tokens: ANSWER, sampling: Sampling::PLAIN, stop: vec![] }
}

fn go_on(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn every_example_is_answered_and_graded() {
    let graded = Graded::new();
    let (task, examples) = (&graded.tiny.task, &graded.examples);
    let seen = RefCell::new(vec![]);
    let watch = |done| {
        seen.borrow_mut().push(done);
        ControlFlow::Continue(())
    };
    let found = graded.evaluate(task, examples, &endless(), watch).unwrap();
    assert_eq!(found.examples, examples.iter().collect::<Vec<_>>());
    let answers: Vec<_> = examples.iter().zip(found.rollouts.iter().map(|rollout| rollout.text.as_str())).collect();
    assert_eq!(found.rewards, task.rewards(&answers).unwrap());
    assert!(found.skipped.is_empty());
    let right = found.rewards.iter().filter(|&&reward| reward > 0.0).count();
    let accuracy = found.accuracy();
    assert_eq!((accuracy.n, accuracy.accuracy), (12, right as f64 / 12.0));
    assert!((1..12).contains(&right) && 0.0 < accuracy.low && accuracy.high < 1.0, "{accuracy:?}");
    assert!(accuracy.low < accuracy.accuracy && accuracy.accuracy < accuracy.high, "{accuracy:?}");
    // Once a token, and once a batch.
    let seen = seen.into_inner();
    assert_eq!(seen.len(), 12 * ANSWER + 3);
    assert!(seen.is_sorted() && seen.first() == Some(&0) && seen.last() == Some(&12), "{seen:?}");
}

#[test]
fn answers_that_were_cut_off_are_counted() {
    let graded = Graded::new();
    let cut = |stop: Vec<u32>| {
        let generate = GenerateConfig { stop, ..endless() };
        let found = graded.evaluate(&graded.tiny.task, &graded.examples, &generate, go_on).unwrap();
        let ended = found.rollouts.iter().filter(|rollout| rollout.completion.finish == FinishReason::Stop).count();
        assert_eq!(found.cut() + ended, 12);
        found.cut()
    };
    assert_eq!(cut(vec![]), 12);
    assert_eq!(cut((0..300).collect()), 0);
    let some = cut((0..40).collect());
    assert!((1..12).contains(&some), "{some}");
}

#[test]
fn examples_that_are_too_long_are_left_out() {
    let graded = Graded::new();
    let task = &graded.tiny.task;
    let mut examples = graded.examples.clone();
    examples[2].question = "again and ".repeat(40);
    let found = graded.evaluate(task, &examples, &endless(), go_on).unwrap();
    assert_eq!(found.skipped.iter().map(|skipped| skipped.index).collect::<Vec<_>>(), [2]);
    assert_eq!([found.examples.len(), found.rollouts.len(), found.rewards.len(), found.accuracy().n], [11; 4]);
    assert!(!found.examples.contains(&&examples[2]));
    let generate = GenerateConfig { max_new_tokens: 60, ..endless() };
    let error = graded.evaluate(task, &examples, &generate, go_on).unwrap_err();
    assert!(matches!(error, EvaluateError::NothingFits { skipped: 12, .. }), "{error:?}");
    assert!(error.to_string().contains("lower max_new_tokens"), "{error}");
    assert_eq!(graded.evaluate(task, &[], &endless(), go_on).unwrap().accuracy().n, 0);
}

/// Breaks off in the call of this number, and is not asked again; `answered` is how many answers there are by then.
#[track_caller]
fn check_broken_off(call: usize, answered: usize) {
    let graded = Graded::new();
    let mut left = call;
    let countdown = |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ended = graded.evaluate(&graded.tiny.task, &graded.examples, &endless(), countdown);
    match ended {
        Ok(all) => assert_eq!((all.rewards.len(), answered), (12, 12)),
        Err(EvaluateError::Interrupted { done, total: 12 }) if answered < 12 => assert_eq!(done, answered),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn an_evaluation_can_be_broken_off_within_and_after_a_batch() {
    let (batch, last) = (5 * ANSWER, 2 * ANSWER);
    check_broken_off(1, 0);
    check_broken_off(batch - 1, 0);
    // The last token of a batch, and the end of it.
    check_broken_off(batch, 5);
    check_broken_off(batch + 1, 5);
    check_broken_off(batch + 2, 5);
    check_broken_off(2 * (batch + 1) + 3, 10);
    // When everything is answered there is nothing left to break off.
    check_broken_off(2 * (batch + 1) + last, 12);
    check_broken_off(2 * (batch + 1) + last + 1, 12);
}

#[track_caller]
fn check_rewards(spoil: fn(usize, Vec<f32>) -> Vec<f32>, given: &str) {
    let graded = Graded::new();
    let error = graded.evaluate(&Spoilt::by(spoil), &graded.examples, &endless(), go_on).unwrap_err();
    assert!(matches!(error, EvaluateError::Rewards { expected: 12, .. }), "{error:?}");
    assert!(error.to_string().contains(given) && error.to_string().contains("vowels"), "{error}");
}

#[test]
fn rewards_that_are_no_numbers_or_too_few_or_too_many_are_refused() {
    check_rewards(|_, rewards| rewards[1..].to_vec(), "11 numbers");
    check_rewards(|_, rewards| [&rewards[..], &[1.0]].concat(), "13 numbers");
    check_rewards(|_, rewards| rewards.iter().map(|_| f32::NAN).collect(), "NaN at 0");
    check_rewards(|_, rewards| rewards.iter().map(|reward| reward / 0.0).collect(), "inf at 0");
}
