//! What is refused before anything is learned: nonsense, models that cannot learn, prompts that cannot be asked, folders
//! that hold something else.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use burn::prelude::*;
use t2_model::adapter::{ExpertError, ExpertInfo};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::text::{Tokenizer, bpe};
use t2_rl::fitting;
use t2_rl::metrics::Step;
use t2_rl::policy::Reinforce;
use t2_rl::rollout::RolloutError;
use t2_rl::train::{TrainConfig, TrainError, TrainInputs, train};
use t2_task::Example;

use crate::heard::warnings;
use crate::tiny::{NEVER, Tiny, Vowels, config, decoder};

#[track_caller]
fn check_config(change: impl Fn(&mut TrainConfig), name: &str) {
    let mut config = config();
    change(&mut config);
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let error = tiny.refusal(&config, tiny.inputs(dir.path()));
    assert!(matches!(error, TrainError::Config { name: found, .. } if found == name), "{error:?}");
    assert!(is_empty(dir.path()));
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().count() == 0
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    check_config(|config| config.steps = 0, "steps");
    check_config(|config| config.prompts = 0, "prompts");
    check_config(|config| config.max_new_tokens = 0, "max_new_tokens");
    check_config(|config| config.micro_batch_tokens = 0, "micro_batch_tokens");
    check_config(|config| config.save_every = 0, "save_every");
    check_config(|config| config.group = 1, "group");
    check_config(|config| config.learning_rate = 0.0, "learning_rate");
    check_config(|config| config.learning_rate = f64::NAN, "learning_rate");
    check_config(|config| config.max_grad_norm = -1.0, "max_grad_norm");
    check_config(|config| config.max_grad_norm = f32::INFINITY, "max_grad_norm");
}

#[track_caller]
fn check_not_trainable(model: Decoder) {
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let error = train(model, &config(), tiny.inputs(dir.path()), &mut ()).unwrap_err();
    assert!(matches!(error, TrainError::NotTrainable), "{error:?}");
    assert!(error.to_string().contains("model.trainable(&decomposition)"), "{error}");
    assert!(is_empty(dir.path()));
}

#[test]
fn a_model_that_cannot_learn_is_refused() {
    let base = decoder(1);
    let factors = Decomposition::of(&base, Targets::ALL).unwrap();
    let device = Device::flex().autodiff();
    // Factors, but no derivatives.
    check_not_trainable(base.clone().adapted(&factors).unwrap());
    // Derivatives, but no factors, on models that were brought there and made there.
    check_not_trainable(base.clone().train().to_device(&device));
    check_not_trainable(base.config().init(&device));
    // Both, but nothing may move.
    check_not_trainable(base.clone().trainable(&factors).unwrap().no_grad());
    // Neither.
    check_not_trainable(base);
}

#[test]
fn an_expert_for_another_model_is_refused() {
    let (tiny, other) = (Tiny::new(), Tiny::of(&decoder(2)));
    let dir = tempfile::tempdir().unwrap();
    let error = tiny.refusal(&config(), TrainInputs { info: &other.info, ..tiny.inputs(dir.path()) });
    assert!(matches!(error, TrainError::Expert(ExpertError::OtherBase { .. })), "{error:?}");
    assert!(is_empty(dir.path()));
}

#[test]
fn an_expert_with_other_targets_than_the_model_is_refused() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    // As when the info is made from a model before its factors are attached, and as when only some were asked for.
    for targets in [Targets::NONE, Targets::MLP] {
        let info = ExpertInfo { targets, ..tiny.info.clone() };
        let error = tiny.refusal(&config(), TrainInputs { info: &info, ..tiny.inputs(dir.path()) });
        assert!(matches!(error, TrainError::Targets { expected: Targets::ALL, .. }), "{error:?}");
    }
    assert!(is_empty(dir.path()));
}

#[test]
fn an_algorithm_may_refuse_its_settings() {
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let policy = &Reinforce { kl_weight: -0.1, ..Reinforce::PLAIN };
    let error = tiny.refusal(&config(), TrainInputs { policy, ..tiny.inputs(dir.path()) });
    assert!(matches!(error, TrainError::Policy(_)) && error.to_string().contains("-0.1"), "{error:?}");
    assert!(is_empty(dir.path()));
}

