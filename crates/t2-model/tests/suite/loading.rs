//! Loading is broken off without harm, and remembers the hashes of files that did not change.

use std::fs::File;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use burn::prelude::*;
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, Files, GenerationDefaults, LoadError, LoadOptions, Loading};
use tempfile::TempDir;

use crate::tiny;

/// A checkpoint on disk.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(&tiny::decoder(1), &Llama, &GenerationDefaults::default(), folder.path()).unwrap();
    folder
}

#[test]
fn loading_can_be_broken_off() {
    let folder = folder();
    let dir = folder.path();
    let mut seen: Vec<Loading> = vec![];
    let mut stop_near_the_end = |loading: Loading| {
        seen.push(loading);
        if 4 * loading.done > 3 * loading.total { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = LoadOptions { progress: Some(&mut stop_near_the_end), ..LoadOptions::default() };
    let error = Files::open(dir).unwrap().load(&Device::flex(), options).unwrap_err();
    assert!(matches!(error, LoadError::Interrupted));
    assert!(seen.len() > 1 && seen.is_sorted_by_key(|loading| loading.done), "{seen:?}");
    assert!(seen.iter().rev().skip(1).all(|loading| 4 * loading.done <= 3 * loading.total), "it ended at once");
}

#[test]
fn hashes_are_remembered_until_a_file_changes() {
    let folder = folder();
    let dir = folder.path();
    let hashes = tempfile::tempdir().unwrap();
    let weights = dir.join("model.safetensors");
    let hash = || Files::open(dir).unwrap().hash(Some(hashes.path())).unwrap();
    let remembered = || std::fs::read_dir(hashes.path()).unwrap().count();
    let set_time = |age: u64| {
        let time = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(&weights).unwrap().set_modified(time).unwrap();
    };
    let first = hash();
    assert_eq!(first, checkpoint::hash(dir).unwrap());
    set_time(0);
    hash();
    assert_eq!(remembered(), 0, "a file that was changed a moment ago may change again within its time");
    set_time(100);
    assert_eq!((hash(), remembered()), (first, 1));
    // Another hash in its place shows that it is the remembered one that is taken.
    let entry = std::fs::read_dir(hashes.path()).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&entry).unwrap();
    let other = "0".repeat(64);
    std::fs::write(&entry, text.replace(&first.to_string(), &other)).unwrap();
    assert_eq!(hash().to_string(), other);
    set_time(99);
    assert_eq!(hash(), first, "another time");
    std::fs::write(&entry, "{").unwrap();
    assert_eq!(hash(), first, "a damaged entry");
}
