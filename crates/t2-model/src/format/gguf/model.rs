//! A GGUF file as a checkpoint.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Family, Gguf, SpecialTokens};
use crate::architecture::{Architecture, Source, Transform};
use crate::checkpoint::{GenerationDefaults, LoadError};
use crate::format::Format;
use crate::format::stored::Tensors;

/// A GGUF file whose metadata say which model it is.
#[derive(Debug)]
pub(crate) struct Model {
    gguf: Gguf,
    family: &'static Family,
    config: Value,
    special: SpecialTokens,
    /// Rows of a head, for families that store them interleaved.
    head_dim: usize,
}

/// Whether `path` is called as a GGUF model is: a file on its own, or the first of several.
pub fn is_model(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_later_part = name.rsplit_once("-of-").is_some_and(|(start, _)| {
        let number = start.rsplit('-').next().unwrap_or_default();
        number.parse::<u32>().is_ok_and(|number| number > 1)
    });
    name.ends_with(".gguf") && !is_later_part
}

impl Model {
    /// Open the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let gguf = Gguf::open(path)?;
        let (family, config, special) = (gguf.family()?, gguf.config()?, gguf.special_tokens()?);
        let head_dim = config["head_dim"].as_u64().and_then(|width| width.try_into().ok()).unwrap_or(1);
        Ok(Self { gguf, family, config, special, head_dim })
    }
}

impl Format for Model {
    fn path(&self) -> &Path {
        self.gguf.path()
    }

    fn config(&self) -> &Value {
        &self.config
    }

    fn generation(&self) -> Result<GenerationDefaults, LoadError> {
        let SpecialTokens { bos, ends, pad, .. } = self.special.clone();
        Ok(GenerationDefaults { eos: ends, bos, pad, ..GenerationDefaults::default() })
    }

    fn open(&mut self) -> Result<(), LoadError> {
        Ok(())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.gguf.paths().map(Path::to_owned).collect()
    }

    fn tensors(&self) -> Result<Tensors<'_>, LoadError> {
        Ok(self.gguf.stored())
    }

    fn locate(&self, _: &dyn Architecture, source: Source) -> Source {
        let names = self.family.name(&source.path).into_iter().collect();
        let rows = self.family.rows(&source.path, self.head_dim, source.rows);
        // The converter has added the one that norms multiply by beside their weight.
        Source { names, rows, transform: Transform::None, ..source }
    }

    fn is_known(&self, _: &dyn Architecture, name: &str) -> bool {
        !self.family.paths(name).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_in_parts_goes_by_its_first() {
        for (name, expected) in [
            ("a.gguf", true),
            ("a-00001-of-00003.gguf", true),
            ("a-00002-of-00003.gguf", false),
            ("best-of-all.gguf", true),
            ("a.safetensors", false),
        ] {
            assert_eq!(is_model(Path::new(name)), expected, "{name}");
        }
    }
}
