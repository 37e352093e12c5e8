//! Evaluations: what is kept, taken up again and compared, on the bundled model.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::Device;
use burn::tensor::DType;
use serde_json::Value;
use t2_dispatch::strategy::Classifier;
use t2_model::adapter::Expert;
use t2_model::generate::{GenerateConfig, Sampling};
use t2_session::evaluate::{ResultsOf, compare, read, results};
use t2_session::source::BUNDLED;
use t2_session::{
    Event, Examples, Graded, Input, Model, SampleRecord, Samples, Session, SessionError, Sources, Subject, experts,
};
use t2_task::{AnswerBy, Answering, Example, Split, Task, TaskError};
use tempfile::TempDir;

/// The bundled model, and questions to it.
struct World {
    dir: TempDir,
    model: Model,
    examples: Examples,
}

impl World {
    fn new(questions: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = session(dir.path()).load(BUNDLED, Input::Text).unwrap();
        Self { dir, model, examples: Examples::named("tiny-math", Split::Test, questions).unwrap() }
    }

    fn session(&self) -> Session<'static> {
        session(self.dir.path())
    }

    fn samples(&self) -> std::path::PathBuf {
        self.dir.path().join("out/samples.jsonl")
    }

    /// The base model, graded by `session` with at most `tokens` an answer; answers are kept.
    fn grade(&self, session: &Session<'_>, tokens: usize) -> Result<Graded, SessionError> {
        let generate = self.model.greedy(tokens);
        let mut samples = Samples::open(&self.samples())?;
        let graded = session.plain(self.model.subject(&generate)?, &self.examples, "base", &mut samples)?;
        samples.finish(graded.samples.iter())?;
        Ok(graded)
    }
}

fn session(cache: &Path) -> Session<'static> {
    Session::new(Device::flex(), Sources { cache: Some(cache.to_owned()), ..Sources::default() })
}

