//! Interrupted, killed and damaged runs: the same bytes, or a clear refusal.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use t2_rl::metrics::{JsonLines, Step, StepMetrics};
use t2_rl::policy::Reinforce;
use t2_rl::train::{TrainConfig, TrainError, TrainInputs, train};

use crate::heard::warnings;
use crate::tiny::{Tiny, bytes, config};

/// The folder that a child process of these tests trains in.
const FOLDER: &str = "T2_TEST_FOLDER";

/// `metrics.jsonl` but for the speed, which no two runs share.
fn metrics(dir: &Path) -> Vec<StepMetrics> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| StepMetrics { tokens_per_sec: 0.0, ..serde_json::from_str(line).unwrap() };
    text.lines().map(parse).collect()
}

/// Names in the folder of the checkpoints, sorted.
fn checkpoints(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The files of checkpoints after these steps.
fn files_of(steps: [usize; 2]) -> Vec<String> {
    let name = |what| move |step| format!("{what}-{step}.safetensors");
    steps.map(name("expert")).into_iter().chain(steps.map(name("optimizer"))).collect()
}

#[test]
fn an_interrupted_run_makes_the_same_expert() {
    let tiny = Tiny::new();
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (expected, _) = tiny.finish(&config(), tiny.inputs(whole.path()));
    // Two interruptions, on a checkpoint and between two.
    for until in [3, 5] {
        let (ended, seen) = tiny.train(&config(), tiny.inputs(parts.path()), until);
        let error = ended.unwrap_err();
        assert!(matches!(error, TrainError::Interrupted { step, steps: 8 } if step == until), "{error:?}");
        assert_eq!(seen.last().unwrap().step, until);
    }
    assert_eq!(checkpoints(parts.path()), files_of([3, 5]));
    let (resumed, seen) = tiny.finish(&config(), tiny.inputs(parts.path()));
    assert_eq!(seen.first().unwrap().step, 6);
    assert!(bytes(&resumed) == bytes(&expected), "the experts differ");
    assert_eq!(metrics(parts.path()), metrics(whole.path()));
    assert_eq!(metrics(whole.path()).len(), 8);
    // The last two checkpoints are kept, and a finished run is not trained further.
    assert_eq!(checkpoints(parts.path()), files_of([6, 8]));
    let (again, seen) = tiny.finish(&config(), tiny.inputs(parts.path()));
    assert!(seen.is_empty() && bytes(&again) == bytes(&expected));
}

#[test]
fn a_run_broken_off_among_its_completions_makes_the_same_expert() {
    let tiny = Tiny::new();
    let config = TrainConfig { steps: 4, ..config() };
    let (expected, steps) = tiny.run(&config);
    let dir = tempfile::tempdir().unwrap();
    let mut done = 0;
    let first_step = (steps[0].completion_len * 16.0).round() as usize;
    // At the first token of all, within the first step, at its last token, and within later ones.
    for tokens in [1, 20, first_step, 2 * first_step + 10, 40] {
        let left = Cell::new(tokens);
        let countdown = || {
            left.set(left.get() - 1);
            if left.get() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut monitor = (JsonLines::new(dir.path().join("metrics.jsonl")), Vec::<StepMetrics>::new());
        let inputs = TrainInputs { keep_going: &countdown, ..tiny.inputs(dir.path()) };
        let ended = train(tiny.model.clone(), &config, inputs, &mut monitor);
        done += monitor.1.len();
        let error = ended.unwrap_err();
        assert!(matches!(error, TrainError::Interrupted { step, steps: 4 } if step == done), "{error:?}");
        assert!(error.to_string().contains("train again in the same folder"), "{error}");
    }
    assert!((1..4).contains(&done), "{done}");
    let (resumed, rest) = tiny.finish(&config, tiny.inputs(dir.path()));
    assert_eq!(rest[0].step, done + 1);
    assert!(bytes(&resumed) == bytes(&expected), "the experts differ");
    let expected: Vec<_> = steps.into_iter().map(|step| StepMetrics { tokens_per_sec: 0.0, ..step }).collect();
    assert_eq!(metrics(dir.path()), expected);
}

#[test]
fn a_longer_run_goes_on_from_a_shorter_one() {
    let mut tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    tiny.info.training = "4 steps".to_owned();
    tiny.finish(&TrainConfig { steps: 4, ..config() }, tiny.inputs(dir.path()));
    tiny.info.training = "8 steps".to_owned();
    let (longer, _) = tiny.finish(&config(), tiny.inputs(dir.path()));
    assert!(bytes(&longer) == bytes(&tiny.run(&config()).0), "the experts differ");
}

#[test]
fn lines_of_metrics_outlive_a_resume_even_with_gaps() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    assert!(tiny.train(&config(), tiny.inputs(dir.path()), 4).0.is_err());
    let path = dir.path().join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // JSON has no NaN: a number that was none is null. And the line of a step that no checkpoint holds, and half a line.
    lines[1] = r#"{"step":2,"reward_mean":null,"entropy":null,"grad_norm":null}"#.to_owned();
    lines.push(lines[3].replace("\"step\":4", "\"step\":5"));
    lines.push("{\"step\":6,\"rew".to_owned());
    std::fs::write(&path, lines.join("\n")).unwrap();
    tiny.finish(&config(), tiny.inputs(dir.path()));
    let after = std::fs::read_to_string(&path).unwrap();
    let after: Vec<&str> = after.lines().collect();
    assert_eq!(after[..4], lines[..4]);
    let steps = after.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].clone());
    assert_eq!(steps.collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
}