/// As `example`, with a question that no tiny model can read.
fn endless(example: &Example) -> Example {
    Example { question: format!("{} {}", example.question, "again and ".repeat(40)), ..example.clone() }
}

#[test]
fn examples_that_are_too_long_are_left_out_and_named() {
    let tiny = Tiny::new();
    let mut examples = tiny.examples.clone();
    examples.insert(1, endless(&examples[1]));
    examples.push(endless(&examples[0]));
    let found = fitting(&tiny.model, &tiny.tokenizer, &tiny.task, &examples, 4).unwrap();
    assert_eq!(found.examples, tiny.examples.iter().collect::<Vec<_>>());
    assert_eq!(found.skipped.iter().map(|skipped| skipped.index).collect::<Vec<_>>(), [1, 6]);
    assert!(found.skipped.iter().all(|skipped| skipped.prompt_len > 60), "{:?}", found.skipped);
    let note = found.note().unwrap();
    for part in ["2 of 7 questions are too long", "number 2, of", "\"Say vowel 1. again and", "…\""] {
        assert!(note.contains(part), "{note}");
    }
    // The room for an answer counts.
    let none = fitting(&tiny.model, &tiny.tokenizer, &tiny.task, &tiny.examples, 60).unwrap();
    assert_eq!((none.examples.len(), none.skipped.len()), (0, 5));
    let all = fitting(&tiny.model, &tiny.tokenizer, &tiny.task, &tiny.examples, 4).unwrap();
    assert_eq!((all.examples.len(), all.note()), (5, None));
    // A run learns from the rest as if the others had not been there.
    let (dir, config) = (tempfile::tempdir().unwrap(), TrainConfig { steps: 2, ..config() });
    let inputs = TrainInputs { examples: &examples, ..tiny.inputs(dir.path()) };
    let ((expert, _), heard) = warnings(|| tiny.finish(&config, inputs));
    assert_eq!(heard, [format!("task vowels: {note}")]);
    assert_eq!(expert.hash(), tiny.run(&config).0.hash());
}

#[test]
fn a_task_without_an_example_that_fits_is_refused() {
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let check = |examples: &[Example], config: &TrainConfig, expected: usize| {
        let error = tiny.refusal(config, TrainInputs { examples, ..tiny.inputs(dir.path()) });
        assert!(matches!(error, TrainError::NoExamples { skipped, .. } if skipped == expected), "{error:?}");
        assert!(error.to_string().contains("vowels") && error.to_string().contains(&format!("({expected} are")));
        assert!(is_empty(dir.path()));
    };
    check(&[], &config(), 0);
    check(&tiny.examples, &TrainConfig { max_new_tokens: 60, ..config() }, 5);
    check(&tiny.examples.iter().map(endless).collect::<Vec<_>>(), &config(), 5);
    // An empty question is a mistake in the file, not a matter of length.
    let mut empty = tiny.examples.clone();
    empty[3].question.clear();
    let error = tiny.refusal(&config(), TrainInputs { examples: &empty, ..tiny.inputs(dir.path()) });
    assert!(matches!(error, TrainError::Rollout(RolloutError::Generate(_))), "{error:?}");
}

#[test]
fn two_runs_in_one_folder_are_refused() {
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let config = TrainConfig { steps: 2, ..config() };
    let seconds = RefCell::new(vec![]);
    let mut start_second = |_: Step<'_>| {
        let second = train(tiny.model.clone(), &config, tiny.inputs(dir.path()), &mut ());
        seconds.borrow_mut().push(second.unwrap_err());
        ControlFlow::Continue(())
    };
    let first = train(tiny.model.clone(), &config, tiny.inputs(dir.path()), &mut start_second).unwrap();
    let seconds = seconds.into_inner();
    assert_eq!(seconds.len(), 2);
    for second in seconds {
        assert!(matches!(&second, TrainError::InUse { dir: named } if named == dir.path()), "{second:?}");
    }
    // What holds the folder is the open file, not its presence.
    let lock = OpenOptions::new().write(true).open(dir.path().join("run.lock")).unwrap();
    lock.try_lock().unwrap();
    assert!(matches!(tiny.refusal(&config, tiny.inputs(dir.path())), TrainError::InUse { .. }));
    drop(lock);
    assert_eq!(tiny.finish(&config, tiny.inputs(dir.path())).0.hash(), first.hash());
}

