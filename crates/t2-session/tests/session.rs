//! A session on the bundled model, as a server or somebody's program would use it: no arguments, nothing printed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::Device;
use t2_model::adapter::Expert;
use t2_model::generate::Sampling;
use t2_rl::evaluate::EvaluateError;
use t2_session::source::BUNDLED;
use t2_session::{
    Event, Examples, Input, Model, Run, Samples, SamplingWishes, Session, SessionError, Sources, Watch, experts,
};
use t2_task::{Example, Split, Task, TaskError};
use tempfile::TempDir;

/// Breaks off after so many events of the kind it counts.
struct Patience {
    left: Cell<usize>,
    counts: fn(&Event<'_>) -> bool,
}

impl Watch for Patience {
    fn see(&self, event: Event<'_>) -> ControlFlow<()> {
        if (self.counts)(&event) {
            match self.left.get() {
                0 => return ControlFlow::Break(()),
                left => self.left.set(left - 1),
            }
        }
        ControlFlow::Continue(())
    }
}

fn session(cache: &Path) -> Session<'static> {
    Session::new(Device::flex(), Sources { cache: Some(cache.to_owned()), ..Sources::default() })
}

fn bundled() -> (TempDir, Session<'static>, Model) {
    let cache = tempfile::tempdir().unwrap();
    let session = session(cache.path());
    let model = session.load(BUNDLED, Input::Text).unwrap();
    (cache, session, model)
}

fn own_experts(model: &Model) -> Vec<Expert> {
    experts::load_folder(&model.dir().join(experts::FOLDER)).unwrap()
}

#[test]
fn a_task_is_graded_under_an_expert_and_every_answer_is_kept() {
    let (_cache, session, model) = bundled();
    let examples = Examples::named("tiny-math", Split::Test, 6).unwrap();
    let expert = experts::load(Path::new("math"), Some(model.dir())).unwrap();
    let model = session.adapt(model, &[(expert.clone(), 1.0)]).unwrap();
    let generate = model.greedy(80);
    let graded = session.plain(model.subject(&generate).unwrap(), &examples, "math", &mut Samples::default()).unwrap();
    assert_eq!((graded.accuracy.n, graded.samples.len()), (6, 6));
    assert!(graded.samples.iter().all(|sample| sample.expert_hash == Some(expert.hash()) && !sample.text.is_empty()));
    let json = serde_json::to_value(&graded).unwrap();
    assert_eq!(json["expert_hash"], expert.hash().to_string());
    assert!(json["low"].as_f64() < json["accuracy"].as_f64() && json.get("samples").is_none());
}

#[test]
fn answers_that_are_cut_off_are_counted_and_said() {
    let (_cache, session, model) = bundled();
    let examples = Examples::named("tiny-math", Split::Test, 4).unwrap();
    let grade = |tokens| {
        session
            .plain(model.subject(&model.greedy(tokens)).unwrap(), &examples, "base", &mut Samples::default())
            .unwrap()
    };
    let cut = grade(1);
    assert_eq!(cut.cut, 4);
    assert_eq!(cut.note().unwrap(), "4 of 4 answers were cut off at the limit of tokens");
    assert_eq!((grade(100).cut, grade(100).note()), (0, None));
}

/// Rewards that are no rewards.
struct Spoilt(fn(usize) -> Vec<f32>);

impl Task for Spoilt {
    fn name(&self) -> &str {
        "spoilt"
    }

    fn load(&self, _: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        Ok(vec![Example::new("Tom has 4 apples. How many?", "4"); limit.min(2)])
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok((self.0)(graded.len()))
    }
}

#[test]
fn two_passes_refuse_what_one_refuses() {
    let (_cache, session, model) = bundled();
    let pool = session.pool(&model, own_experts(&model)).unwrap();
    let grade = |examples: &Examples, tokens| {
        session
            .dispatched(
                &pool,
                examples,
                &model.greedy(tokens),
                &mut t2_dispatch::strategy::NoExperts,
                &mut Samples::default(),
            )
            .unwrap_err()
    };
    let examples = Examples::named("tiny-math", Split::Test, 3).unwrap();
    let error = grade(&examples, model.checkpoint.model.config().max_seq_len);
    assert!(matches!(error, SessionError::Evaluate(EvaluateError::NothingFits { skipped: 3, .. })), "{error:?}");
    let spoilt: [fn(usize) -> Vec<f32>; 2] = [|n| vec![f32::NAN; n], |n| vec![1.0; n - 1]];
    for spoilt in spoilt.map(Spoilt) {
        let examples = spoilt.load(Split::Test, 2).unwrap();
        let error = grade(&Examples { task: Box::new(spoilt), split: Split::Test, examples }, 4);
        assert!(matches!(error, SessionError::Evaluate(EvaluateError::Rewards { expected: 2, .. })), "{error:?}");
    }
}

