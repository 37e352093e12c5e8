//! What a folder of factors holds, for people and scripts: the file of each weight, and how well it stands for it.

use std::path::Path;

use serde::Serialize;

use super::Loss;
use super::store::Key;
use crate::hash::Hash;
use crate::files::{WriteError, write_atomically};

/// One weight of a decomposed model.
#[derive(Serialize)]
pub(super) struct Entry {
    /// The parameter.
    path: String,
    /// Its file, in the same folder.
    file: String,
    /// `[d_in, d_out]`.
    shape: [usize; 2],
    #[serde(flatten)]
    loss: Loss,
}

impl Entry {
    pub(super) fn new(path: &str, key: &Key, shape: [usize; 2], loss: Loss) -> Self {
        Self { path: path.to_owned(), file: key.file_name(), shape, loss }
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
    // Whoever finds all factors on disk writes nothing.
    let is_there = std::fs::read(&path).is_ok_and(|found| found == document.as_bytes());
    if is_there { Ok(()) } else { write_atomically(&path, document.as_bytes()) }
}
