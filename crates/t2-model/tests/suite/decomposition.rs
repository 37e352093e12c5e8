//! Decompositions on disk: checked, repaired, resumed, and killed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::prelude::*;
use burn::tensor::DType;
use t2_linalg::{Attempt, Demand, HostSvd, SvdError, SvdSolver};
use t2_model::adapter::Active;
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, Files, GenerationDefaults};
use t2_model::decoder::{AttentionConfig, CausalLm, Decoder, DecoderConfig, MlpConfig};
use t2_model::decomposition::{
    self, DecomposeConfig, DecomposeError, DecomposeOptions, Decomposition, FactorType, Progress, Report, Targets,
};

use crate::tiny;

/// What the project promises of `‖W − U diag(s) Vᵀ‖ / ‖W‖`.
const RESIDUAL: f32 = 1e-5;
/// What it promises of `‖UᵀU − I‖ / √k`.
const ORTHOGONALITY: f32 = 1e-5;
/// The folder that a child process of these tests fills.
const FOLDER: &str = "T2_TEST_FOLDER";

/// Factors that are kept in `dir`.
fn kept_in(dir: &Path) -> DecomposeOptions<'_> {
    DecomposeOptions { cache: Some(dir), ..DecomposeOptions::default() }
}

fn decompose(model: &Decoder, dir: &Path) -> Result<Decomposition, DecomposeError> {
    Decomposition::with(model, Targets::ALL, kept_in(dir), |_| ControlFlow::Continue(()))
}

fn report(model: &Decoder, dir: &Path) -> Report {
    decompose(model, dir).unwrap().report
}

/// Every file of a folder, hidden ones included.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_name().unwrap().into(), std::fs::read(path).unwrap())).collect()
}

fn are_factors(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "safetensors")
}

#[test]
fn factors_stand_for_their_weights_and_are_found_again() {
    let (model, dir) = (tiny::decoder(1), tempfile::tempdir().unwrap());
    let first = report(&model, dir.path());
    assert_eq!((first.matrices, first.cached, first.repaired), (14, 0, 0));
    assert!(first.max_residual < RESIDUAL && first.max_orthogonality < ORTHOGONALITY, "{first:?}");
    let before = files(dir.path());
    assert_eq!(before.len(), 14 + 1, "a file for each matrix, and the manifest");
    let again = report(&model, dir.path());
    assert_eq!((again.matrices, again.cached, again.repaired), (14, 14, 0));
    assert_eq!(files(dir.path()), before);
    let other = tempfile::tempdir().unwrap();
    report(&model, other.path());
    assert_eq!(files(other.path()), before);
}

#[test]
fn factors_from_disk_act_like_fresh_ones() {
    let (model, dir) = (tiny::decoder(1), tempfile::tempdir().unwrap());
    report(&model, dir.path());
    let cached = model.clone().adapted(&decompose(&model, dir.path()).unwrap()).unwrap();
    let logits = |model: &Decoder| tiny::values(model.forward(tiny::tokens(&[tiny::ids(9, 40, 1)]), None, Active::Own));
    assert_eq!(logits(&cached), logits(&tiny::adapted(&model)));
}

#[test]
fn factors_are_read_from_the_disk_alone_or_refused() {
    let (model, dir) = (tiny::decoder(1), tempfile::tempdir().unwrap());
    let load = |targets| Decomposition::load(&model, targets, dir.path());
    assert!(matches!(load(Targets::ALL).unwrap_err(), DecomposeError::NotCached { total: 14, .. }));
    Decomposition::with(&model, Targets::MLP, kept_in(dir.path()), |_| ControlFlow::Continue(())).unwrap();
    let some = load(Targets::ALL).unwrap_err();
    assert!(matches!(some, DecomposeError::NotCached { total: 14, .. }), "{some}");
    let mlp = load(Targets::MLP).unwrap();
    assert_eq!((mlp.report.matrices, mlp.report.cached), (6, 6));
}

#[test]
fn factors_of_another_model_are_refused() {
    let (one, two) = (tiny::decoder(1), tiny::decoder(2));
    let factors = Decomposition::of(&one, Targets::ALL).unwrap();
    let error = two.clone().adapted(&factors).unwrap_err();
    assert_eq!((error.factors, error.model), (one.base_hash(), two.base_hash()));
    assert!(two.trainable(&factors).is_err() && one.adapted(&factors).is_ok());
}