#[test]
fn a_folder_of_its_name_does_not_hide_an_expert() {
    let (_cache, _, model) = bundled();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(experts::FOLDER)).unwrap();
    // Tests run in the folder of their crate, which has a folder `src`.
    let (math, src) = (Path::new("experts/math.safetensors"), Path::new("experts/src.safetensors"));
    std::fs::copy(model.dir().join(math), dir.path().join(src)).unwrap();
    assert!(Path::new("src").is_dir());
    assert_eq!(experts::load(Path::new("src"), Some(dir.path())).unwrap().info.name, "math");
}

#[test]
fn who_says_among_which_tokens_to_draw_gets_them_drawn() {
    let (_cache, _, model) = bundled();
    let temperature = |wishes| model.generate_config(wishes, 3).sampling.temperature;
    let none = SamplingWishes::default();
    assert_eq!(temperature(none), 0.0);
    assert_eq!(temperature(SamplingWishes { top_k: Some(5), ..none }), 1.0);
    assert_eq!(temperature(SamplingWishes { top_p: Some(0.5), ..none }), 1.0);
    assert_eq!(temperature(SamplingWishes { min_p: Some(0.1), ..none }), 1.0);
    assert_eq!(temperature(SamplingWishes { top_p: Some(0.5), temperature: Some(0.0), ..none }), 0.0);
}

#[test]
fn a_penalty_that_the_checkpoint_suggests_holds_until_another_is_asked_for() {
    let (_cache, _, mut model) = bundled();
    model.checkpoint.generation.repetition_penalty = Some(1.1);
    let penalty = |wishes| model.generate_config(wishes, 3).sampling.repetition_penalty;
    assert_eq!(penalty(SamplingWishes::default()), 1.1);
    assert_eq!(penalty(SamplingWishes { repetition_penalty: Some(1.0), ..SamplingWishes::default() }), 1.0);
    assert_eq!(model.greedy(3).sampling, Sampling::GREEDY);
}

