//! A list of what a folder of factors holds, for people and scripts: which file has the factors of which weight, how
//! well they reproduce it, and which solver computed them.

use std::path::Path;

use serde::Serialize;

use super::Record;
use super::store::Key;
use crate::files::{WriteError, write_atomically};
use crate::hash::Hash;

/// One weight of a decomposed model.
#[derive(Serialize)]
pub(super) struct Entry {
    /// The parameter.
    path: String,
    /// Name of the file that holds the factors, in the folder of the manifest.
    file: String,
    /// `[d_in, d_out]`.
    shape: [usize; 2],
    #[serde(flatten)]
    record: Record,
}

impl Entry {
    pub(super) fn new(path: &str, key: &Key, shape: [usize; 2], record: Record) -> Self {
        Self { path: path.to_owned(), file: key.file_name(), shape, record }
    }
}

/// Write the manifest of a model: a JSON document under a name that is the hash of paths and files, so that models
/// which share a folder have one each.
pub(super) fn write(dir: &Path, mut entries: Vec<Entry>) -> Result<(), WriteError> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hasher = blake3::Hasher::new();
    for Entry { path, file, .. } in &entries {
        hasher.update(path.as_bytes()).update(&[0]).update(file.as_bytes()).update(&[0]);
    }
    let hash = Hash::from(hasher.finalize());
    let path = dir.join(format!("manifest-{}.json", hash.short()));
    let document = format!("{:#}\n", serde_json::json!({ "weights": entries }));
    // A run that found every factor on disk leaves the manifest alone.
    let is_there = std::fs::read(&path).is_ok_and(|found| found == document.as_bytes());
    if is_there { Ok(()) } else { write_atomically(&path, document.as_bytes()) }
}
