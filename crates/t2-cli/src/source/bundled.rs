//! The model that the binary carries, unpacked into the cache.

use std::path::PathBuf;

use anyhow::bail;
use t2_model::files;

use crate::environment;

/// Name below the model's folder, and content.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// Length of the hash in the folder's name, in hexadecimal digits.
const HASH_LEN: usize = 16;

/// The folder of the bundled model.
///
/// Every file is compared with what the binary carries and written, whole or not at all, where it differs: a folder
/// that was cut short or damaged repairs itself, and two versions of t2 use two folders.
pub(crate) fn unpack() -> anyhow::Result<PathBuf> {
    if FILES.is_empty() {
        bail!("this t2 was built without the bundled model; build it in a checkout that has assets/tiny");
    }
    let dir = environment::cache_dir()?.join(format!("tiny-{}", hash(FILES)));
    for (name, bytes) in FILES {
        let path = dir.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(bytes) {
            files::write_atomically(&path, bytes)?;
        }
    }
    Ok(dir)
}

fn hash(files: &[(&str, &[u8])]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in files {
        hasher.update(name.as_bytes()).update(&[0]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_hex()[..HASH_LEN].to_owned()
}
