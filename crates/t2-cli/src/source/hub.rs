//! Models of the Hugging Face Hub, kept in the cache that every Hugging Face tool shares.
//!
//! A snapshot is fetched by its commit, and the name of the branch is only pointed at it once it is complete: a
//! download that was cut off is never taken for a model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::environment;
use crate::output::Output;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Fetched where the repository has them.
const OPTIONAL: [&str; 4] =
    ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
/// Times a broken connection is taken up again.
const RETRIES: usize = 3;

/// `org/name`, and a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubId {
    repo: String,
    revision: String,
}

impl HubId {
    /// `org/name[@revision]`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = repo.split_once('/')?;
        let valid = |part: &str| {
            let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            plain && !part.starts_with('.') && !part.contains("..") && !part.is_empty()
        };
        let all = [org, name].into_iter().chain(revision.split('/')).all(valid);
        all.then(|| Self { repo: repo.to_owned(), revision: revision.to_owned() })
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, revision.to_owned())
    }
}

/// The folder of the snapshot of `id`, downloaded as far as it is not in the cache.
pub(crate) fn fetch(id: &HubId, out: &Output) -> anyhow::Result<PathBuf> {
    let cache = Cache::new(environment::hub_cache()?);
    if environment::hub_offline() {
        return cached(&cache, id).with_context(|| {
            format!(
                "{}@{} is not in the cache {} and HF_HUB_OFFLINE is set; unset it to download",
                id.repo,
                id.revision,
                cache.path().display()
            )
        });
    }
    let api = api(&cache)?;
    let info = match api.repo(id.at(&id.revision)).info() {
        Ok(info) => info,
        Err(error) => match (refusal(error, id), cached(&cache, id)) {
            (Refusal::Unreachable(reason), Some(dir)) => {
                out.note(&format!("the Hub cannot be reached ({reason}); using the cached copy of {}", id.repo));
                return Ok(dir);
            }
            (Refusal::Unreachable(reason), None) => bail!(
                "there is no folder {}, and the Hub at {} cannot be reached ({reason}); check the name or the network",
                id.repo,
                environment::hub_endpoint()
            ),
            (Refusal::Refused(reason), _) => bail!("{reason}"),
        },
    };
    if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
        bail!("the Hub gave `{}` as the commit of {}; check HF_ENDPOINT", info.sha, id.repo);
    }
    let names: BTreeSet<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
    let snapshot = Snapshot { repo: api.repo(id.at(&info.sha)), cache: &cache, at: id.at(&info.sha), id, out };
    let config = snapshot.download(&names)?;
    cache.repo(id.at(&id.revision)).create_ref(&info.sha).context("cannot write to the Hugging Face cache")?;
    folder_of(&config)
}

fn api(cache: &Cache) -> anyhow::Result<Api> {
    let token = environment::hub_token().or_else(|| cache.token());
    ApiBuilder::from_cache(cache.clone())
        .with_endpoint(environment::hub_endpoint())
        .with_token(token)
        .with_retries(RETRIES)
        .with_user_agent("t2", env!("CARGO_PKG_VERSION"))
        .build()
        .context("cannot set up the connection to the Hub")
}

/// One commit of one repository.
struct Snapshot<'a> {
    repo: ApiRepo,
    cache: &'a Cache,
    at: Repo,
    id: &'a HubId,
    out: &'a Output,
}

impl Snapshot<'_> {
    /// Fetch what a model needs of the repository's files `names`; the path of its `config.json`.
    fn download(&self, names: &BTreeSet<String>) -> anyhow::Result<PathBuf> {
        if !names.contains(CONFIG) {
            bail!("{} has no {CONFIG}; choose a repository of a transformers model", self.id.repo);
        }
        for name in OPTIONAL.into_iter().filter(|&name| names.contains(name)) {
            self.get(name)?;
        }
        if names.contains(SINGLE) {
            self.get(SINGLE)?;
        } else if names.contains(INDEX) {
            let index = self.get(INDEX)?;
            for shard in shards(&index)? {
                if !names.contains(&shard) {
                    bail!("{INDEX} of {} names {shard}, which the repository lacks", self.id.repo);
                }
                self.get(&shard)?;
            }
        } else {
            bail!("{} has no {SINGLE}; choose a repository with safetensors weights", self.id.repo);
        }
        self.get(CONFIG)
    }

    fn get(&self, name: &str) -> anyhow::Result<PathBuf> {
        if let Some(path) = self.cache.repo(self.at.clone()).get(name) {
            return Ok(path);
        }
        let bar = self.out.progress_bytes(0, name.to_owned());
        self.repo.download_with_progress(name, Bar(bar)).map_err(|error| match refusal(error, self.id) {
            Refusal::Unreachable(reason) | Refusal::Refused(reason) => {
                anyhow!("cannot download {name} of {}: {reason}; run the command again to go on", self.id.repo)
            }
        })
    }
}

