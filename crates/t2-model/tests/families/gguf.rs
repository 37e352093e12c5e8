//! Every family as a GGUF file: the numbers that transformers computed of the folder that the file was made from.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;
use t2_model::checkpoint::{self, Checkpoint, Files};
use t2_model::export::{Export, ExportError, write_gguf};
use t2_model::format::gguf::{FAMILIES, Gguf};
use t2_model::format::quant::GgmlType;

use crate::converted::Converted;
use crate::golden::{Case, cases, check_answers, folders, forward, golden, load};

/// Folders that no GGUF file describes, and what of them it has no key for.
const NOT_WRITTEN: &[(&str, &str)] = &[
    ("gemma2_no_caps", "attn_logit_softcapping"),
    ("llama_dynamic", "dynamic"),
    ("llama_gelu", "hidden_act"),
    ("llama_yarn_keys", "truncate"),
    ("qwen2_layer_types", "layer_types"),
    ("qwen2_windows", "layer_types"),
    ("smollm3_windows", "layer_types"),
];

/// Every folder that a GGUF file can be made of, by its name, with the file's content. Of the others the reason is checked.
fn converted() -> Vec<(String, Converted)> {
    let (mut all, mut unexpected) = (vec![], vec![]);
    for (name, dir) in folders() {
        let reason = NOT_WRITTEN.iter().find(|(other, _)| *other == name).map(|(_, reason)| *reason);
        match (Converted::of(&dir).map_err(|problem| problem.to_string()), reason) {
            (Ok(converted), None) => all.push((name, converted)),
            (Err(problem), Some(reason)) if problem.contains(reason) => {}
            (found, _) => unexpected.push(format!("{name}: {:?}", found.err())),
        }
    }
    assert_eq!(unexpected, Vec::<String>::new());
    all
}

/// The model in the file that `converted` makes.
fn loaded(converted: &Converted) -> Checkpoint {
    let dir = tempfile::tempdir().unwrap();
    load(&converted.write(dir.path(), "model.gguf"), DType::F32, &Device::flex())
}

/// Logits of the prompt of `case`.
fn logits(model: &Checkpoint, case: &Case) -> Vec<f32> {
    forward(&model.model, &Device::flex(), std::slice::from_ref(&case.prompt), None).concat()
}

#[test]
fn logits_and_greedy_tokens_of_gguf_files_are_those_of_transformers() {
    for (name, converted) in converted() {
        let cases = cases(&golden().join(&name));
        check_answers(&name, &loaded(&converted).model, &Device::flex(), &cases);
    }
}

#[test]
fn queries_keys_and_values_may_be_one_tensor() {
    for (name, converted) in converted() {
        let [whole, fused] = [converted.clone(), converted.fused()].map(|converted| loaded(&converted));
        for case in cases(&golden().join(&name)) {
            assert_eq!(logits(&fused, &case), logits(&whole, &case), "{name}");
        }
    }
}

/// Write the model at `from` to the GGUF file `to` in f32.
fn exported(from: &Path, to: &Path) -> Result<Gguf, ExportError> {
    let files = Files::open(from).unwrap();
    let mut keep_on = |_, _| ControlFlow::Continue(());
    let device = Device::flex();
    let export = Export { files: &files, expert: None, factors: to, device: &device, progress: &mut keep_on };
    write_gguf(export, GgmlType::F32, to)?;
    Ok(Gguf::open(to).unwrap())
}

/// Expect the metadata and tensors of `converted` in `gguf`.
#[track_caller]
fn check_content(gguf: &Gguf, converted: &Converted, name: &str) {
    for (key, value) in &converted.metadata {
        assert_eq!(gguf.metadata().get(key), Some(value), "{name}: {key}");
    }
    assert_eq!(gguf.tensors().count(), converted.tensors.len(), "{name}");
    for (tensor, written) in &converted.tensors {
        let found = gguf.tensor(tensor).unwrap_or_else(|| panic!("{name} has no {tensor}"));
        assert_eq!(found.shape, written.shape, "{name}: {tensor}");
        assert!(found.values() == written.values, "{name}: {tensor}");
    }
}

