//! Files that exist whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A file could not be written; nothing is left under its name.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}; free some space or choose another folder")]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// Write `bytes` to a temporary neighbour of `path`, flush it to the disk, and rename it: a reader, a full disk or a
/// kill at any moment finds the old file or the new one.
///
/// # Errors
///
/// [`WriteError`] when the folder cannot be made or the disk refuses.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let write = || {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| WriteError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_no_neighbours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/file");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomically(dir.path(), b"a folder is in the way").unwrap_err();
        assert!(error.to_string().contains(&dir.path().display().to_string()));
    }
}
