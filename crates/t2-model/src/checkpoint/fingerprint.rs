//! The hash of a checkpoint's weights, and the folder that remembers it.
//!
//! Hashing reads every weight. What is remembered is taken while the files have the size and the time of change that
//! they had, and the config says what it said. A file that was changed within the last seconds is not remembered: its
//! time might not tell the next change from this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Files, LoadError, Stored};
use crate::files::write_atomically;
use crate::hash::Hash;

/// Version of what the hash is of; hashes of others are made again.
const VERSION: u32 = 2;
/// How old a file must be for its time of change to be trusted: the coarsest clocks of file systems tick every 2 s.
const SETTLED: Duration = Duration::from_secs(3);

/// The hash of the weights of `files`, from the folder `hashes` if it is known there.
pub(super) fn of(
    files: &Files,
    stored: &BTreeMap<String, Stored<'_>>,
    hashes: Option<&Path>,
) -> Result<Hash, LoadError> {
    if let Some(known) = hashes.and_then(|hashes| known(files, hashes)) {
        return Ok(known);
    }
    // The state before the weights are read: if somebody changes them meanwhile, it is not theirs afterwards.
    let state = State::of(files);
    let hash = hash(stored);
    if let (Some(dir), Some(state)) = (hashes, state.filter(State::is_settled)) {
        let path = state.path(dir);
        let text = serde_json::to_vec(&Entry { state, hash }).unwrap_or_default();
        // What cannot be remembered is computed again next time.
        if let Err(error) = write_atomically(&path, &text) {
            tracing::warn!("{error}: the weights will be hashed again next time");
        }
    }
    Ok(hash)
}

/// The hash of the weights of `files` that the folder `hashes` remembers.
pub(super) fn known(files: &Files, hashes: &Path) -> Option<Hash> {
    let state = State::of(files)?;
    let entry: Entry = serde_json::from_slice(&std::fs::read(state.path(hashes)).ok()?).ok()?;
    (entry.state == state).then_some(entry.hash)
}

/// Hash of path, stored type, stored shape and bytes of every tensor, in the order of the paths.
fn hash(stored: &BTreeMap<String, Stored<'_>>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for (path, Stored { source, tensor, .. }) in stored {
        let shape = source.layout.turn(&source.shape);
        hasher.update(format!("{path} {} {shape:?}\n", tensor.ty).as_bytes());
        hasher.update_rayon(source.rows.bytes(tensor.data(), tensor.rows()));
        tensor.release();
    }
    hasher.finalize().into()
}

/// What a remembered hash depends on.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Hash of the config, which says what the tensors are.
    config: Hash,
    files: Vec<FileState>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct FileState {
    path: PathBuf,
    bytes: u64,
    /// Time of the last change, since 1970.
    changed: Duration,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    state: State,
    hash: Hash,
}

impl State {
    /// `None` where the system does not tell.
    fn of(files: &Files) -> Option<Self> {
        let state = |path: PathBuf| {
            let path = path.canonicalize().ok()?;
            let metadata = path.metadata().ok()?;
            let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(FileState { bytes: metadata.len(), changed, path })
        };
        let config = blake3::hash(files.format.config().to_string().as_bytes()).into();
        Some(Self {
            version: VERSION,
            config,
            files: files.format.files().into_iter().map(state).collect::<Option<_>>()?,
        })
    }

    /// Where in the folder `hashes` the entry of these files is, whatever their state.
    fn path(&self, hashes: &Path) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            hasher.update(file.path.as_os_str().as_encoded_bytes()).update(&[0]);
        }
        hashes.join(format!("{}.json", Hash::from(hasher.finalize())))
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.files.iter().all(|file| file.changed + SETTLED < now)
    }
}
