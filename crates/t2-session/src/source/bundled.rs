//! The model that the binary carries, unpacked into the cache.

use std::path::{Path, PathBuf};

use t2_model::files::{self, WriteError};

use super::SourceError;

/// Name below the model's folder, and content.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// Length of the hash in the folder's name, in hexadecimal digits.
const HASH_LEN: usize = 16;

/// The folder of the bundled model below `cache`.
pub(super) fn unpack(cache: Option<&Path>) -> Result<PathBuf, SourceError> {
    let unusable = |reason| SourceError::Bundled { reason };
    if FILES.is_empty() {
        return Err(unusable("this program was built without it; build it in a checkout that has assets/tiny"));
    }
    let cache = cache.ok_or_else(|| unusable("there is no folder to unpack it in; set T2_CACHE to a folder"))?;
    Ok(unpack_into(cache, FILES)?)
}

/// The folder below `cache` that holds `files`.
///
/// Every file is compared with what the binary carries and written, whole or not at all, where it differs: a folder
/// that was cut short or damaged repairs itself, and two versions of t2 use two folders.
fn unpack_into(cache: &Path, files: &[(&str, &[u8])]) -> Result<PathBuf, WriteError> {
    let dir = cache.join(format!("tiny-{}", hash(files)));
    for (name, bytes) in files {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_folder_repairs_itself() {
        let cache = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("experts/math.safetensors", b"z")];
        let dir = unpack_into(cache.path(), &files).unwrap();
        std::fs::write(dir.join("config.json"), "{").unwrap();
        std::fs::remove_file(dir.join("experts/math.safetensors")).unwrap();
        assert_eq!(unpack_into(cache.path(), &files).unwrap(), dir);
        for (name, bytes) in files {
            assert_eq!(std::fs::read(dir.join(name)).unwrap(), bytes);
        }
    }

    #[test]
    fn another_version_has_another_folder() {
        let cache = tempfile::tempdir().unwrap();
        let unpack = |bytes: &[u8]| unpack_into(cache.path(), &[("config.json", bytes)]).unwrap();
        assert_ne!(unpack(b"1"), unpack(b"2"));
    }
}