/// A folder with a run of three steps, and what is refused in it.
struct Begun {
    tiny: Tiny,
    dir: tempfile::TempDir,
    config: TrainConfig,
}

impl Begun {
    fn new() -> Self {
        let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
        let config = TrainConfig { steps: 3, ..config() };
        tiny.finish(&config, tiny.inputs(dir.path()));
        Self { tiny, dir, config }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    /// A run of `tiny` is refused with a message that says what differs, and nothing in the folder changes.
    #[track_caller]
    fn check(&self, tiny: &Tiny, config: &TrainConfig, change: impl Fn(&mut TrainInputs<'_>), said: &str) {
        let names = ["state.json", "metrics.jsonl", "checkpoints/expert-3.safetensors"];
        let before = names.map(|name| self.file(name));
        let mut inputs = tiny.inputs(self.dir.path());
        change(&mut inputs);
        let error = tiny.train(config, inputs, NEVER).0.unwrap_err();
        assert!(matches!(error, TrainError::OtherRun { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("state.json") && message.contains(said), "{message}");
        assert!(names.map(|name| self.file(name)) == before, "the folder changed");
    }
}

#[test]
fn a_folder_with_a_run_of_other_numbers_is_refused() {
    let begun = Begun::new();
    let check = |config: TrainConfig, said| begun.check(&begun.tiny, &config, |_| {}, said);
    let same = || begun.config.clone();
    check(TrainConfig { learning_rate: 1e-3, ..same() }, "learning_rate was 0.05 and is 0.001");
    check(TrainConfig { seed: 2, ..same() }, "seed was 1 and is 2");
    check(TrainConfig { group: 2, ..same() }, "group was 4 and is 2");
    check(TrainConfig { steps: 2, ..same() }, "it has made 3 steps and 2 are asked for");
}

#[test]
fn a_folder_with_a_run_on_something_else_is_refused() {
    let begun = Begun::new();
    let check = |tiny: &Tiny, said| begun.check(tiny, &begun.config, |_| {}, said);
    let check_inputs = |change: fn(&mut TrainInputs<'_>), said| begun.check(&begun.tiny, &begun.config, change, said);
    check(&Tiny { task: Vowels("other vowels"), ..Tiny::new() }, "the task was vowels and is other vowels");
    check_inputs(
        |inputs| inputs.examples = &inputs.examples[1..],
        "the examples of the task, or their prompts, are others",
    );
    let tokenizer = bpe::train(["Say vowel 1."].into_iter().cycle().take(60), 300, &["<|end|>"]).unwrap();
    check(&Tiny { tokenizer: Tokenizer::new(tokenizer), ..Tiny::new() }, "their prompts, are others");
    check_inputs(|inputs| inputs.stop = &[0, 1], "the stop tokens were [0] and are [0, 1]");
    let held_back = "the policy gradient was reinforce and is reinforce, 0.5 KL(new ‖ base)";
    check_inputs(|inputs| inputs.policy = &Reinforce { kl_weight: 0.5, ..Reinforce::PLAIN }, held_back);
    check(&Tiny::of(&decoder(2)), "the base model was ");
    let (tiny, mlp) = (Tiny::new(), Decomposition::of(&decoder(1), Targets::MLP).unwrap());
    let model = decoder(1).trainable(&mlp).unwrap();
    check(
        &Tiny { info: ExpertInfo::for_model("vowels", &model), model, ..tiny },
        "the choice of targets was mlp,attn and is mlp",
    );
    let tiny = Tiny::new();
    let info = ExpertInfo { name: "y".to_owned(), ..tiny.info.clone() };
    check(&Tiny { info, ..tiny }, "the name of the expert was vowels and is y");
}

#[test]
fn a_folder_with_a_run_on_another_device_or_type_is_refused() {
    let begun = Begun::new();
    let path = begun.dir.path().join("state.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let device = state["device"].as_str().unwrap();
    for (from, to, said) in [
        (device, "Abacus", format!("the device was Abacus and is {device}")),
        ("\"f32\"", "\"bf16\"", "the type of the weights was bf16 and is f32".to_owned()),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        begun.check(&begun.tiny, &begun.config, |_| {}, &said);
    }
}
