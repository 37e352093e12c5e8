//! The folder that Hugging Face tools keep one repository in, `models--org--name` or `datasets--org--name`.
//!
//! `refs/main` holds a commit, `snapshots/COMMIT/config.json` links to `blobs/HASH`: a file that two commits share is
//! stored once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::RepoId;

/// Ends the names of files that are being downloaded.
const INCOMPLETE: &str = ".incomplete";

/// The folder of one repository in the cache.
#[derive(Clone, Debug)]
pub(super) struct Repository(PathBuf);

impl Repository {
    /// The folder of a repository in `cache`.
    pub(super) fn of(cache: &Path, id: &RepoId) -> Self {
        Self(cache.join(id.folder()))
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.0.join("snapshots").join(commit)
    }

    /// The commit that a branch or tag points at, or that `revision` itself is.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let named = fs::read_to_string(self.0.join("refs").join(revision)).ok().map(|commit| commit.trim().to_owned());
        named.or_else(|| self.snapshot(revision).is_dir().then(|| revision.to_owned()))
    }

    /// Every commit of which files are here.
    pub(super) fn commits(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("snapshots")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut commits: Vec<String> = names.collect();
        commits.sort();
        commits
    }

    /// Let `revision` point at `commit`.
    pub(super) fn point(&self, revision: &str, commit: &str) -> io::Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.0.join("refs").join(revision);
        // A tag may be called `a/b`.
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        fs::write(path, commit)
    }

    /// Put the file `name` into the folder of `commit`: as a link to the content `blob`, where the Hub says which that
    /// is. `fill` appends to what an earlier attempt left.
    pub(super) fn store<E: From<io::Error>>(
        &self,
        commit: &str,
        name: &str,
        blob: Option<&str>,
        fill: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.snapshot(commit).join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let Some(blob) = blob else { return complete(&path, fill) };
        let blobs = self.0.join("blobs");
        fs::create_dir_all(&blobs)?;
        complete(&blobs.join(blob), fill)?;
        // As deep as the file is, so far up are the blobs.
        let up = "../".repeat(2 + name.matches('/').count());
        Ok(link(&blobs, blob, &path, Path::new(&up))?)
    }
}

/// The files of a commit's folder `dir`, by their paths from there, in order.
pub(super) fn files(dir: &Path) -> Vec<String> {
    let (mut files, mut folders) = (vec![], vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = dir.join(&folder).join(&name);
            if path.is_dir() {
                folders.push(format!("{folder}{name}/"));
            } else if path.exists() && !name.ends_with(INCOMPLETE) {
                files.push(format!("{folder}{name}"));
            }
        }
    }
    files.sort();
    files
}

/// Have `path` whole: filled under another name, by one process at a time, and renamed.
fn complete<E: From<io::Error>>(path: &Path, fill: impl FnOnce(&File) -> Result<(), E>) -> Result<(), E> {
    if path.exists() {
        return Ok(());
    }
    let mut part = path.as_os_str().to_owned();
    part.push(INCOMPLETE);
    let file = OpenOptions::new().create(true).append(true).open(&part)?;
    // On a file system without locks two processes at once are on their own.
    let _ = file.lock();
    // Whoever had the lock before may have been after the same file.
    if !path.exists() {
        fill(&file)?;
        fs::rename(&part, path)?;
    }
    Ok(())
}

/// Let `path` be the content `blob`; `up` leads from its folder to that of `blobs`.
fn link(blobs: &Path, blob: &str, path: &Path, up: &Path) -> io::Result<()> {
    #[cfg(not(unix))]
    let _ = up;
    // Another process may link the same file at this moment, and a link to nothing is left where blobs were cleared away:
    // so the link is made under a name of our own and takes the place of whatever there is.
    #[cfg(unix)]
    {
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        if std::os::unix::fs::symlink(up.join("blobs").join(blob), &new).is_ok() {
            return fs::rename(&new, path);
        }
    }
    // Where links are not to be had, other tools too keep the file itself in the snapshot.
    fs::rename(blobs.join(blob), path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::hub::Kind;
    use std::io::Write;

    fn repository(cache: &Path) -> Repository {
        Repository::of(cache, &RepoId::parse(Kind::Model, "org/name").unwrap())
    }

    /// Store `name` with the content `text`; whether it had to be fetched.
    fn store(repository: &Repository, commit: &str, blob: Option<&str>, text: &str) -> bool {
        let mut fetched = false;
        let fill = |mut file: &File| {
            fetched = true;
            file.write_all(text.as_bytes())
        };
        repository.store(commit, "config.json", blob, fill).unwrap();
        assert_eq!(fs::read_to_string(repository.snapshot(commit).join("config.json")).unwrap(), text);
        fetched
    }

    #[test]
    fn what_two_commits_share_is_fetched_once() {
        let cache = tempfile::tempdir().unwrap();
        let repository = repository(cache.path());
        assert!(store(&repository, "one", Some("hash"), "text"));
        assert!(!store(&repository, "two", Some("hash"), "text"));
        assert!(store(&repository, "two", Some("other"), "other text"));
        assert!(store(&repository, "three", None, "text"), "no content is known by no hash");
    }

    #[test]
    fn a_file_may_be_in_a_folder() {
        let cache = tempfile::tempdir().unwrap();
        let repository = repository(cache.path());
        let fill = |mut file: &File| file.write_all(b"text");
        repository.store("one", "deep/er/a.gguf", Some("hash"), fill).unwrap();
        assert_eq!(fs::read_to_string(repository.snapshot("one").join("deep/er/a.gguf")).unwrap(), "text");
        repository.store("one", "b", None, fill).unwrap();
        let broken_off = |_: &File| Err(io::Error::other("broken off"));
        repository.store("one", "deep/c", None, broken_off).unwrap_err();
        assert_eq!(files(&repository.snapshot("one")), ["b", "deep/er/a.gguf"]);
        assert!(files(&repository.snapshot("two")).is_empty());
    }

    #[test]
    fn a_revision_is_a_name_or_a_commit() {
        let cache = tempfile::tempdir().unwrap();
        let repository = repository(cache.path());
        assert_eq!(repository.commit("main"), None);
        store(&repository, "c0ffee", None, "text");
        for name in ["main", "refs/pr/1", "c0ffee"] {
            repository.point(name, "c0ffee").unwrap();
            assert_eq!(repository.commit(name).as_deref(), Some("c0ffee"), "{name}");
        }
        assert!(!cache.path().join("models--org--name/refs/c0ffee").exists());
    }
}