#[test]
fn a_folder_is_exported_to_what_it_is_converted_to() {
    let dir = tempfile::tempdir().unwrap();
    for (name, folder) in folders() {
        let to = dir.path().join(format!("{name}.gguf"));
        let converted = Converted::plainly(&folder);
        match (exported(&folder, &to), converted) {
            (Ok(gguf), Ok(converted)) => check_content(&gguf, &converted, &name),
            (Err(ExportError::NotAsGguf { problem }), Err(expected)) => assert_eq!(problem, expected, "{name}"),
            (found, expected) => panic!("{name}: {found:?}, {:?} expected", expected.err()),
        }
    }
}

#[test]
fn a_file_is_exported_to_one_of_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    for (name, converted) in converted() {
        let mut renamed = converted.clone();
        renamed.metadata.push(("general.name".to_owned(), "of its own".into()));
        let from = renamed.fused().write(dir.path(), "from.gguf");
        let to = dir.path().join(format!("{name}.gguf"));
        let gguf = exported(&from, &to).unwrap();
        check_content(&gguf, &converted, &name);
        assert_eq!(gguf.metadata().str("general.name").unwrap(), Some("of its own"));
    }
}

#[test]
fn every_family_of_gguf_files_has_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let family = |(_, converted): (_, Converted)| {
        Gguf::open(&converted.write(dir.path(), "model.gguf")).unwrap().family().unwrap().name
    };
    let families: BTreeSet<_> = converted().into_iter().map(family).collect();
    assert_eq!(families, FAMILIES.iter().map(|family| family.name).collect());
}

#[test]
fn stored_numbers_are_loaded_as_what_they_stand_for() {
    for (ty, dtype) in [(GgmlType::F16, DType::F16), (GgmlType::Bf16, DType::BF16), (GgmlType::Q8_0, DType::F32)] {
        for name in ["llama_llama3", "phi3_partial", "gemma3_new"] {
            let stored = Converted::of(&golden().join(name)).unwrap().stored_as(ty);
            assert!(stored.tensors.values().any(|tensor| tensor.ty == ty), "{ty} in {name}");
            let (found, expected) = (loaded(&stored), loaded(&stored.clone().rounded()));
            assert_eq!(found.stored_dtype, dtype, "{ty} in {name}");
            assert_ne!(found.hash, expected.hash, "the hash is of what is stored");
            for case in cases(&golden().join(name)) {
                assert_eq!(logits(&found, &case), logits(&expected, &case), "{ty} in {name}");
            }
        }
    }
}

/// The first half of the tensors of `whole`, and the second, as two files in `dir`.
fn in_two_parts(whole: &Converted, dir: &Path) {
    let mut tensors = whole.tensors.clone();
    let middle = tensors.keys().nth(tensors.len() / 2).unwrap().clone();
    let second = tensors.split_off(&middle);
    for (number, tensors) in [tensors, second].into_iter().enumerate() {
        let mut part = Converted { tensors, ..whole.clone() };
        part.set("split.no", number as u32);
        part.set("split.count", 2);
        part.set("split.tensors.count", whole.tensors.len() as u32);
        part.write(dir, &format!("m-0000{}-of-00002.gguf", number + 1));
    }
}

#[test]
fn a_model_is_found_in_its_folder_in_one_file_or_in_parts() {
    let whole = Converted::of(&golden().join("qwen2")).unwrap();
    let [one, parts] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let file = whole.write(one.path(), "model.gguf");
    in_two_parts(&whole, parts.path());
    let case = cases(&golden().join("qwen2")).remove(0);
    let expected = load(&file, DType::F32, &Device::flex());
    for path in [one.path(), parts.path(), &parts.path().join("m-00001-of-00002.gguf")] {
        let found = load(path, DType::F32, &Device::flex());
        assert_eq!((found.hash, logits(&found, &case)), (expected.hash, logits(&expected, &case)));
    }
    let second = parts.path().join("m-00002-of-00002.gguf");
    let error = checkpoint::load(&second, None, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf") && error.contains("give the first"), "{error}");
    whole.write(parts.path(), "other.gguf");
    let error = checkpoint::load(parts.path(), None, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("2 models") && error.contains("m-00001-of-00002.gguf"), "{error}");
}
