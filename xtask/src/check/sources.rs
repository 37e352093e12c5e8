//! The files of the repository: what git tracks, and what it would track if it were added now.

use std::path::Path;

use anyhow::Context;

use crate::spawn::{command, output, root};

/// A file of the repository.
pub(super) struct Source {
    /// The path from the root of the repository, with `/` between folders.
    pub(super) path: String,
    /// The content of the file.
    pub(super) text: String,
}

/// Every text file of the repository, in order. Binary files are left out.
///
/// # Errors
/// If git cannot list the files or one of them cannot be read.
pub(super) fn sources() -> anyhow::Result<Vec<Source>> {
    let listed = output(command("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let read = paths.into_iter().map(|path| source(root(), path));
    read.filter_map(Result::transpose).collect()
}

/// The file at `path`; none if it is binary, or deleted and not yet committed.
fn source(root: &Path, path: &str) -> anyhow::Result<Option<Source>> {
    let file = root.join(path);
    if !file.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(&file).with_context(|| format!("could not read {path}"))?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    Ok(text.map(|text| Source { path: path.to_owned(), text }))
}

impl Source {
    /// Whether the file is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The name of the file, without its folders.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}