/// Lets `tokens` go by.
fn patience(tokens: usize) -> impl Fn(Event<'_>) -> ControlFlow<()> {
    let left = Cell::new(tokens);
    move |event| {
        if let Event::Answering { .. } = event {
            left.set(left.get().saturating_sub(1));
        }
        if left.get() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn an_evaluation_that_is_broken_off_goes_on_where_it_was() {
    let world = World::new(12);
    let whole = world.grade(&world.session(), 80).unwrap();
    assert_eq!((whole.resumed, whole.samples.len()), (0, 12));
    let lines = read(&world.samples()).unwrap();
    assert_eq!(lines, whole.samples);
    std::fs::remove_file(world.samples()).unwrap();

    // After enough tokens for some answers, but not for all.
    let watch = patience(90);
    let error = world.grade(&Session { watch: &watch, ..world.session() }, 80).unwrap_err();
    assert!(error.is_interrupted(), "{error}");
    let kept = read(&world.samples()).unwrap();
    assert!((1..12).contains(&kept.len()), "{}", kept.len());
    assert!(kept.iter().all(|sample| whole.samples.contains(sample)));

    // A line that a crash has cut off is asked again.
    let text = std::fs::read_to_string(world.samples()).unwrap();
    std::fs::write(world.samples(), &text[..text.len() - 20]).unwrap();
    let resumed = world.grade(&world.session(), 80).unwrap();
    assert_eq!(resumed.resumed, kept.len() - 1);
    assert_eq!((&resumed.samples, resumed.accuracy, resumed.cut), (&whole.samples, whole.accuracy, whole.cut));
    assert_eq!(read(&world.samples()).unwrap(), whole.samples);

    // Nothing is left to ask, so that nobody can break it off.
    let watch = patience(0);
    assert_eq!(world.grade(&Session { watch: &watch, ..world.session() }, 80).unwrap().resumed, 12);
}

#[test]
fn answers_of_another_run_are_not_taken_for_those_of_this_one() {
    let world = World::new(3);
    world.grade(&world.session(), 80).unwrap();
    let before = std::fs::read(world.samples()).unwrap();
    let error = world.grade(&world.session(), 79).unwrap_err();
    assert!(matches!(error, SessionError::OtherSamples { .. }), "{error:?}");
    assert!(error.to_string().contains("tiny-math") && error.to_string().contains("another file"), "{error}");
    assert_eq!(std::fs::read(world.samples()).unwrap(), before);

    // More questions of the same run are another matter, and so is another task.
    let more = World { examples: Examples::named("tiny-math", Split::Test, 5).unwrap(), ..world };
    assert_eq!(more.grade(&more.session(), 80).unwrap().resumed, 3);
    let other = World { examples: Examples::named("tiny-reason", Split::Test, 2).unwrap(), ..more };
    other.grade(&other.session(), 80).unwrap();
    let kept: Vec<String> = read(&other.samples()).unwrap().into_iter().map(|sample| sample.task).collect();
    assert_eq!(kept, [&["tiny-math"; 5][..], &["tiny-reason"; 2]].concat());

    // Fewer questions leave the others where they are.
    let fewer = World { examples: Examples::named("tiny-math", Split::Test, 2).unwrap(), ..other };
    assert_eq!(fewer.grade(&fewer.session(), 80).unwrap().samples.len(), 2);
    assert_eq!(read(&fewer.samples()).unwrap().len(), 7);
    let other = fewer;

    // Without the chat template, or in another type, the same question is another one.
    let in_f16 = Session { dtype: Some(DType::F16), ..other.session() };
    assert!(matches!(other.grade(&in_f16, 80).unwrap_err(), SessionError::OtherSamples { .. }));

    std::fs::write(other.samples(), "{\"task\": \"tiny-math\"}\n{}\n").unwrap();
    let error = other.grade(&other.session(), 80).unwrap_err();
    assert!(error.to_string().contains("samples.jsonl:1"), "{error}");
    // A file of one line that is something else is not taken for a sample that was cut off.
    std::fs::write(other.samples(), "{\"steps\": 3}").unwrap();
    assert!(other.grade(&other.session(), 80).is_err());
    assert_eq!(std::fs::read(other.samples()).unwrap(), b"{\"steps\": 3}");
}

#[test]
fn a_line_that_was_cut_off_within_a_character_is_left_out() {
    let world = World::new(2);
    world.grade(&world.session(), 80).unwrap();
    let mut bytes = std::fs::read(world.samples()).unwrap();
    bytes.extend_from_slice("{\"text\": \"é".as_bytes().split_last().unwrap().1);
    std::fs::write(world.samples(), bytes).unwrap();
    assert_eq!(read(&world.samples()).unwrap().len(), 2);
}

/// Questions with two choices, all of them for the test.
struct Choosing;

impl Task for Choosing {
    fn name(&self) -> &str {
        "choosing"
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        if split == Split::Train {
            return Err(TaskError::Other("there is nothing to learn from".into()));
        }
        let example = |at: usize| Example {
            choices: vec!["yes".to_owned(), "no".to_owned()],
            ..Example::new(format!("Is {at} a number?"), "A")
        };
        Ok((0..5.min(limit)).map(example).collect())
    }

    fn answering(&self) -> Answering {
        Answering { by: AnswerBy::Likelihood, ..Answering::default() }
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok(vec![1.0; graded.len()])
    }
}

#[test]
fn choices_are_weighed_once_however_many_answers_are_asked_for() {
    let world = World::new(1);
    let generate = world.model.greedy(80);
    let examples = Examples::load(Box::new(Choosing), Split::Test, 5).unwrap();
    let subject = Subject { repeats: 3, ..world.model.subject(&generate).unwrap() };
    let mut samples = Samples::open(&world.samples()).unwrap();
    let graded = world.session().plain(subject, &examples, "base", &mut samples).unwrap();
    assert_eq!((graded.accuracy.n, graded.samples.len()), (5, 5));
    samples.finish(graded.samples.iter()).unwrap();
    let mut samples = Samples::open(&world.samples()).unwrap();
    assert_eq!(world.session().plain(subject, &examples, "base", &mut samples).unwrap().resumed, 5);
}

#[test]
fn two_passes_need_no_train_split_unless_the_strategy_learns_from_one() {
    struct Written;
    impl Task for Written {
        fn name(&self) -> &str {
            "written"
        }

        fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
            Choosing.load(split, limit)
        }

        fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
            Choosing.rewards(graded)
        }
    }
    let world = World::new(1);
    let own: Vec<Expert> = experts::load_folder(&world.model.dir().join(experts::FOLDER)).unwrap();
    let session = world.session();
    let pool = session.pool(&world.model, own).unwrap();
    let (generate, mut none) = (world.model.greedy(8), Samples::default());
    let examples = Examples::load(Box::new(Written), Split::Test, 2).unwrap();
    let graded = session.dispatched(&pool, &examples, &generate, &mut Classifier, &mut none).unwrap();
    assert_eq!(graded.accuracy.n, 2);
    let weighed = Examples::load(Box::new(Choosing), Split::Test, 2).unwrap();
    let error = session.dispatched(&pool, &weighed, &generate, &mut Classifier, &mut none).unwrap_err();
    assert!(matches!(error, SessionError::WeighedInTwoPasses { .. }), "{error}");
}

