//! Grading a model on a task.

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::module::Module;
use t2_model::adapter::Active;
use t2_model::decoder::Decoder;
use t2_model::generate::{Engine, EngineConfig, GenerateConfig, Sampling, ScoreRequest, Under};
use t2_rl::evaluate::{Answer, EvaluateConfig, EvaluateError, Evaluation, Progress, evaluate, evaluate_with};
use t2_task::{AnswerBy, Answering, Example, Split, Task, TaskError};

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

    /// `examples` put to the model, five at a time; `progress` sees how many are answered, and how many graded.
    fn evaluate<'a>(
        &self,
        task: &dyn Task,
        examples: &'a [Example],
        generate: &GenerateConfig,
        progress: impl FnMut(Progress<'_, '_>) -> ControlFlow<()>,
    ) -> Result<Evaluation<'a>, EvaluateError> {
        let config = EvaluateConfig { active: Active::Own, batch: 5, ..EvaluateConfig::new(generate) };
        evaluate_with(&self.model, &self.tiny.tokenizer, task, examples, config, progress)
    }
}

/// Any token, and none of them ends the answer.
fn endless() -> GenerateConfig {
    GenerateConfig { max_new_tokens: ANSWER, sampling: Sampling::PLAIN, ..GenerateConfig::default() }
}

fn go_on(_: Progress<'_, '_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn every_example_is_answered_and_graded() {
    let graded = Graded::new();
    let (task, examples) = (&graded.tiny.task, &graded.examples);
    let (answering, shown) = (RefCell::new(vec![]), RefCell::new(vec![]));
    let watch = |progress: Progress<'_, '_>| {
        match progress {
            Progress::Answering(done) => answering.borrow_mut().push(done),
            Progress::Graded(answers) => shown.borrow_mut().extend(answers.iter().map(|answer| answer.text.clone())),
        }
        ControlFlow::Continue(())
    };
    let found = graded.evaluate(task, examples, &endless(), watch).unwrap();
    assert_eq!(
        found.answers.iter().map(|answer| answer.example).collect::<Vec<_>>(),
        examples.iter().collect::<Vec<_>>()
    );
    let answers: Vec<_> = found.answers.iter().map(|answer| (answer.example, answer.text.as_str())).collect();
    let rewards: Vec<f32> = found.answers.iter().map(|answer| answer.grade.reward).collect();
    assert_eq!(rewards, task.rewards(&answers).unwrap());
    assert!(found.skipped.is_empty());
    let right = rewards.iter().filter(|&&reward| reward > 0.0).count();
    let accuracy = found.accuracy();
    assert_eq!((accuracy.n, accuracy.accuracy), (12, right as f64 / 12.0));
    assert!((1..12).contains(&right) && 0.0 < accuracy.low && accuracy.high < 1.0, "{accuracy:?}");
    assert!(accuracy.low < accuracy.accuracy && accuracy.accuracy < accuracy.high, "{accuracy:?}");
    // Once a token; every answer is shown once.
    let (answering, mut shown) = (answering.into_inner(), shown.into_inner());
    assert_eq!(answering.len(), 12 * ANSWER);
    assert!(answering.is_sorted() && answering.first() == Some(&0) && answering.last() == Some(&12), "{answering:?}");
    let mut texts: Vec<String> = found.answers.iter().map(|answer| answer.text.clone()).collect();
    texts.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, texts);
}

#[test]
fn an_answer_depends_on_its_example_alone() {
    let graded = Graded::new();
    let texts = |examples: &[Example], repeats: usize| {
        let generate = endless();
        let config = EvaluateConfig { active: Active::Own, batch: 5, repeats, ..EvaluateConfig::new(&generate) };
        let found = evaluate(&graded.model, &graded.tiny.tokenizer, &graded.tiny.task, examples, config).unwrap();
        let text = |answer: &Answer<'_>| (answer.example.question.clone(), answer.repeat, answer.text.clone());
        found.answers.iter().map(text).collect::<Vec<_>>()
    };
    let all = texts(&graded.examples, 2);
    assert_eq!(all.len(), 24);
    assert_eq!(all.iter().map(|(_, repeat, _)| *repeat).collect::<Vec<_>>(), [0, 1].repeat(12));
    assert!(all.chunks(2).any(|pair| pair[0].2 != pair[1].2), "two answers are drawn by two seeds");
    assert_eq!(texts(&graded.examples[5..7], 2), all[10..14]);
    let firsts: Vec<_> = all.iter().filter(|(_, repeat, _)| *repeat == 0).cloned().collect();
    assert_eq!(texts(&graded.examples, 1), firsts);
}

#[test]
fn answers_that_were_cut_off_are_counted() {
    let graded = Graded::new();
    let cut = |stop: Vec<u32>| {
        let generate = GenerateConfig { stop, ..endless() };
        graded.evaluate(&graded.tiny.task, &graded.examples, &generate, go_on).unwrap().cut()
    };
    assert_eq!(cut(vec![]), 12);
    assert_eq!(cut((0..300).collect()), 0);
    let some = cut((0..40).collect());
    assert!((1..12).contains(&some), "{some}");
}

