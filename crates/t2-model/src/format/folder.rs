//! The layout of the Hugging Face Hub: a folder with `config.json`, safetensors files and, where the authors gave advice,
//! `generation_config.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Format;
use super::safetensors::Shards;
use super::stored::Tensors;
use crate::architecture::{Architecture, Source, is_known};
use crate::checkpoint::{GenerationDefaults, LoadError, foreign, read_json};

pub(crate) const CONFIG: &str = "config.json";

/// A folder of the Hub.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    config: Value,
    /// `None` before the weights are mapped.
    shards: Option<Shards>,
}

impl Folder {
    /// What `config.json` in `dir` says. A folder that holds something else than a model is refused.
    pub(crate) fn describe(dir: &Path) -> Result<Self, LoadError> {
        let config = read_json(dir, CONFIG);
        foreign::refuse_foreign(dir, config.as_ref().unwrap_or(&Value::Null))?;
        Ok(Self { dir: dir.to_owned(), config: config?, shards: None })
    }
}

impl Format for Folder {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    fn config(&self) -> &Value {
        &self.config
    }

    fn generation(&self) -> Result<GenerationDefaults, LoadError> {
        GenerationDefaults::read(&self.dir, &self.config)
    }

    fn open(&mut self) -> Result<(), LoadError> {
        self.shards = Some(Shards::open(&self.dir)?);
        Ok(())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.shards.iter().flat_map(Shards::paths).collect()
    }

    fn tensors(&self) -> Result<Tensors<'_>, LoadError> {
        self.shards.as_ref().map_or_else(|| Ok(Tensors::new()), Shards::tensors)
    }

    fn locate(&self, _: &dyn Architecture, source: Source) -> Source {
        source
    }

    fn is_known(&self, family: &dyn Architecture, name: &str) -> bool {
        is_known(family.names(), name)
    }
}
