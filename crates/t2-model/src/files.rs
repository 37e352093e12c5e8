//! Files that exist whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file could not be written; nothing is left under its name.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}; free some space or choose another folder")]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Ends the names of files that are being written.
const PARTIAL: &str = ".partial";

/// Write `bytes` to `path` as [`write_atomically_with`] does.
///
/// # Errors
///
/// [`WriteError`] when the folder cannot be made or the disk refuses.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_atomically_with(path, |path| std::fs::write(path, bytes))
}

/// Let `write` fill a temporary neighbour of `path`, flush it to the disk, and rename it: a reader, a full disk or a
/// kill at any moment finds the old file or the new one. Temporary files that killed writers left are removed.
///
/// # Errors
///
/// [`WriteError`] when the folder cannot be made, the disk refuses, or `write` fails.
pub fn write_atomically_with(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), WriteError> {
    let all = || {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        std::fs::create_dir_all(dir)?;
        clear_leftovers(dir, &prefix)?;
        let file = neighbour(dir, &prefix)?;
        write(file.path())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    all().map_err(|source| WriteError { path: path.to_owned(), source })
}

/// A new file in `dir`, locked for as long as its writer lives.
fn neighbour(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(PARTIAL);
    // What the umask allows, like any other file: temporary ones are private otherwise.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(dir)?;
    // On a file system without locks what a killed writer leaves stays, and only costs space.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Remove the neighbours that no living writer has locked.
fn clear_leftovers(dir: &Path, prefix: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_left_over = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if name.starts_with(prefix) && name.ends_with(PARTIAL) && is_left_over() {
            // Another writer may have been faster; a file that cannot be removed only costs space.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
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
    fn what_a_killed_writer_left_is_cleared_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dead = neighbour(dir.path(), ".file.").unwrap().into_temp_path().keep().unwrap();
        let alive = neighbour(dir.path(), ".file.").unwrap();
        let other = neighbour(dir.path(), ".another.").unwrap().into_temp_path().keep().unwrap();
        write_atomically(&dir.path().join("file"), b"bytes").unwrap();
        assert!(!dead.exists() && alive.path().exists() && other.exists());
    }

    #[test]
    fn a_failure_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomically(dir.path(), b"a folder is in the way").unwrap_err();
        assert!(error.to_string().contains(&dir.path().display().to_string()));
    }
}
