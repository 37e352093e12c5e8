//! Where a MODEL comes from: the bundled `tiny`, a folder, or the Hub.

mod bundled;
mod hub;

use std::path::{Path, PathBuf};

use anyhow::bail;

pub(crate) use hub::Hub;

use crate::output::Output;

/// The name of the bundled model.
pub(crate) const BUNDLED: &str = "tiny";

/// What models are taken from, and where they are kept.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The folder that the bundled model is unpacked in; `None` where there is no home folder.
    pub(crate) cache: Option<PathBuf>,
    /// The Hub and its cache.
    pub(crate) hub: Hub,
}

/// A model whose config and tokenizer are in a folder, while its weights may still be on the Hub.
#[derive(Debug)]
pub(crate) struct Found {
    dir: PathBuf,
    /// `None` for a folder of the user, and for the bundled model.
    snapshot: Option<hub::Snapshot>,
}

impl Found {
    /// The folder of the model.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// True when no weights have to be downloaded.
    pub(crate) fn is_complete(&self) -> bool {
        self.snapshot.as_ref().is_none_or(hub::Snapshot::is_complete)
    }

    /// The folder of the model with its weights, downloaded if need be.
    pub(crate) fn fetch_weights(self, out: &Output) -> anyhow::Result<PathBuf> {
        if let Some(snapshot) = &self.snapshot {
            snapshot.fetch_weights(out)?;
        }
        Ok(self.dir)
    }
}

/// The model `name`, unpacked if need be, or as much of it downloaded as says what it is.
pub(crate) fn find(name: &str, sources: &Sources, out: &Output) -> anyhow::Result<Found> {
    let local = |dir| Ok(Found { dir, snapshot: None });
    if name == BUNDLED {
        return local(bundled::unpack(sources.cache.as_deref())?);
    }
    let folder = Path::new(name);
    if folder.is_dir() {
        return local(folder.to_owned());
    }
    if folder.exists() {
        bail!("MODEL `{name}` is a file; give the folder that holds config.json and the weights");
    }
    let Some(id) = hub::HubId::parse(name) else {
        bail!(
            "there is no model `{name}`; give `{BUNDLED}` (bundled), an existing folder, or a Hub id such as org/name"
        )
    };
    let snapshot = hub::find(&sources.hub, &id, out)?;
    Ok(Found { dir: snapshot.dir().to_owned(), snapshot: Some(snapshot) })
}