#[test]
fn an_answer_ends_before_a_stop_string() {
    let graded = Graded::new();
    let evaluate = |stop: &[&str]| {
        let stop_strings = stop.iter().map(|&stop| stop.to_owned()).collect();
        let generate = GenerateConfig { stop_strings, ..endless() };
        graded.evaluate(&graded.tiny.task, &graded.examples, &generate, go_on).unwrap()
    };
    let free = evaluate(&[]);
    let end = free.answers.iter().find_map(|answer| answer.text.chars().nth(1)).unwrap().to_string();
    let ended = evaluate(&["never", &end]);
    for (free, ended) in free.answers.iter().zip(&ended.answers) {
        let (before, holds) =
            free.text.split_once(&end).map_or((free.text.as_str(), false), |(before, _)| (before, true));
        assert_eq!((ended.text.as_str(), ended.cut), (before, !holds));
        assert!(ended.tokens <= free.tokens);
    }
    assert!(ended.cut() < 12);
}

#[test]
fn examples_that_are_too_long_are_left_out() {
    let graded = Graded::new();
    let task = &graded.tiny.task;
    let mut examples = graded.examples.clone();
    examples[2].question = "again and ".repeat(40);
    let found = graded.evaluate(task, &examples, &endless(), go_on).unwrap();
    assert_eq!(found.skipped.iter().map(|skipped| skipped.index).collect::<Vec<_>>(), [2]);
    assert_eq!([found.answers.len(), found.accuracy().n], [11; 2]);
    assert!(!found.answers.iter().any(|answer| answer.example == &examples[2]));
    let generate = GenerateConfig { max_new_tokens: 60, ..endless() };
    let error = graded.evaluate(task, &examples, &generate, go_on).unwrap_err();
    assert!(matches!(error, EvaluateError::NothingFits { skipped: 12, .. }), "{error:?}");
    assert!(error.to_string().contains("lower max_new_tokens"), "{error}");
    assert_eq!(graded.evaluate(task, &[], &endless(), go_on).unwrap().accuracy().n, 0);
}

/// Breaks off at the token of this number, and is not asked again; `answered` is how many answers are graded by then.
#[track_caller]
fn check_broken_off(token: usize, answered: usize) {
    let graded = Graded::new();
    let (mut left, mut shown) = (token, 0);
    let ended = graded.evaluate(&graded.tiny.task, &graded.examples, &endless(), |progress| {
        match progress {
            Progress::Graded(answers) => shown += answers.len(),
            Progress::Answering(_) => left -= 1,
        }
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match ended {
        Ok(all) => assert_eq!((all.answers.len(), answered), (12, 12)),
        Err(EvaluateError::Interrupted { done, total: 12 }) if answered < 12 => assert_eq!(done, answered),
        Err(other) => panic!("{other:?}"),
    }
    assert_eq!(shown, answered, "what was answered is graded and shown");
}

#[test]
fn an_evaluation_that_is_broken_off_has_graded_what_was_answered() {
    check_broken_off(1, 0);
    // Five at a time: in the last token of the first five, and after it.
    let batch = 5 * ANSWER;
    check_broken_off(batch - 5, 0);
    check_broken_off(batch - 1, 4);
    check_broken_off(batch, 5);
    check_broken_off(2 * batch + 1, 10);
    // When everything is answered there is nothing left to break off.
    check_broken_off(12 * ANSWER, 12);
}

/// The same questions with two choices, which are weighed.
struct Weighed;

impl Task for Weighed {
    fn name(&self) -> &str {
        "weighed"
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        let examples = Vowels("vowels").load(split, limit)?.into_iter().enumerate();
        let choices = |at: usize| if at == 3 { vec!["b".into()] } else { vec!["e".to_owned(), "zzzz".to_owned()] };
        Ok(examples.map(|(at, example)| Example { choices: choices(at), reference: "A".into(), ..example }).collect())
    }

    fn answering(&self) -> Answering {
        Answering { by: AnswerBy::Likelihood, ..Answering::default() }
    }

    fn rewards(&self, _: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        panic!("nothing is written")
    }
}

#[test]
fn choices_are_weighed_by_their_likelihood_after_the_prompt() {
    let graded = Graded::new();
    let mut examples = Weighed.load(Split::Test, 8).unwrap();
    let error = graded.evaluate(&Weighed, &examples, &endless(), go_on).unwrap_err();
    assert!(matches!(error, EvaluateError::Choices { found: 1, .. }), "{error:?}");
    examples.remove(3);
    let found = graded.evaluate(&Weighed, &examples, &endless(), go_on).unwrap();
    assert_eq!((found.answers.len(), found.cut()), (7, 0));
    let tokenizer = &graded.tiny.tokenizer;
    for answer in &found.answers {
        let likelihood = |continuation: &str| {
            let (ids, from) = tokenizer.encode_answer(&Weighed.prompt(answer.example), continuation).unwrap();
            let mut engine = Engine::new(&graded.model, EngineConfig::default());
            let request = ScoreRequest { ids, from, under: Under::Own };
            engine.score_all(vec![request], || ControlFlow::Continue(())).unwrap()[0].iter().sum::<f32>()
        };
        let expected = [likelihood(" e"), likelihood(" zzzz")];
        assert!(answer.weights.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4));
        let metrics = [("acc", expected[0] > expected[1]), ("acc_norm", expected[0] > expected[1] / 4.0)];
        assert_eq!(answer.grade.metrics[..2], metrics);
    }
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
