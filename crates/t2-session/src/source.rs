//! Where a model comes from: the bundled `tiny`, a folder, a GGUF file, or the Hub. And where a data set does: the Hub.

mod bundled;
mod error;
mod hub;

use std::path::{Path, PathBuf};

use crate::event::Watch;

pub use error::SourceError;
pub use hub::Hub;

/// The name of the bundled model.
pub const BUNDLED: &str = "tiny";

/// What models and data sets are taken from, and where they are kept.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The folder for what can be made again: the bundled model unpacked, factors, and hashes of checkpoints. Nothing is kept without one, and
    /// the bundled model cannot be loaded.
    pub cache: Option<PathBuf>,
    /// The Hub and its cache.
    pub hub: Hub,
}

impl Sources {
    /// The folder that remembers the hashes of checkpoints, if anything is kept.
    pub fn hashes(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("hashes"))
    }
}

/// A model whose config and tokenizer are here, while its weights may still be on the Hub.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    /// `None` for what the user has, and for the bundled model.
    remote: Option<hub::model::Model>,
}

impl Found {
    /// The folder of the model, or its GGUF file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when no weights have to be downloaded.
    pub fn is_complete(&self) -> bool {
        self.remote.as_ref().is_none_or(hub::model::Model::is_complete)
    }

    /// The folder of the model, or its GGUF file, with its weights, downloaded if need be.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when the Hub does not give them, or `watch` broke off.
    pub fn fetch_weights(self, watch: &dyn Watch) -> Result<PathBuf, SourceError> {
        if let Some(remote) = &self.remote {
            remote.fetch_weights(watch)?;
        }
        Ok(self.path)
    }
}

/// The model `name`, unpacked if need be, or as much of it downloaded as says what it is.
///
/// # Errors
///
/// [`SourceError`] when there is no such model, it does not run here, or the Hub cannot be reached.
pub fn find(name: &str, sources: &Sources, watch: &dyn Watch) -> Result<Found, SourceError> {
    let local = |path| Ok(Found { path, remote: None });
    if name == BUNDLED {
        return local(bundled::unpack(sources.cache.as_deref())?);
    }
    let path = Path::new(name);
    if path.is_dir() || path.extension().is_some_and(|ending| ending == "gguf") && path.exists() {
        return local(path.to_owned());
    }
    if path.exists() {
        return Err(SourceError::IsFile { name: name.to_owned() });
    }
    let id = hub::model::ModelId::parse(name).ok_or_else(|| SourceError::Unknown { name: name.to_owned() })?;
    let remote = hub::model::find(&sources.hub, &id, watch)?;
    Ok(Found { path: remote.path(), remote: Some(remote) })
}

/// The folder of the data set `id` of the Hub, `org/name` or `org/name@revision`, with the files that are `wanted`,
/// downloaded if need be.
///
/// A wanted file is a list of places where it may be, by paths in the repository: `["main/test-*.parquet",
/// "test.jsonl"]`. `*` stands for any part of the name of a file or folder. Of the first place that has the file, all
/// files that fit are fetched. Without the Hub, the folder is one of the cache that has them.
///
/// # Errors
///
/// [`SourceError`] when there is no such data set, it has no such file, or the Hub cannot be reached; when `watch` broke
/// off.
pub fn dataset(id: &str, wanted: &[Vec<String>], sources: &Sources, watch: &dyn Watch) -> Result<PathBuf, SourceError> {
    hub::dataset::fetch(&sources.hub, id, wanted, watch)
}
