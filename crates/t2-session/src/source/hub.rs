//! Models of the Hugging Face Hub, kept in the cache that every Hugging Face tool shares.
//!
//! What says which model it is comes first, its weights last: a model that does not run costs no download of gigabytes. A
//! GGUF file is the exception: it is one file, and is fetched before it is read.
//! A snapshot is fetched by its commit, and a branch is only pointed at another commit once that is complete: a
//! download that was cut off never takes the place of a model.

mod cache;
mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use t2_model::checkpoint;
use t2_model::format::gguf;

use super::SourceError;
use crate::event::{Event, Watch};
use cache::Repository;
use client::{Client, Refusal, RemoteFile};

const CONFIG: &str = "config.json";
const ADAPTER: &str = "adapter_config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// How the names of models in single files end.
const GGUF: &str = ".gguf";
/// What tools keep beside the weights and read a model by; fetched where the repository has them.
const BESIDE: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
];

/// The Hub that models are fetched from, and the folder they are kept in.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// What the user identifies by.
    pub token: Option<String>,
    /// The cache of models; `None` where there is no home folder.
    pub cache: Option<PathBuf>,
    /// True when nothing may be fetched.
    pub offline: bool,
}

/// `org/name`, a branch, tag or commit, and of many files perhaps one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubId {
    repo: String,
    revision: String,
    /// The GGUF file that is wanted; `None` for a model in the layout of transformers.
    file: Option<String>,
}

impl Default for Hub {
    /// The public Hub, without a token, and without a cache, which a download needs.
    fn default() -> Self {
        Self { endpoint: "https://huggingface.co".to_owned(), token: None, cache: None, offline: false }
    }
}

impl HubId {
    /// `org/name[@revision][:file.gguf]`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (text, file) = text.split_once(':').map_or((text, None), |(text, file)| (text, Some(file)));
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = repo.split_once('/')?;
        let valid = |part: &str| {
            let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            plain && !part.starts_with('.') && !part.contains("..") && !part.is_empty()
        };
        let parts = [org, name].into_iter().chain(revision.split('/'));
        let all = parts.chain(file.iter().flat_map(|file| file.split('/'))).all(valid);
        let is_model = file.is_none_or(|file| file.ends_with(GGUF));
        (all && is_model).then(|| Self {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }
}

/// One commit of one repository, as far as it is in the cache.
#[derive(Debug)]
pub(crate) struct Snapshot {
    id: HubId,
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

/// The snapshot of `id`, with everything but its weights downloaded.
pub(crate) fn find(hub: &Hub, id: &HubId, watch: &dyn Watch) -> Result<Snapshot, SourceError> {
    let no_cache = || SourceError::hub("there is no home folder to keep downloads in; set HF_HOME to a folder");
    let cache = hub.cache.as_deref().ok_or_else(no_cache)?;
    let cached = |reason: &str| Snapshot::cached(cache, id, reason);
    if hub.offline {
        let reason = "HF_HUB_OFFLINE is set; unset it to download";
        return cached(reason).ok_or_else(|| {
            let HubId { repo, revision, file } = id;
            let file = file.as_ref().map(|file| format!("{file} of ")).unwrap_or_default();
            SourceError::hub(format!("{file}{repo}@{revision} is not in the cache {} and {reason}", cache.display()))
        });
    }
    let client = Client::new(hub);
    let info = match client.info(id) {
        Ok(info) => info,
        Err(Refusal::Status(status)) => return Err(SourceError::hub(refused(status, id))),
        Err(Refusal::Interrupted) => return Err(SourceError::Interrupted { file: id.repo.clone() }),
        Err(Refusal::Unreachable(reason)) => {
            let reason = format!("the Hub at {} cannot be reached ({reason})", hub.endpoint);
            let Some(snapshot) = cached(&format!("{reason}; check the network")) else {
                let reason = format!("there is no folder {}, and {reason}; check the name or the network", id.repo);
                return Err(SourceError::hub(reason));
            };
            // A note is no chance to break off.
            let _ = watch.see(Event::Note(&format!("{reason}; using the cached copy of {}", id.repo)));
            return Ok(snapshot);
        }
    };
    if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(SourceError::hub(format!(
            "the Hub gave `{}` as the commit of {}; check HF_ENDPOINT",
            info.sha, id.repo
        )));
    }
    let repository = Repository::of(cache, &id.repo);
    let dir = repository.snapshot(&info.sha);
    let snapshot =
        Snapshot { id: id.clone(), repository, commit: info.sha, dir, origin: Origin::Hub(client, info.files) };
    snapshot.fetch_description(watch)?;
    Ok(snapshot)
}

impl Snapshot {
    /// What the cache knows as `id`; `None` when that is not enough to say which model it is.
    fn cached(cache: &Path, id: &HubId, reason: &str) -> Option<Self> {
        let repository = Repository::of(cache, &id.repo);
        let is_known = |dir: &Path| match &id.file {
            Some(file) => parts_of(file).iter().all(|part| dir.join(part).exists()),
            None => dir.join(CONFIG).exists() || dir.join(ADAPTER).exists(),
        };
        // The branch may point at a commit of which another file was fetched.
        let commits = repository.commit(&id.revision).into_iter().chain(repository.commits());
        let commit = commits.into_iter().find(|commit| is_known(&repository.snapshot(commit)))?;
        let dir = repository.snapshot(&commit);
        Some(Self { id: id.clone(), repository, commit, dir, origin: Origin::Nowhere(reason.to_owned()) })
    }

