//! A GGUF file as a checkpoint.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::names::{fused_name, is_no_parameter};
use super::{Family, Gguf, SpecialTokens, parts};
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
    projections: Projections,
    /// The tensors that hold queries, keys and values together.
    fused: BTreeSet<String>,
}

/// How many rows the projections to heads have.
#[derive(Debug)]
struct Projections {
    /// Of one head.
    head_dim: usize,
    /// Of all queries.
    q: usize,
    /// Of all keys, and of all values.
    kv: usize,
}

/// Whether `path` is called as a whole GGUF model is, or as the first part of one.
pub fn is_first(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_later_part = name.rsplit_once("-of-").is_some_and(|(start, _)| {
        let number = start.rsplit('-').next().unwrap_or_default();
        number.parse::<u32>().is_ok_and(|number| number > 1)
    });
    name.ends_with(".gguf") && !is_later_part
}

/// Whether `path` is called as a GGUF model is: a file on its own, or the first of several. Where the first is missing, the
/// next stands for it, so that whoever opens it learns what is missing.
pub(crate) fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf") && !parts::is_later(path)
}

impl Model {
    /// Open the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let gguf = Gguf::open(path)?;
        let (family, config, special) = (gguf.family()?, gguf.config()?, gguf.special_tokens()?);
        let projections = Projections::of(&config);
        let names = gguf.tensors().map(|tensor| tensor.name).filter(|name| name.contains(".attn_qkv."));
        let fused = names.map(str::to_owned).collect();
        Ok(Self { gguf, family, config, special, projections, fused })
    }
}

impl Projections {
    fn of(config: &Value) -> Self {
        let count = |key: &str| config[key].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
        let head_dim = count("head_dim");
        let rows = |heads| head_dim.saturating_mul(count(heads));
        Self { head_dim, q: rows("num_attention_heads"), kv: rows("num_key_value_heads") }
    }

    /// Where the rows of the parameter at `path` are when queries, keys and values are one tensor, and how many that has.
    fn fused(&self, path: &str) -> (Range<usize>, usize) {
        let [keys, values, end] = [0, 1, 2].map(|before| self.kv.saturating_mul(before).saturating_add(self.q));
        let range = match path.rsplit('.').nth(1) {
            Some("k") => keys..values,
            Some("v") => values..end,
            _ => 0..keys,
        };
        (range, end)
    }
}

impl Format for Model {
    fn path(&self) -> &Path {
        self.gguf.path()
    }

    fn config_path(&self) -> PathBuf {
        self.path().to_owned()
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
        let rows = self.family.rows(&source.path, self.projections.head_dim, source.rows);
        let (name, rows) = match fused_name(&source.path).filter(|name| self.fused.contains(name)) {
            Some(name) => {
                let (range, of) = self.projections.fused(&source.path);
                (Some(name), rows.within(range, of))
            }
            None => (self.family.name(&source.path), rows),
        };
        // The converter has added the one that norms multiply by beside their weight.
        Source { names: name.into_iter().collect(), rows, transform: Transform::None, ..source }
    }

    fn is_known(&self, _: &dyn Architecture, name: &str) -> bool {
        !is_no_parameter(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_in_parts_goes_by_its_first() {
        let files = [
            ("a.gguf", true),
            ("a-00001-of-00003.gguf", true),
            ("a-00002-of-00003.gguf", false),
            ("a-00003-of-00003.gguf", false),
            ("headless-00002-of-00003.gguf", true),
            ("headless-00003-of-00003.gguf", false),
            ("a-00001-of-00002.gguf", true),
            ("best-of-all.gguf", true),
            ("a.safetensors", false),
        ];
        let dir = tempfile::tempdir().unwrap();
        for (name, _) in files {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        for (name, expected) in files {
            assert_eq!(is_model(&dir.path().join(name)), expected, "{name}");
        }
    }
}