#[test]
fn a_run_that_cannot_be_graded_is_refused_before_it_learns() {
    let (_cache, session, model) = bundled();
    let dir = tempfile::tempdir().unwrap();
    let questions: Vec<String> = (0..60).map(|n| format!("What is {n} + 1?")).collect();
    let train = questions.iter().filter(|question| Split::Train.holds(question)).take(3);
    let lines: String = train.map(|q| serde_json::json!({ "question": q, "answer": "1" }).to_string() + "\n").collect();
    let file = dir.path().join("train.jsonl");
    std::fs::write(&file, lines).unwrap();
    let mut run = Run::new(BUNDLED, file.to_str().unwrap());
    (run.eval_limit, run.train.steps) = (10, 1);
    let out = dir.path().join("out");
    let error = session.train(&model, &run, &out).unwrap_err();
    assert!(matches!(error, SessionError::EmptySplit { total: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("eval_limit = 0") && !out.exists(), "{error}");
}

#[test]
fn two_passes_say_whom_they_chose_by_hash() {
    let (_cache, session, model) = bundled();
    let pool = session.pool(&model, own_experts(&model)).unwrap();
    let examples = Examples::named("tiny-code-hard", Split::Test, 3).unwrap();
    let mut strategy = t2_dispatch::strategy::Classifier;
    let graded =
        session.dispatched(&pool, &examples, &model.greedy(80), &mut strategy, &mut Samples::default()).unwrap();
    assert_eq!(graded.choices.values().sum::<usize>(), 3);
    assert!(graded.expert_hashes.contains_key("code") && graded.expert_hashes.contains_key("classify"));
    for sample in &graded.samples {
        assert_eq!(sample.expert_hash, graded.expert_hashes.get(&sample.choice).copied());
    }
}

#[test]
fn a_watcher_breaks_off_evaluations_and_training_in_the_middle_of_a_batch() {
    let (cache, _, model) = bundled();
    let examples = Examples::named("tiny-math", Split::Test, 4).unwrap();
    let is_answering: fn(&Event<'_>) -> bool = |event| matches!(event, Event::Answering { .. });
    let impatient = |left, counts| Patience { left: Cell::new(left), counts };
    let watch = impatient(2, is_answering);
    let watched = Session { watch: &watch, ..session(cache.path()) };
    let generate = model.greedy(80);
    let error =
        watched.plain(model.subject(&generate).unwrap(), &examples, "base", &mut Samples::default()).unwrap_err();
    assert!(error.is_interrupted(), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(BUNDLED, "tiny-math");
    (run.train.steps, run.train.prompts, run.train.group) = (2, 2, 2);
    let whole = session(cache.path()).train(&model, &run, dir.path()).unwrap();
    let parts = tempfile::tempdir().unwrap();
    // Within the rollout of the first step, and within that of the second.
    for left in [3, 120] {
        let watch = impatient(left, |event| matches!(event, Event::Tick));
        let watched = Session { watch: &watch, ..session(cache.path()) };
        match watched.train(&model, &run, parts.path()) {
            Err(error) => assert!(error.is_interrupted(), "{error}"),
            Ok(_) => assert!(left > 3, "the first rollout was not broken off"),
        }
    }
    let resumed = session(cache.path()).train(&model, &run, parts.path()).unwrap();
    assert_eq!(resumed.expert.hash(), whole.expert.hash());
}

#[test]
fn a_folder_that_holds_an_expert_twice_gives_it_once() {
    let (_cache, session, model) = bundled();
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(BUNDLED, "tiny-math");
    (run.train.steps, run.train.prompts, run.train.group, run.train.save_every) = (2, 2, 2, 1);
    let trained = session.train(&model, &run, dir.path()).unwrap();
    // The folder of a run holds its checkpoints too.
    let found = experts::load_folder(dir.path()).unwrap();
    assert_eq!(found.iter().map(Expert::hash).collect::<Vec<_>>(), [trained.expert.hash()]);
    std::fs::copy(&trained.path, dir.path().join("again.safetensors")).unwrap();
    assert_eq!(experts::load_folder(dir.path()).unwrap().len(), 1);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(experts::load_folder(empty.path()), Err(SessionError::NoExperts { .. })));
}

#[test]
fn a_small_file_says_which_split_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two.jsonl");
    let line = |question: &str| format!("{{\"question\": \"{question}\", \"answer\": \"4\"}}\n");
    std::fs::write(&path, line("2 + 2?") + &line("1 + 3?")).unwrap();
    let load = |split, limit| Examples::named(path.to_str().unwrap(), split, limit);
    assert_eq!(load(Split::All, 10).unwrap().examples.len(), 2);
    let splits = [Split::Train, Split::Valid, Split::Test];
    let empty = splits.into_iter().find_map(|split| load(split, 10).err()).unwrap().to_string();
    assert!(empty.contains("2 questions") && empty.contains("`all`"), "{empty}");
    assert!(matches!(load(Split::All, 0), Err(SessionError::NoLimit)));
}

#[test]
fn a_run_file_finds_what_lies_beside_it_and_names_the_expert_after_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    write("models/small/config.json", "{}");
    let text = "model = \"../models/small\"\ntask = \"sums.jsonl\"\nname = \"sums\"\n[reinforce]\nkl_weight = 0.1\n";
    let run = Run::read(&write("runs/sums.toml", text)).unwrap();
    assert_eq!(Path::new(&run.model), dir.path().join("runs/../models/small"));
    assert_eq!(Path::new(&run.task), dir.path().join("runs/sums.jsonl"));
    assert_eq!(run.reinforce.kl_weight, 0.1);
    let plain = Run::read(&write("plain.toml", "model = \"org/name\"\ntask = \"tiny-math\"\nname = \"m\"\n")).unwrap();
    assert_eq!((plain.model.as_str(), plain.task.as_str()), ("org/name", "tiny-math"));
    let error = Run::read(&write("bad.toml", "modell = 1\n")).unwrap_err();
    assert!(error.to_string().contains("bad.toml"), "{error}");
    assert_eq!(Run::new("tiny", "data/sums.jsonl").name, "sums");
    assert_eq!(Run::new("tiny", "tiny-math").name, "tiny-math");
}