    /// The folder of the snapshot, or the one file of it that is wanted.
    pub(crate) fn path(&self) -> PathBuf {
        self.id.file.as_ref().map_or_else(|| self.dir.clone(), |file| self.dir.join(file))
    }

    /// True when all weights are in the cache.
    pub(crate) fn is_complete(&self) -> bool {
        if self.id.file.is_some() {
            return true;
        }
        let here = |name: &str| self.dir.join(name).exists();
        here(SINGLE) || (here(INDEX) && self.shards().is_ok_and(|shards| shards.iter().all(|shard| here(shard))))
    }

    /// Fetch the config, refuse a model that does not run, and fetch what lies beside the weights. A GGUF file is fetched
    /// whole: it holds all of these.
    fn fetch_description(&self, watch: &dyn Watch) -> Result<(), SourceError> {
        if let Some(file) = &self.id.file {
            if !gguf::is_first(Path::new(file)) {
                return Err(SourceError::hub(format!(
                    "{file} is a later part of a model; name its first part, and the others are fetched with it"
                )));
            }
            let parts = parts_of(file);
            parts.iter().try_for_each(|part| self.refuse_missing(part))?;
            parts.iter().try_for_each(|part| self.get(part, watch))?;
            return self.point();
        }
        if !self.has(CONFIG) && !self.has(ADAPTER) {
            return Err(self.lacks(CONFIG, "a repository of a transformers model"));
        }
        // Beside weights of its own an adapter is an extra.
        let adapter = (!self.has(SINGLE) && !self.has(INDEX)).then_some(ADAPTER);
        for name in [CONFIG, "generation_config.json"].into_iter().chain(adapter).filter(|name| self.has(name)) {
            self.get(name, watch)?;
        }
        checkpoint::summarize(&self.dir)?;
        for name in BESIDE.into_iter().filter(|name| self.has(name)) {
            self.get(name, watch)?;
        }
        if self.repository.commit(&self.id.revision).is_none() { self.point() } else { Ok(()) }
    }

    /// Refuse a GGUF file that the repository lacks.
    fn refuse_missing(&self, file: &str) -> Result<(), SourceError> {
        if self.has(file) {
            return Ok(());
        }
        let models = self.models();
        let known = if models.is_empty() { "no GGUF files".to_owned() } else { models.join(", ") };
        Err(SourceError::hub(format!("{} has no {file}; it has {known}", self.id.repo)))
    }

    /// The error that the repository has no file `name`: it may have models as GGUF, or the user may choose an `other` one.
    fn lacks(&self, name: &str, other: &str) -> SourceError {
        let repo = &self.id.repo;
        SourceError::hub(match self.models().first() {
            Some(model) => {
                format!("{repo} has models as GGUF and no {name}; name one of its files, such as {repo}:{model}")
            }
            None => format!("{repo} has no {name}; choose {other}"),
        })
    }

    /// The GGUF files of the repository that are models, or first parts of one: towers that see or hear are none.
    fn models(&self) -> Vec<&str> {
        let Origin::Hub(_, files) = &self.origin else { return vec![] };
        let is_model = |name: &&str| gguf::is_first(Path::new(name)) && !name.contains("mmproj");
        files.keys().map(String::as_str).filter(is_model).collect()
    }

    /// Fetch the weights.
    pub(crate) fn fetch_weights(&self, watch: &dyn Watch) -> Result<(), SourceError> {
        if self.id.file.is_some() {
            return Ok(());
        }
        if self.has(SINGLE) {
            self.get(SINGLE, watch)?;
        } else if self.has(INDEX) {
            self.get(INDEX, watch)?;
            for shard in self.shards()? {
                if matches!(self.origin, Origin::Hub(..)) && !self.has(&shard) {
                    return Err(SourceError::hub(format!(
                        "{INDEX} of {} names {shard}, which the repository lacks; choose another",
                        self.id.repo
                    )));
                }
                self.get(&shard, watch)?;
            }
        } else if let Origin::Nowhere(_) = &self.origin {
            self.get(SINGLE, watch)?;
        } else {
            return Err(self.lacks(SINGLE, "a repository with safetensors weights"));
        }
        if let Origin::Hub(..) = &self.origin { self.point() } else { Ok(()) }
    }

