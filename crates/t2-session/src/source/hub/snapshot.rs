//! One commit of one repository: in the cache what was fetched of it, on the Hub all of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cache::{self, Repository};
use super::client::{Client, Refusal, RemoteFile};
use super::{Hub, Kind, MAIN, RepoId};
use crate::event::{Event, Watch};
use crate::source::SourceError;

/// One commit of one repository, as far as it is in the cache.
#[derive(Debug)]
pub(super) struct Snapshot {
    id: RepoId,
    repository: Repository,
    commit: String,
    dir: PathBuf,
    origin: Origin,
}

/// Where a file comes from that is not in the cache.
#[derive(Debug)]
enum Origin {
    /// The Hub, which has these files.
    Hub(Client, BTreeMap<String, RemoteFile>),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// What is wanted of a repository: without the Hub, a commit will do that has it.
pub(super) struct Wish<'a> {
    /// What people call it.
    pub(super) what: String,
    /// Whether the folder of a commit has it.
    pub(super) is_in: &'a dyn Fn(&Path) -> bool,
}

impl Snapshot {
    /// The commit that `id` is by now; where the Hub cannot be asked, one that has in the cache what is wanted.
    pub(super) fn open(hub: &Hub, id: &RepoId, wish: &Wish<'_>, watch: &dyn Watch) -> Result<Self, SourceError> {
        let no_cache = || SourceError::hub("there is no home folder to keep downloads in; set HF_HOME to a folder");
        let cache = hub.cache.as_deref().ok_or_else(no_cache)?;
        let cached = |reason: &str| Self::cached(cache, id, wish, reason);
        let not_cached = || format!("{} is not in the cache {}", wish.what, cache.display());
        if hub.offline {
            let reason = "HF_HUB_OFFLINE is set; unset it to download";
            return cached(reason).ok_or_else(|| SourceError::hub(format!("{} and {reason}", not_cached())));
        }
        let client = Client::new(hub);
        let info = match client.info(id) {
            Ok(info) => info,
            Err(Refusal::Status(status)) => return Err(SourceError::hub(id.refused(status))),
            Err(Refusal::Interrupted) => return Err(SourceError::Interrupted { file: id.name.clone() }),
            Err(Refusal::Unreachable(reason)) => {
                let reason = format!("the Hub at {} cannot be reached ({reason})", hub.endpoint);
                let Some(snapshot) = cached(&format!("{reason}; check the network")) else {
                    let absent = match id.kind {
                        Kind::Model => format!("there is no folder {}", id.name),
                        Kind::Dataset => not_cached(),
                    };
                    return Err(SourceError::hub(format!("{absent}, and {reason}; check the name or the network")));
                };
                // A note is no chance to break off.
                let _ = watch.see(Event::Note(&format!("{reason}; using the cached copy of {}", id.name)));
                return Ok(snapshot);
            }
        };
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(SourceError::hub(format!(
                "the Hub gave `{}` as the commit of {}; check HF_ENDPOINT",
                info.sha, id.name
            )));
        }
        Ok(Self::at(cache, id, info.sha, Origin::Hub(client, info.files)))
    }

    /// What the cache has of `id`; `None` when that is not what is wanted.
    fn cached(cache: &Path, id: &RepoId, wish: &Wish<'_>, reason: &str) -> Option<Self> {
        let repository = Repository::of(cache, id);
        let named = repository.commit(&id.revision);
        // The branch may point at a commit of which something else was fetched. Who names a revision wants no other.
        let others = if id.revision == MAIN { repository.commits() } else { vec![] };
        let commit = named.into_iter().chain(others).find(|commit| (wish.is_in)(&repository.snapshot(commit)))?;
        Some(Self::at(cache, id, commit, Origin::Nowhere(reason.to_owned())))
    }

    fn at(cache: &Path, id: &RepoId, commit: String, origin: Origin) -> Self {
        let repository = Repository::of(cache, id);
        let dir = repository.snapshot(&commit);
        Self { id: id.clone(), repository, commit, dir, origin }
    }

    /// The folder of the commit in the cache.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The repository.
    pub(super) fn id(&self) -> &RepoId {
        &self.id
    }

    /// True when there is a Hub to fetch from.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.origin, Origin::Hub(..))
    }

    /// True when the revision is known without the Hub.
    pub(super) fn is_known(&self) -> bool {
        self.repository.commit(&self.id.revision).is_some()
    }

    /// The files that can be had, in order.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.origin {
            Origin::Hub(_, files) => files.keys().cloned().collect(),
            Origin::Nowhere(_) => cache::files(&self.dir),
        }
    }

    /// Whether the file `name` can be had.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.origin {
            Origin::Hub(_, files) => files.contains_key(name),
            Origin::Nowhere(_) => self.dir.join(name).exists(),
        }
    }

    /// Have the file `name` in the folder.
    pub(super) fn get(&self, name: &str, watch: &dyn Watch) -> Result<(), SourceError> {
        if self.dir.join(name).exists() {
            return Ok(());
        }
        let repo = &self.id.name;
        let (client, files) = match &self.origin {
            Origin::Hub(client, files) => (client, files),
            Origin::Nowhere(reason) => {
                return Err(SourceError::hub(format!(
                    "{name} of {repo} is not in the cache {}, and {reason}",
                    self.dir.display()
                )));
            }
        };
        let file = files.get(name).cloned().unwrap_or_default();
        let mut progress = |done, total| watch.see(Event::Downloading { file: name, done, total });
        let fetched = self.repository.store(&self.commit, name, file.blob.as_deref(), |part| {
            client.download(&self.id.file_path(&self.commit, name), &file, part, &mut progress)
        });
        let reason = match fetched {
            Ok(()) => return Ok(()),
            Err(Refusal::Interrupted) => return Err(SourceError::Interrupted { file: name.to_owned() }),
            Err(Refusal::Unreachable(reason)) => reason,
            Err(Refusal::Status(status @ (401 | 403))) => self.id.refused(status),
            Err(Refusal::Status(status)) => format!("the Hub answered {status}"),
        };
        Err(SourceError::hub(format!("cannot download {name} of {repo}: {reason}; do the same again to go on")))
    }

    /// Let the revision point at this commit, if it is the Hub's.
    pub(super) fn point(&self) -> Result<(), SourceError> {
        if !self.is_remote() {
            return Ok(());
        }
        let written = self.repository.point(&self.id.revision, &self.commit);
        written
            .map_err(|source| SourceError::Cache { what: "cannot write to the Hugging Face cache".to_owned(), source })
    }
}