#[test]
fn equal_weights_share_a_file_and_targets_choose() {
    let (model, dir) = (tiny::decoder(1), tempfile::tempdir().unwrap());
    let some = |targets| Decomposition::with(&model, targets, kept_in(dir.path()), |_| ControlFlow::Continue(()));
    let mlp = some(Targets::MLP).unwrap();
    assert!(mlp.paths().all(|path| path.contains(".mlp.")) && mlp.paths().count() == 6);
    let all = report(&model, dir.path());
    assert_eq!((all.matrices, all.cached), (14, 6));
    let none = some(Targets::NONE).unwrap_err();
    assert!(matches!(none, DecomposeError::NoTargets { .. }));
}

#[test]
fn a_damaged_file_is_made_again() {
    let model = tiny::shaped(&DecoderConfig { layers: 1, ..tiny::config() }, 1);
    let dir = tempfile::tempdir().unwrap();
    report(&model, dir.path());
    let good = files(dir.path());
    let factors: Vec<_> = good.iter().filter(|(name, _)| are_factors(name)).collect();
    let (name, bytes) = factors[0];
    let path = dir.path().join(name);
    let check = |broken: &[u8], what: &str| {
        std::fs::write(&path, broken).unwrap();
        let report = report(&model, dir.path());
        assert_eq!((report.cached, report.repaired), (6, 1), "{what}");
        assert!(report.max_residual < RESIDUAL, "{what}");
        assert_eq!(files(dir.path()), good, "{what}");
    };
    for len in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        check(&bytes[..len], &format!("cut to {len} bytes"));
    }
    check(&[&bytes[..], &[0]].concat(), "a byte too long");
    // Every part of the file: its length, the header with shapes and checksum, the factors.
    for at in (0..700).step_by(23).chain((700..bytes.len()).step_by(997)) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        check(&flipped, &format!("a flipped bit in byte {at} of {}", bytes.len()));
    }
    check(factors[1].1, "the file of another weight");
}

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let (model, dir, whole) = (tiny::decoder(1), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    report(&model, whole.path());
    let mut seen = vec![];
    let stop_at_once = |progress: Progress| {
        seen.push((progress.done, progress.total));
        ControlFlow::Break(())
    };
    let stopped = Decomposition::with(&model, Targets::ALL, kept_in(dir.path()), stop_at_once);
    let Err(DecomposeError::Interrupted { done, total: 14 }) = stopped else { panic!("{stopped:?}") };
    assert_eq!(seen, [(done, 14)]);
    assert!(done > 0 && done < 14);
    assert_eq!(files(dir.path()).len(), done);
    assert_eq!(report(&model, dir.path()).cached, done);
    assert_eq!(files(dir.path()), files(whole.path()));
}

#[test]
fn a_weight_that_is_not_finite_is_named_and_the_others_of_its_batch_are_kept() {
    let mut model = tiny::decoder(1);
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    report(&model, whole.path());
    let up = &mut model.blocks[1].mlp.up;
    let finite = up.weight.clone();
    up.weight = up.weight.clone().map(|weight| weight.slice_fill([3..4, 5..6], f32::NAN));
    let error = decompose(&model, dir.path()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("`blocks.1.mlp.up.weight`") && cause.contains("NaN"), "{error}: {cause}");
    // Of its shape are the other `up` and both `gate`.
    let kept = files(dir.path()).len();
    assert!(kept >= 3, "{kept} files");
    model.blocks[1].mlp.up.weight = finite;
    assert_eq!(report(&model, dir.path()).cached, kept);
    assert_eq!(files(dir.path()), files(whole.path()));
}

#[test]
fn a_checkpoint_on_disk_gives_the_factors_of_the_model_it_loads_as() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(&tiny::decoder(1), &Llama, &GenerationDefaults::default(), folder.path()).unwrap();
    let device = Device::flex();
    let from_disk = |dtype, factors, cache: &Path| {
        let files = Files::open(folder.path()).unwrap();
        let weights = files.weights(Targets::ALL, Some(dtype), &device).unwrap();
        let config = DecomposeConfig { factors, ..DecomposeConfig::default() };
        let keep_on = |_| ControlFlow::Continue(());
        decomposition::decompose(weights, config, &HostSvd::default(), cache, keep_on).unwrap()
    };
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let [streamed, loaded] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let found = from_disk(dtype, FactorType::Base, streamed.path());
        assert_eq!((found.matrices, found.cached), (14, 0));
        let model = checkpoint::load(folder.path(), Some(dtype), &device).unwrap().model;
        report(&model, loaded.path());
        assert!(files(streamed.path()) == files(loaded.path()), "{dtype:?}: the folders differ");
        // Factors in f32 serve for a half-precision model, and are not made again.
        let full = tempfile::tempdir().unwrap();
        from_disk(dtype, FactorType::F32, full.path());
        assert_eq!(report(&model, full.path()).cached, 14, "{dtype:?}");
    }
}