    fn point(&self) -> Result<(), SourceError> {
        let written = self.repository.point(&self.id.revision, &self.commit);
        written
            .map_err(|source| SourceError::Cache { what: "cannot write to the Hugging Face cache".to_owned(), source })
    }

    fn has(&self, name: &str) -> bool {
        match &self.origin {
            Origin::Hub(_, files) => files.contains_key(name),
            Origin::Nowhere(_) => self.dir.join(name).exists(),
        }
    }

    /// Have the file `name` in the folder.
    fn get(&self, name: &str, watch: &dyn Watch) -> Result<(), SourceError> {
        if self.dir.join(name).exists() {
            return Ok(());
        }
        let HubId { repo, .. } = &self.id;
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
            client.download(&format!("{repo}/resolve/{}/{name}", self.commit), &file, part, &mut progress)
        });
        let reason = match fetched {
            Ok(()) => return Ok(()),
            Err(Refusal::Interrupted) => return Err(SourceError::Interrupted { file: name.to_owned() }),
            Err(Refusal::Unreachable(reason)) => reason,
            Err(Refusal::Status(status @ (401 | 403))) => refused(status, &self.id),
            Err(Refusal::Status(status)) => format!("the Hub answered {status}"),
        };
        Err(SourceError::hub(format!("cannot download {name} of {repo}: {reason}; do the same again to go on")))
    }

    /// File names in the weight map of the index.
    fn shards(&self) -> Result<BTreeSet<String>, SourceError> {
        let index = self.dir.join(INDEX);
        let text = std::fs::read(&index)
            .map_err(|source| SourceError::Cache { what: format!("cannot read {}", index.display()), source })?;
        let broken = |what: &str| SourceError::hub(format!("{} {what}; delete it and run again", index.display()));
        let json: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| broken(&format!("is broken ({error})")))?;
        let map = json["weight_map"].as_object().ok_or_else(|| broken("has no weight_map"))?;
        let name = |value: &serde_json::Value| match value.as_str() {
            Some(name) if Path::new(name).file_name().is_some_and(|file| file == name) => Ok(name.to_owned()),
            _ => Err(broken(&format!("names the file {value} where a plain file name belongs"))),
        };
        map.values().map(name).collect()
    }
}

/// The files of a model whose first, or only one, is `file`: `name-00001-of-00003.gguf` has two more.
fn parts_of(file: &str) -> Vec<String> {
    let parts = || {
        let (start, count) = file.strip_suffix(GGUF)?.rsplit_once("-of-")?;
        let stem = start.strip_suffix("-00001")?;
        let parts: usize = count.parse().ok().filter(|_| count.len() == 5)?;
        Some((1..=parts).map(|part| format!("{stem}-{part:05}-of-{count}{GGUF}")).collect())
    };
    parts().unwrap_or_else(|| vec![file.to_owned()])
}

/// What an answer of `status` means for a model.
fn refused(status: u16, HubId { repo, revision, .. }: &HubId) -> String {
    match status {
        401 | 403 => format!(
            "the Hub refuses access to {repo} (status {status}); check the name, accept its licence on the Hub, or set \
             HF_TOKEN"
        ),
        404 => {
            format!("there is no folder {repo}, and no {repo}@{revision} on the Hub; check the name and the revision")
        }
        _ => format!("the Hub answered {status} for {repo}@{revision}; try again later"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub() {
        let parse = |text: &str| HubId::parse(text).map(|id| (id.repo, id.revision));
        let id = |repo: &str, revision: &str| Some((repo.to_owned(), revision.to_owned()));
        let file = |text: &str| HubId::parse(text).and_then(|id| id.file);
        assert_eq!(file("org/name@v1:BF16/a.gguf").as_deref(), Some("BF16/a.gguf"));
        assert_eq!(file("org/name@v1"), None);
        assert_eq!(parse("org/na-me_1.5"), id("org/na-me_1.5", "main"));
        assert_eq!(parse("org/name@refs/pr/1"), id("org/name", "refs/pr/1"));
        for bad in [
            "name",
            "/name",
            "org/",
            "a/b/c",
            "../b",
            "./b",
            "a/..",
            "org/name@",
            "o rg/x",
            "a/b@../c",
            "a/b:../x.gguf",
            "a/b:x.bin",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_parts_of_a_model_have_numbers() {
        assert_eq!(parts_of("q/a.gguf"), ["q/a.gguf"]);
        assert_eq!(parts_of("a-00001-of-00002.gguf"), ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]);
        assert_eq!(parts_of("a-00002-of-00002.gguf"), ["a-00002-of-00002.gguf"]);
    }
}
