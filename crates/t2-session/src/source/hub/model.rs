//! Models of the Hub.
//!
//! What says which model it is comes first, its weights last: a model that does not run costs no download of gigabytes. A
//! GGUF file is the exception: it is one file, and is fetched before it is read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use t2_model::checkpoint;
use t2_model::format::gguf;

use super::snapshot::{Snapshot, Wish};
use super::{Hub, Kind, RepoId, is_plain};
use crate::event::Watch;
use crate::source::SourceError;

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

/// A repository with models, and of many files perhaps one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelId {
    repo: RepoId,
    /// The GGUF file that is wanted; `None` for a model in the layout of transformers.
    file: Option<String>,
}

/// A model as far as it is in the cache.
#[derive(Debug)]
pub(crate) struct Model {
    snapshot: Snapshot,
    /// As in [`ModelId`].
    file: Option<String>,
}

impl ModelId {
    /// `org/name[@revision][:file.gguf]`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (text, file) = text.split_once(':').map_or((text, None), |(text, file)| (text, Some(file)));
        let is_model = file.is_none_or(|file| file.ends_with(GGUF) && file.split('/').all(is_plain));
        let repo = RepoId::parse(Kind::Model, text).filter(|_| is_model)?;
        Some(Self { repo, file: file.map(str::to_owned) })
    }

    /// Whether the folder of a commit has enough to say which model it is.
    fn is_described_in(&self, dir: &Path) -> bool {
        match &self.file {
            Some(file) => parts_of(file).iter().all(|part| dir.join(part).exists()),
            None => dir.join(CONFIG).exists() || dir.join(ADAPTER).exists(),
        }
    }
}

/// The model `id`, with everything but its weights downloaded.
pub(crate) fn find(hub: &Hub, id: &ModelId, watch: &dyn Watch) -> Result<Model, SourceError> {
    let file = id.file.as_ref().map(|file| format!("{file} of ")).unwrap_or_default();
    let what = format!("{file}{}@{}", id.repo.name, id.repo.revision);
    let is_in = |dir: &Path| id.is_described_in(dir);
    let snapshot = Snapshot::open(hub, &id.repo, &Wish { what, is_in: &is_in }, watch)?;
    let model = Model { snapshot, file: id.file.clone() };
    if model.snapshot.is_remote() {
        model.fetch_description(watch)?;
    }
    Ok(model)
}

impl Model {
    /// The folder of the model, or the one file of it that is wanted.
    pub(crate) fn path(&self) -> PathBuf {
        let dir = self.snapshot.dir();
        self.file.as_ref().map_or_else(|| dir.to_owned(), |file| dir.join(file))
    }

    /// True when all weights are in the cache.
    pub(crate) fn is_complete(&self) -> bool {
        if self.file.is_some() {
            return true;
        }
        let here = |name: &str| self.snapshot.dir().join(name).exists();
        here(SINGLE) || (here(INDEX) && self.shards().is_ok_and(|shards| shards.iter().all(|shard| here(shard))))
    }

    /// Fetch the config, refuse a model that does not run, and fetch what lies beside the weights. A GGUF file is fetched
    /// whole: it holds all of these.
    fn fetch_description(&self, watch: &dyn Watch) -> Result<(), SourceError> {
        let snapshot = &self.snapshot;
        if let Some(file) = &self.file {
            if !gguf::is_first(Path::new(file)) {
                return Err(SourceError::hub(format!(
                    "{file} is a later part of a model; name its first part, and the others are fetched with it"
                )));
            }
            let parts = parts_of(file);
            parts.iter().try_for_each(|part| self.refuse_missing(part))?;
            parts.iter().try_for_each(|part| snapshot.get(part, watch))?;
            return snapshot.point();
        }
        if !snapshot.has(CONFIG) && !snapshot.has(ADAPTER) {
            return Err(self.lacks(CONFIG, "a repository of a transformers model"));
        }
        // Beside weights of its own an adapter is an extra.
        let adapter = (!snapshot.has(SINGLE) && !snapshot.has(INDEX)).then_some(ADAPTER);
        for name in [CONFIG, "generation_config.json"].into_iter().chain(adapter).filter(|name| snapshot.has(name)) {
            snapshot.get(name, watch)?;
        }
        checkpoint::summarize(snapshot.dir())?;
        for name in BESIDE.into_iter().filter(|name| snapshot.has(name)) {
            snapshot.get(name, watch)?;
        }
        if snapshot.is_known() { Ok(()) } else { snapshot.point() }
    }

    /// Refuse a GGUF file that the repository lacks.
    fn refuse_missing(&self, file: &str) -> Result<(), SourceError> {
        if self.snapshot.has(file) {
            return Ok(());
        }
        let models = self.models();
        let known = if models.is_empty() { "no GGUF files".to_owned() } else { models.join(", ") };
        Err(SourceError::hub(format!("{} has no {file}; it has {known}", self.snapshot.id().name)))
    }

    /// The error that the repository has no file `name`: it may have models as GGUF, or the user may choose an `other` one.
    fn lacks(&self, name: &str, other: &str) -> SourceError {
        let repo = &self.snapshot.id().name;
        SourceError::hub(match self.models().first() {
            Some(model) => {
                format!("{repo} has models as GGUF and no {name}; name one of its files, such as {repo}:{model}")
            }
            None => format!("{repo} has no {name}; choose {other}"),
        })
    }

    /// The GGUF files of the repository that are models, or first parts of one: towers that see or hear are none.
    fn models(&self) -> Vec<String> {
        let is_model = |name: &String| gguf::is_first(Path::new(name)) && !name.contains("mmproj");
        self.snapshot.names().into_iter().filter(is_model).collect()
    }

    /// Fetch the weights.
    pub(crate) fn fetch_weights(&self, watch: &dyn Watch) -> Result<(), SourceError> {
        let snapshot = &self.snapshot;
        if self.file.is_some() {
            return Ok(());
        }
        if snapshot.has(SINGLE) || !snapshot.has(INDEX) && !snapshot.is_remote() {
            snapshot.get(SINGLE, watch)?;
        } else if snapshot.has(INDEX) {
            snapshot.get(INDEX, watch)?;
            for shard in self.shards()? {
                if snapshot.is_remote() && !snapshot.has(&shard) {
                    return Err(SourceError::hub(format!(
                        "{INDEX} of {} names {shard}, which the repository lacks; choose another",
                        snapshot.id().name
                    )));
                }
                snapshot.get(&shard, watch)?;
            }
        } else {
            return Err(self.lacks(SINGLE, "a repository with safetensors weights"));
        }
        snapshot.point()
    }

    /// File names in the weight map of the index.
    fn shards(&self) -> Result<BTreeSet<String>, SourceError> {
        let index = self.snapshot.dir().join(INDEX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_models() {
        let parse = |text: &str| ModelId::parse(text).map(|id| (id.repo.name, id.repo.revision));
        let id = |repo: &str, revision: &str| Some((repo.to_owned(), revision.to_owned()));
        let file = |text: &str| ModelId::parse(text).and_then(|id| id.file);
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
