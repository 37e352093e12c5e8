//! Where a model comes from: the bundled `tiny`, a folder, a GGUF file, or the Hub.

mod bundled;
mod error;
mod hub;

use std::path::{Path, PathBuf};

use crate::event::Watch;

pub use error::SourceError;
pub use hub::Hub;

/// The name of the bundled model.
pub const BUNDLED: &str = "tiny";

/// What models are taken from, and where they are kept.
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
    snapshot: Option<hub::Snapshot>,
}

impl Found {
    /// The folder of the model, or its GGUF file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when no weights have to be downloaded.
    pub fn is_complete(&self) -> bool {
        self.snapshot.as_ref().is_none_or(hub::Snapshot::is_complete)
    }

    /// The folder of the model, or its GGUF file, with its weights, downloaded if need be.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when the Hub does not give them, or `watch` broke off.
    pub fn fetch_weights(self, watch: &dyn Watch) -> Result<PathBuf, SourceError> {
        if let Some(snapshot) = &self.snapshot {
            snapshot.fetch_weights(watch)?;
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
    let local = |path| Ok(Found { path, snapshot: None });
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
    let id = hub::HubId::parse(name).ok_or_else(|| SourceError::Unknown { name: name.to_owned() })?;
    let snapshot = hub::find(&sources.hub, &id, watch)?;
    Ok(Found { path: snapshot.path(), snapshot: Some(snapshot) })
}