#[test]
fn the_manifest_names_the_file_of_every_weight_and_its_errors() {
    let (model, dir) = (tiny::decoder(1), tempfile::tempdir().unwrap());
    let report = report(&model, dir.path());
    let files = files(dir.path());
    let (_, manifest) = files.iter().find(|(name, _)| !are_factors(name)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let weights = manifest["weights"].as_array().unwrap();
    assert_eq!(weights.len(), 14);
    assert_eq!(weights[0]["path"], "blocks.0.attn.k.weight");
    assert_eq!(weights[0]["shape"], serde_json::json!([24, 16]));
    assert!(weights.iter().all(|weight| files.contains_key(Path::new(weight["file"].as_str().unwrap()))));
    let largest = weights.iter().map(|weight| weight["residual"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(largest as f32, report.max_residual);
}

/// Counts its batches.
#[derive(Default)]
struct Counting(AtomicUsize);

impl SvdSolver for Counting {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        HostSvd::default().svd_each(a)
    }

    fn demand(&self, dims: [usize; 2], device: &Device) -> Demand {
        Demand { batch: 1, ..HostSvd::default().demand(dims, device) }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_ends_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let solver = Counting::default();
    let options = DecomposeOptions { solver: Some(&solver), ..kept_in(&file) };
    let keep_on = |_| ControlFlow::Continue(());
    let error = Decomposition::with(&tiny::decoder(1), Targets::ALL, options, keep_on).unwrap_err();
    assert!(matches!(error, DecomposeError::Write(_)));
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    // One was being written and one was on its way.
    assert!(solver.0.into_inner() <= 3, "14 matrices were to be decomposed");
}

/// A model that takes a moment: 28 matrices in four batches.
fn larger() -> Decoder {
    let attention = AttentionConfig { head_dim: 48, ..tiny::config().attention };
    let mlp = MlpConfig { d_hidden: 384, ..tiny::config().mlp };
    tiny::shaped(&DecoderConfig { d_model: 192, layers: 4, attention, mlp, ..tiny::config() }, 2)
}

/// Not a test of its own: what the child processes of the tests below run.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test that starts itself again has no other way to say so")]
fn child() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    if let Err(error) = decompose(&larger(), Path::new(&dir)) {
        println!("refused: {error}");
    }
}

/// Runs [`child`] on `dir`, after the shell command `first`.
fn spawn(first: &str, dir: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let run = format!("{first}; exec \"$0\" decomposition::child --exact --nocapture");
    let mut command = Command::new("sh");
    command.args(["-c", &run]).arg(program).env(FOLDER, dir).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
#[cfg(unix)]
fn a_killed_run_goes_on_where_it_stopped() {
    let [whole, killed] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    assert_eq!(report(&larger(), whole.path()).matrices, 28);
    let mut midway = 0;
    // Killed while the files of the first batch appear, and those of the second and third.
    for at_least in [3, 11, 20] {
        let mut child = spawn(":", killed.path());
        let count = || std::fs::read_dir(killed.path()).unwrap().count();
        while count() < at_least && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        midway += usize::from(!child.wait().unwrap().success() && count() < 28);
    }
    assert!(midway > 0, "every run was over before it was killed");
    let is_intact = |name: &PathBuf| are_factors(name) && whole.path().join(name).exists();
    let intact = files(killed.path()).into_keys().filter(is_intact).count();
    println!("killed midway {midway} times, {intact} files intact, {} in all", files(killed.path()).len());
    let resumed = report(&larger(), killed.path());
    assert_eq!((resumed.cached, resumed.repaired), (intact, 0));
    assert!(files(killed.path()) == files(whole.path()), "the folders differ");
}

#[test]
#[cfg(unix)]
fn a_disk_that_refuses_leaves_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Files may not grow beyond a few kB, and growing is an error rather than a signal: a disk that is full midway.
    let output = spawn("trap '' XFSZ; ulimit -f 8", dir.path()).wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("refused: cannot write") && said.contains("free some space"), "{said}");
    assert!(files(dir.path()).is_empty());
}
