//! Checkpoints as they lie on disk: folders with safetensors, GGUF files. A new format is a file here that implements
//! `Format`, and an arm of `describe`.

mod folder;
pub mod gguf;
pub(crate) mod layout;
pub(crate) mod mapped;
pub mod quant;
pub(crate) mod safetensors;
pub(crate) mod stored;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::{Architecture, Source};
use crate::checkpoint::{GenerationDefaults, LoadError};

pub(crate) use folder::CONFIG;
use folder::Folder;
use safetensors::{INDEX, SINGLE};
use stored::Tensors;

/// A checkpoint on disk: what it says of the model, and its tensors.
pub(crate) trait Format: fmt::Debug + Send + Sync {
    /// The folder or file.
    fn path(&self) -> &Path;

    /// The file that [`config`](Self::config) is from.
    fn config_path(&self) -> PathBuf {
        self.path().to_owned()
    }

    /// What the model is, in the words of a `config.json`.
    fn config(&self) -> &Value;

    /// Special tokens and suggested sampling.
    fn generation(&self) -> Result<GenerationDefaults, LoadError>;

    /// Map the weights, which are not touched before. Nothing is read yet.
    fn open(&mut self) -> Result<(), LoadError>;

    /// The files that hold the weights, once they are mapped.
    fn files(&self) -> Vec<PathBuf>;

    /// Every stored tensor, once they are mapped.
    fn tensors(&self) -> Result<Tensors<'_>, LoadError>;

    /// Where a parameter is that a folder of `family` has as `source`.
    fn locate(&self, family: &dyn Architecture, source: Source) -> Source;

    /// Whether a tensor called `name` takes part in what a model of `family` computes, so that it is another model without
    /// it; the number of the layer does not matter.
    fn is_known(&self, family: &dyn Architecture, name: &str) -> bool;
}

/// What the folder or file at `path` says of its model, with its weights not touched yet.
pub(crate) fn describe(path: &Path) -> Result<Box<dyn Format>, LoadError> {
    match gguf_at(path)? {
        Some(file) => Ok(Box::new(gguf::Model::open(&file)?)),
        None => Ok(Box::new(Folder::describe(path)?)),
    }
}

/// The GGUF file that `path` is or holds; `None` when it is a folder of another kind.
pub(crate) fn gguf_at(path: &Path) -> Result<Option<PathBuf>, LoadError> {
    if path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    if path.join(CONFIG).exists() && [SINGLE, INDEX].iter().any(|weights| path.join(weights).exists()) {
        return Ok(None);
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(None) };
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut models: Vec<PathBuf> = files.filter(|file| gguf::is_model(file)).collect();
    models.sort();
    match models.as_slice() {
        [] => Ok(None),
        [model] => Ok(Some(model.clone())),
        [first, ..] => {
            Err(LoadError::SeveralModels { dir: path.to_owned(), first: first.clone(), count: models.len() })
        }
    }
}
