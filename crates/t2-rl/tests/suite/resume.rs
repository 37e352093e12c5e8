//! Interrupted, killed and damaged runs: the same bytes, or a clear refusal.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use t2_model::adapter::{Expert, ExpertInfo};
use t2_rl::metrics::StepMetrics;
use t2_rl::train::{TrainConfig, TrainError, train};

use crate::tiny::{Tiny, Vowels, config};

/// The folder that a child process of these tests trains in.
const FOLDER: &str = "T2_TEST_FOLDER";

fn bytes(expert: &Expert) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("expert.safetensors");
    expert.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// `metrics.jsonl` but for the speed, which no two runs share.
fn metrics(dir: &Path) -> Vec<StepMetrics> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| StepMetrics { tokens_per_sec: 0.0, ..serde_json::from_str(line).unwrap() };
    text.lines().map(parse).collect()
}

#[test]
fn an_interrupted_run_makes_the_same_expert() {
    let tiny = Tiny::new();
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (expected, _) = tiny.train(&config(), whole.path(), usize::MAX).unwrap();
    // Two interruptions, on a checkpoint and between two.
    for until in [3, 5] {
        let (_, seen) = tiny.train(&config(), parts.path(), until).unwrap();
        assert_eq!(seen.last().unwrap().step, until);
    }
    let (resumed, seen) = tiny.train(&config(), parts.path(), usize::MAX).unwrap();
    assert_eq!(seen.first().unwrap().step, 6);
    assert!(bytes(&resumed) == bytes(&expected), "the experts differ");
    assert_eq!(metrics(parts.path()), metrics(whole.path()));
    assert_eq!(metrics(whole.path()).len(), 8);
    // Only the last checkpoint is kept, and a finished run is not trained further.
    assert_eq!(std::fs::read_dir(parts.path()).unwrap().count(), 4);
    let (again, seen) = tiny.train(&config(), parts.path(), usize::MAX).unwrap();
    assert!(seen.is_empty() && bytes(&again) == bytes(&expected));
}

#[test]
fn a_longer_run_goes_on_from_a_shorter_one() {
    let tiny = Tiny::new();
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (expected, _) = tiny.train(&config(), whole.path(), usize::MAX).unwrap();
    tiny.train(&TrainConfig { steps: 4, ..config() }, parts.path(), usize::MAX).unwrap();
    let (longer, _) = tiny.train(&config(), parts.path(), usize::MAX).unwrap();
    assert!(bytes(&longer) == bytes(&expected), "the experts differ");
}

fn longer() -> TrainConfig {
    TrainConfig { steps: 16, save_every: 2, kl_weight: 0.1, ..config() }
}

/// Not a test of its own: what the child process of the test below runs. A line for each step.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test that starts itself again has no other way to say so")]
fn child() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let tiny = Tiny::new();
    let report = |step: &StepMetrics| {
        println!("step {}", step.step);
        std::io::stdout().flush().unwrap();
        ControlFlow::Continue(())
    };
    train(tiny.model.clone(), &longer(), tiny.setting(Path::new(&dir)), report).unwrap();
}

#[test]
fn a_killed_run_makes_the_same_expert() {
    let tiny = Tiny::new();
    let [whole, killed] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (expected, _) = tiny.train(&longer(), whole.path(), usize::MAX).unwrap();
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
    let (resumed, seen) = tiny.train(&longer(), killed.path(), usize::MAX).unwrap();
    assert!((5..=16).contains(&seen[0].step), "{}", seen[0].step);
    assert!(bytes(&resumed) == bytes(&expected), "the experts differ");
    assert_eq!(metrics(killed.path()), metrics(whole.path()));
}

#[test]
fn a_folder_with_another_run_is_refused() {
    let mut tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let start = TrainConfig { steps: 3, ..config() };
    tiny.train(&start, dir.path(), usize::MAX).unwrap();
    let before = std::fs::read(dir.path().join("metrics.jsonl")).unwrap();
    let check = |tiny: &Tiny, config: &TrainConfig| {
        let error = tiny.train(config, dir.path(), usize::MAX).unwrap_err();
        assert!(matches!(error, TrainError::OtherRun { .. }), "{error:?}");
        assert!(error.to_string().contains("state.json"), "{error}");
        assert_eq!(std::fs::read(dir.path().join("metrics.jsonl")).unwrap(), before);
    };
    check(&tiny, &TrainConfig { learning_rate: 1e-3, ..start.clone() });
    check(&tiny, &TrainConfig { seed: 2, ..start.clone() });
    check(&tiny, &TrainConfig { steps: 2, ..start.clone() });
    let info = std::mem::take(&mut tiny.info);
    tiny.info = ExpertInfo { base_model: "08".repeat(32), ..info.clone() };
    check(&tiny, &start);
    tiny.info = info;
    tiny.task = Vowels("other vowels");
    check(&tiny, &start);
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { steps: 2, ..config() };
    tiny.train(&config, dir.path(), usize::MAX).unwrap();
    for name in ["state.json", "expert-2.safetensors", "optimizer-2.bpk"] {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        // In the tensors of the binary files, and in the braces of the other.
        let at = if name == "state.json" { 0 } else { good.len() - 9 };
        flipped[at] ^= 4;
        for broken in [&good[..good.len() / 2], &flipped, b"", b"nonsense"] {
            std::fs::write(&path, broken).unwrap();
            let error = tiny.train(&config, dir.path(), usize::MAX).unwrap_err();
            assert!(matches!(error, TrainError::Checkpoint { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains(name), "{error}");
        }
        std::fs::write(&path, good).unwrap();
    }
    std::fs::remove_file(dir.path().join("optimizer-2.bpk")).unwrap();
    assert!(matches!(tiny.train(&config, dir.path(), usize::MAX), Err(TrainError::Checkpoint { .. })));
}
