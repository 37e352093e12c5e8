//! Models in several files.

use std::path::{Path, PathBuf};

use t2_model::checkpoint::Files;
use t2_model::format::gguf::{Gguf, MetaValue, NewTensor, write};
use t2_model::format::quant::GgmlType;

/// Write part `number` of `count`, from 0, with a tensor of its own, as `name` in `dir`.
fn part(dir: &Path, name: &str, number: u16, count: u16, tensor: &str) -> PathBuf {
    let metadata = [
        ("general.architecture".to_owned(), MetaValue::from("llama")),
        ("split.no".to_owned(), number.into()),
        ("split.count".to_owned(), count.into()),
        ("split.tensors.count".to_owned(), 3_i32.into()),
    ];
    let values = Box::new(move || Ok(vec![f32::from(number); 4]));
    let tensor: NewTensor<'_> = NewTensor { name: tensor.to_owned(), shape: vec![4], ty: GgmlType::F32, values };
    let path = dir.join(name);
    write(&path, &metadata, vec![tensor]).unwrap();
    path
}

/// Three parts, and the path of the first.
fn three(dir: &Path) -> PathBuf {
    for number in [1, 2] {
        part(dir, &format!("m-0000{}-of-00003.gguf", number + 1), number, 3, &format!("t{number}"));
    }
    part(dir, "m-00001-of-00003.gguf", 0, 3, "t0")
}

#[test]
fn all_parts_are_found_beside_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&three(dir.path())).unwrap();
    let names: Vec<_> = gguf.tensors().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["t0", "t1", "t2"]);
    assert_eq!(gguf.tensor("t2").unwrap().values(), [2.0; 4]);
    assert!(gguf.tensor("t3").is_none());
}

#[test]
fn a_folder_without_the_first_part_names_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::remove_file(three(dir.path())).unwrap();
    let error = Files::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in 3 files and m-00001-of-00003.gguf is not beside this one"), "{error}");
}

/// Expect that the parts are refused with all of `said` after `change`, when `open` in the folder is opened.
#[track_caller]
fn check_refused(open: &str, change: impl FnOnce(&Path), said: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    change(dir.path());
    let error = Gguf::open(&dir.path().join(open)).unwrap_err().to_string();
    assert!(said.iter().all(|said| error.contains(said)), "{error} lacks one of {said:?}");
}

#[test]
fn what_is_wrong_with_the_parts_is_said() {
    let first = "m-00001-of-00003.gguf";
    let third = "m-00003-of-00003.gguf";
    check_refused(third, |_| (), &[third, "part 3 of 3", "give the first"]);
    let remove = |dir: &Path| std::fs::remove_file(dir.join(third)).unwrap();
    check_refused(first, remove, &["in 3 files", third, "download"]);
    let headless = |dir: &Path| std::fs::remove_file(dir.join(first)).unwrap();
    check_refused(third, headless, &["in 3 files", first, "download"]);
    let rename = |dir: &Path| std::fs::rename(dir.join(first), dir.join("m.gguf")).unwrap();
    check_refused("m.gguf", rename, &["split.count", "-00001-of-00003.gguf"]);
    let swapped = |dir: &Path| {
        std::fs::copy(dir.join("m-00002-of-00003.gguf"), dir.join(third)).unwrap();
    };
    check_refused(first, swapped, &[third, "split.no", "expected 2"]);
    let twice = |dir: &Path| {
        part(dir, third, 2, 3, "t0");
    };
    check_refused(first, twice, &["`t0` is in two parts"]);
    let cut_off = |dir: &Path| std::fs::write(dir.join(third), b"GGUF").unwrap();
    check_refused(first, cut_off, &[third, "broken"]);
    let fewer = |dir: &Path| {
        part(dir, "n-00001-of-00002.gguf", 0, 2, "t0");
        part(dir, "n-00002-of-00002.gguf", 1, 2, "t1");
    };
    check_refused("n-00001-of-00002.gguf", fewer, &["split.tensors.count", "is 3", "expected 2"]);
}