#[test]
fn two_passes_go_on_where_they_were_too() {
    let world = World::new(4);
    let own: Vec<Expert> = experts::load_folder(&world.model.dir().join(experts::FOLDER)).unwrap();
    let session = world.session();
    let pool = session.pool(&world.model, own).unwrap();
    let grade = |questions: usize| {
        let examples = Examples::named("tiny-math-hard", Split::Test, questions).unwrap();
        let mut samples = Samples::open(&world.samples()).unwrap();
        let generate = world.model.greedy(80);
        let graded = session.dispatched(&pool, &examples, &generate, &mut Classifier, &mut samples).unwrap();
        samples.finish(graded.samples.iter()).unwrap();
        graded
    };
    let some = grade(2);
    let all = grade(4);
    assert_eq!((some.resumed, all.resumed, all.choices.values().sum::<usize>()), (0, 2, 4));
    assert_eq!(all.samples[..2], some.samples);
    std::fs::remove_file(world.samples()).unwrap();
    assert_eq!(grade(4).samples, all.samples);
}

#[test]
fn several_answers_to_a_question_give_the_share_that_is_right() {
    let world = World::new(4);
    let generate = GenerateConfig { sampling: Sampling::PLAIN, ..world.model.greedy(80) };
    let subject = Subject { repeats: 3, ..world.model.subject(&generate).unwrap() };
    let mut samples = Samples::default();
    let graded = world.session().plain(subject, &world.examples, "base", &mut samples).unwrap();
    assert_eq!((graded.accuracy.n, graded.samples.len(), graded.repeats), (4, 12, 3));
    let right = graded.samples.iter().filter(|sample| sample.is_right()).count();
    assert!((graded.accuracy.accuracy - right as f64 / 12.0).abs() < 1e-12);
}

#[test]
fn two_sets_of_samples_are_compared_where_they_answer_the_same() {
    let world = World::new(6);
    let samples = world.grade(&world.session(), 80).unwrap().samples;
    let path = Path::new("other.jsonl");
    let same = compare(&samples, &samples, path, 0).unwrap();
    assert_eq!((same.n, same.difference, same.mcnemar_p), (6, 0.0, 1.0));
    let right = |sample: &SampleRecord| SampleRecord { reward: 1.0, ..sample.clone() };
    let wrong = |sample: &SampleRecord| SampleRecord { reward: -1.0, ..sample.clone() };
    let all_right: Vec<SampleRecord> = samples.iter().map(right).collect();
    let half_wrong: Vec<SampleRecord> = samples[..4].iter().map(wrong).chain(samples[4..5].iter().map(right)).collect();
    let better = compare(&all_right, &half_wrong, path, 0).unwrap();
    assert_eq!((better.n, better.only_first, better.only_second), (5, 4, 0));
    assert!((better.mcnemar_p - 2.0 / 16.0).abs() < 1e-12 && better.low > 0.0);

    #[track_caller]
    fn refuse(samples: &[SampleRecord], other: SampleRecord, expected: &str) {
        let error = compare(samples, &[other], Path::new("other.jsonl"), 0).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("other.jsonl"), "{error}");
    }
    let first = samples[0].clone();
    refuse(&samples, SampleRecord { grader: "own@0".to_owned(), ..first.clone() }, "own@0");
    refuse(&samples, SampleRecord { reference: "5".to_owned(), ..first.clone() }, "the same data");
    refuse(&samples, SampleRecord { split: Split::Valid, ..first }, "same questions of the split test");
}

#[test]
fn results_have_the_shape_of_the_harness() {
    let world = World::new(6);
    let graded = world.grade(&world.session(), 80).unwrap();
    let of = ResultsOf { model: BUNDLED.to_owned(), ..ResultsOf::default() };
    let shaped = results(std::slice::from_ref(&graded), &of);
    for key in ["results", "configs", "versions", "n-shot", "higher_is_better", "n-samples"] {
        assert!(shaped[key].get("tiny-math").is_some(), "{key}: {shaped}");
    }
    let entry = &shaped["results"]["tiny-math"];
    let metric = graded.metrics.keys().next().unwrap();
    assert_eq!(metric, "exact_match");
    assert_eq!(entry["exact_match,none"].as_f64(), Some(graded.accuracy.accuracy));
    let p = graded.accuracy.accuracy;
    let stderr = entry["exact_match_stderr,none"].as_f64().unwrap();
    assert!((stderr - (p * (1.0 - p) / 5.0).sqrt()).abs() < 1e-12, "{entry}");
    assert_eq!(shaped["n-samples"]["tiny-math"]["effective"], 6);
    assert_eq!(shaped["config"]["model_args"], Value::from(BUNDLED));
}