/// Our progress bar, driven by hf-hub.
struct Bar(indicatif::ProgressBar);

impl hf_hub::api::Progress for Bar {
    fn init(&mut self, size: usize, _: &str) {
        self.0.set_length(size as u64);
        self.0.set_position(0);
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Why the Hub did not answer.
enum Refusal {
    /// It was not there.
    Unreachable(String),
    /// It said no.
    Refused(String),
}

fn refusal(error: ApiError, id: &HubId) -> Refusal {
    let message = error.to_string();
    let status = match error {
        ApiError::RequestError(error) => error.into_response().map(|response| response.status()),
        _ => return Refusal::Unreachable(message),
    };
    let HubId { repo, revision } = id;
    match status {
        None => Refusal::Unreachable(message),
        Some(500..) => Refusal::Unreachable(message),
        Some(status @ (401 | 403)) => Refusal::Refused(format!(
            "the Hub refuses access to {repo} (status {status}); check the name, accept its licence on the Hub, or set \
             HF_TOKEN"
        )),
        Some(404) => Refusal::Refused(format!(
            "there is no folder {repo}, and no {repo}@{revision} on the Hub; check the name and the revision"
        )),
        Some(status) => Refusal::Refused(format!("the Hub answered {status} for {repo}@{revision}: {message}")),
    }
}

/// The cached snapshot of `id`, when it is complete.
fn cached(cache: &Cache, id: &HubId) -> Option<PathBuf> {
    let get = |name: &str| {
        let branch = cache.repo(id.at(&id.revision)).get(name);
        // A commit may be asked for that was fetched by the name of its branch.
        branch.or_else(|| {
            let repo = cache.path().join(id.at(&id.revision).folder_name());
            Some(repo.join("snapshots").join(&id.revision).join(name)).filter(|path| path.exists())
        })
    };
    let config = get(CONFIG)?;
    let complete = match get(SINGLE) {
        Some(_) => true,
        None => shards(&get(INDEX)?).ok()?.iter().all(|shard| get(shard).is_some()),
    };
    if complete { folder_of(&config).ok() } else { None }
}

/// File names in the weight map of `index`.
fn shards(index: &Path) -> anyhow::Result<BTreeSet<String>> {
    let text = std::fs::read(index).with_context(|| format!("cannot read {}", index.display()))?;
    let json: serde_json::Value = serde_json::from_slice(&text)
        .with_context(|| format!("{} is broken; delete it and run again", index.display()))?;
    let map = json["weight_map"].as_object();
    let map = map.with_context(|| format!("{} has no weight_map; delete it and run again", index.display()))?;
    let name = |value: &serde_json::Value| match value.as_str() {
        Some(name) if Path::new(name).file_name().is_some_and(|file| file == name) => Ok(name.to_owned()),
        _ => bail!("{} names the file {value}; expected a plain file name", index.display()),
    };
    map.values().map(name).collect()
}

fn folder_of(config: &Path) -> anyhow::Result<PathBuf> {
    Ok(config.parent().context("a file of the Hugging Face cache lies in no folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub() {
        let parse = |text: &str| HubId::parse(text).map(|id| (id.repo, id.revision));
        let id = |repo: &str, revision: &str| Some((repo.to_owned(), revision.to_owned()));
        assert_eq!(parse("org/na-me_1.5"), id("org/na-me_1.5", "main"));
        assert_eq!(parse("org/name@refs/pr/1"), id("org/name", "refs/pr/1"));
        for bad in ["name", "/name", "org/", "a/b/c", "../b", "./b", "a/..", "org/name@", "o rg/x", "a/b@../c"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