fn longer() -> TrainConfig {
    TrainConfig { steps: 16, save_every: 2, ..config() }
}

/// A long run that asks for everything a step can hold.
fn held_back(tiny: &Tiny, dir: &Path, run: impl FnOnce(TrainInputs<'_>)) {
    let policy = Reinforce { kl_weight: 0.1, ..Reinforce::PLAIN };
    run(TrainInputs { policy: &policy, ..tiny.inputs(dir) });
}

/// Not a test of its own: what the child process of the test below runs. A line for each step.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test that starts itself again has no other way to say so")]
fn child() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let dir = Path::new(&dir);
    let tiny = Tiny::new();
    let report = |step: Step<'_>| {
        println!("step {}", step.metrics.step);
        std::io::stdout().flush().unwrap();
        ControlFlow::Continue(())
    };
    let mut monitor = (JsonLines::new(dir.join("metrics.jsonl")), report);
    held_back(&tiny, dir, |inputs| {
        train(tiny.model.clone(), &longer(), inputs, &mut monitor).unwrap();
    });
}

#[test]
fn a_killed_run_makes_the_same_expert() {
    let tiny = Tiny::new();
    let [whole, killed] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let mut experts = vec![];
    held_back(&tiny, whole.path(), |inputs| experts.push(tiny.finish(&longer(), inputs).0));
    // Killed twice: in the step after a checkpoint, and while or after writing one.
    for last_seen in ["step 5", "step 8"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["resume::child", "--exact", "--nocapture"]).env(FOLDER, killed.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with(last_seen)));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }
    held_back(&tiny, killed.path(), |inputs| {
        let (resumed, seen) = tiny.finish(&longer(), inputs);
        assert!((5..=16).contains(&seen[0].step), "{}", seen[0].step);
        experts.push(resumed);
    });
    assert!(bytes(&experts[0]) == bytes(&experts[1]), "the experts differ");
    assert_eq!(metrics(killed.path()), metrics(whole.path()));
}

/// What may become of a file: cut off, a bit flipped, emptied, overwritten.
fn damages(good: &[u8], flip: usize) -> [Vec<u8>; 4] {
    let mut flipped = good.to_vec();
    flipped[flip] ^= 4;
    [good[..good.len() / 2].to_vec(), flipped, vec![], b"nonsense".to_vec()]
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let (expected, _) = tiny.finish(&config(), tiny.inputs(dir.path()));
    for name in ["expert-8.safetensors", "optimizer-8.safetensors"] {
        let path = dir.path().join("checkpoints").join(name);
        let good = std::fs::read(&path).unwrap();
        // In the tensors, which only the hash can tell.
        let broken = damages(&good, good.len() - 9).into_iter().map(Some).chain([None]);
        for broken in broken {
            match broken {
                Some(broken) => std::fs::write(&path, broken).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let ((resumed, seen), heard) = warnings(|| tiny.finish(&config(), tiny.inputs(dir.path())));
            assert_eq!(seen.iter().map(|step| step.step).collect::<Vec<_>>(), [7, 8]);
            assert!(bytes(&resumed) == bytes(&expected), "the experts differ");
            assert!(std::fs::read(&path).unwrap() == good, "{name} was not written again");
            assert_eq!(heard.len(), 1, "{heard:?}");
            assert!(heard[0].contains(name) && heard[0].contains("going on from step 6"), "{heard:?}");
        }
    }
    assert_eq!(checkpoints(dir.path()), files_of([6, 8]));
}

#[test]
fn nothing_is_left_of_a_damaged_checkpoint_that_is_not_made_again() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    tiny.finish(&config(), tiny.inputs(dir.path()));
    std::fs::write(dir.path().join("checkpoints/expert-8.safetensors"), "nonsense").unwrap();
    assert!(tiny.train(&config(), tiny.inputs(dir.path()), 7).0.is_err());
    assert_eq!(checkpoints(dir.path()), files_of([6, 7]));
}

#[test]
fn a_run_without_a_whole_checkpoint_is_refused() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { steps: 2, save_every: 1, ..config() };
    tiny.finish(&config, tiny.inputs(dir.path()));
    let check = |named: &str, said: &str| {
        let error = tiny.refusal(&config, tiny.inputs(dir.path()));
        assert!(matches!(error, TrainError::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains(named) && error.to_string().contains(said), "{error}");
    };
    let state = dir.path().join("state.json");
    let good = std::fs::read(&state).unwrap();
    for broken in damages(&good, 0) {
        std::fs::write(&state, broken).unwrap();
        check("state.json", "delete the run's folder to start over");
    }
    // What wrote no version was the first.
    std::fs::write(&state, r#"{"step":2,"task":"vowels"}"#).unwrap();
    check("state.json", "of version 1, this is version 3");
    std::fs::write(&state, r#"{"version":4}"#).unwrap();
    check("state.json", "of version 4, this is version 3");
    std::fs::write(&state, good).unwrap();
    for step in [1, 2] {
        std::fs::write(dir.path().join(format!("checkpoints/expert-{step}.safetensors")), "nonsense").unwrap();
    }
    check("expert-2.safetensors", "not the file that was written");
}
