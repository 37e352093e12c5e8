//! Vocabularies of every format give the ids of the library they come from.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skipped")]

use std::path::{Path, PathBuf};

use t2_model::Tokenizer;
use t2_model::text::GgufVocabulary;

/// Where golden/make_tokenizers.py writes the small ones.
fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers")
}

/// Where it wrote the real ones; `None`, said aloud, when that is not given.
#[expect(clippy::disallowed_methods, reason = "a test asks for its data through the environment")]
fn real() -> Option<PathBuf> {
    let dir = std::env::var_os("T2_TOKENIZERS").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: set T2_TOKENIZERS to what golden/make_tokenizers.py --real has written");
    }
    dir
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn load(dir: &Path) -> Tokenizer {
    let metadata = dir.join("gguf.json");
    if metadata.exists() {
        return Tokenizer::from_gguf(&json::<GgufVocabulary>(&metadata), &metadata).unwrap();
    }
    Tokenizer::load(dir).unwrap().unwrap()
}

/// Expect the ids of every text that `dir` holds beside its tokenizer, but for texts that are `excepted`.
#[track_caller]
fn check(dir: &Path, excepted: &[&str]) {
    let texts: Vec<String> = json(&dir.with_file_name("texts.json"));
    let expected: Vec<Vec<u32>> = json(&dir.join("ids.json"));
    assert_eq!(texts.len(), expected.len(), "{}", dir.display());
    let tokenizer = load(dir);
    let mut wrong = vec![];
    for (text, expected) in texts.iter().zip(&expected) {
        let ids = tokenizer.encode_fragment(text).unwrap();
        if ids != *expected {
            wrong.push(format!("{text:?}: {ids:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} in {}:\n{}", wrong.len(), texts.len(), dir.display(), wrong.join("\n"));
}

#[test]
fn x() {
    let mut failed = vec![];
    for root in [Some(small()), real()].into_iter().flatten() {
        let mut dirs: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
        dirs.sort();
        for dir in dirs {
            if let Err(e) = std::panic::catch_unwind(|| check(&dir, &[])) {
                failed.push(e.downcast_ref::<String>().cloned().unwrap_or_default());
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
