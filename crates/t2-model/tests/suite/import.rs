//! Experts of the original project act as its own formula says (`golden/make_policy.py`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use safetensors::tensor::SafeTensors;
use t2_linalg::HostSvd;
use t2_model::adapter::{Active, Expert};
use t2_model::checkpoint::{self, Files};
use t2_model::decoder::CausalLm;
use t2_model::decomposition::{self, DecomposeConfig, Decomposition, Targets};
use t2_model::import::{ImportError, ImportOptions, Policy};
use tempfile::TempDir;

use crate::tiny;

/// Logits against transformers with weights that torch composed, relative to all: f32 passes in another order.
const SAME_LOGITS: f64 = 1e-5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The factors of the MLP of a golden checkpoint.
fn factors(model: &str) -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    let files = Files::open(&golden(model)).unwrap();
    let weights = files.weights(Targets::MLP, None, &Device::flex()).unwrap();
    let keep_on = |_| ControlFlow::Continue(());
    decomposition::decompose(weights, DecomposeConfig::default(), &HostSvd::default(), cache.path(), keep_on).unwrap();
    cache
}

fn import(file: &Path, model: &str, max_mult: f32) -> Result<Expert, ImportError> {
    let factors = factors(model);
    let options = ImportOptions {
        max_mult,
        name: "original".to_owned(),
        base_model: checkpoint::hash(&golden(model)).unwrap(),
        factors: factors.path().to_owned(),
    };
    Policy::load(file)?.to_expert(&Files::open(&golden(model)).unwrap(), options)
}

#[track_caller]
fn check(file: &str, max_mult: u8) {
    let expert = import(&golden(file), "untied", max_mult.into()).unwrap();
    assert_eq!((expert.info.targets, expert.num_params()), (Targets::MLP, 192));
    let model = checkpoint::load(&golden("untied"), None, &Device::flex()).unwrap().model;
    let decomposition = Decomposition::of(&model, Targets::MLP).unwrap();
    let model = expert.apply_to(model.adapted(&decomposition).unwrap()).unwrap();
    let bytes = std::fs::read(golden("policy.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let prompt: Vec<i32> = bytemuck::pod_collect_to_vec(stored.tensor("prompt").unwrap().data());
    let expected: Vec<f32> = bytemuck::pod_collect_to_vec(stored.tensor(&format!("logits.{max_mult}")).unwrap().data());
    let prompt = prompt.into_iter().map(i32::cast_unsigned).collect();
    let found = tiny::values(model.forward(tiny::tokens(&[prompt]), None, Active::Own));
    let error = tiny::relative_error(&found, &expected);
    println!("{file}, max_mult {max_mult}: {error:.1e}");
    assert!(error < SAME_LOGITS, "{file}, max_mult {max_mult}: {error:e}");
}

#[test]
fn the_formula_of_the_original_gives_the_same_logits() {
    for file in ["policy_params.pt", "learnable_params.pt"] {
        check(file, 1);
        check(file, 2);
    }
}

#[test]
fn the_sum_of_the_singular_values_is_kept() {
    let cache = factors("untied");
    let expert = import(&golden("policy_params.pt"), "untied", 1.0).unwrap();
    let mut sums = BTreeMap::new();
    for entry in std::fs::read_dir(cache.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            let bytes = std::fs::read(&path).unwrap();
            let s: Vec<f32> =
                bytemuck::pod_collect_to_vec(SafeTensors::deserialize(&bytes).unwrap().tensor("s").unwrap().data());
            sums.insert(path, s);
        }
    }
    // Of some decomposed matrix each vector of scales keeps the sum.
    for (path, z) in expert.iter() {
        let keeps = |s: &&Vec<f32>| {
            let sum: f32 = s.iter().sum();
            let scaled: f32 = s.iter().zip(z).map(|(s, z)| s * z).sum();
            (scaled / sum - 1.0).abs() < 1e-5
        };
        assert!(sums.values().any(|s| keeps(&s)), "{path}");
    }
}

#[track_caller]
fn check_refused(result: Result<Expert, ImportError>, parts: &[&str]) {
    let error = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

#[test]
fn an_expert_of_another_model_is_refused() {
    let [numbered, named] = ["policy_params.pt", "learnable_params.pt"].map(golden);
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/tiny");
    let to_tiny = |file: &Path| {
        let files = Files::open(&tiny).unwrap();
        let (cache, base_model) = (tempfile::tempdir().unwrap(), checkpoint::hash(&tiny).unwrap());
        let options =
            ImportOptions { max_mult: 1.0, name: String::new(), base_model, factors: cache.path().to_owned() };
        Policy::load(file)?.to_expert(&files, options)
    };
    check_refused(to_tiny(&numbered), &["numbers 6 matrices", "has 12"]);
    check_refused(to_tiny(&named), &["has no f32 factors of `blocks.0.mlp"]);
    for value in [0.0, -1.0, f32::NAN] {
        check_refused(import(&numbered, "untied", value), &["multiplier"]);
    }
}

#[test]
fn what_is_no_expert_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.pt");
    let bytes = std::fs::read(golden("policy_params.pt")).unwrap();
    let refuse = |bytes: &[u8], parts: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        check_refused(import(&path, "untied", 1.0), parts);
    };
    refuse(b"", &["file.pt", "no zip archive"]);
    refuse(b"\x80\x02}q\x00.", &["no zip archive"]);
    refuse(&std::fs::read(golden("policy.safetensors")).unwrap(), &["no zip archive"]);
    let edited = |from: &[u8], to: &[u8]| {
        let mut bytes = bytes.clone();
        let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        bytes
    };
    refuse(&edited(b"collections\nOrderedDict", b"subprocess\ncheck_output"), &["`subprocess.check_output`"]);
    refuse(&edited(b"BFloat16Storage", b"BFloat16Storagf"), &["`torch.BFloat16Storagf`"]);
    refuse(&edited(b"module_list.0", b"module_list.7"), &["no `learnable_params_module_list.0`"]);
    refuse(&edited(b"learnable_params_module_list.0", b"learnable_params_module_listX0"), &["_listX0"]);
    refuse(&edited(b"data/5", b"data/6"), &["no entry `data/5`"]);
    refuse(&edited(b"data.pkl", b"data.pk0"), &["no entry `data.pkl`"]);
    std::fs::remove_file(&path).unwrap();
    check_refused(import(&path, "untied", 1.0), &["cannot read"]);
}
