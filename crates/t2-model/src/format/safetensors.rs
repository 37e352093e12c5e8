//! Checkpoints in safetensors files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

use super::mapped::Mapped;
use super::quant::GgmlType;
use super::stored::{StoredTensor, Tensors};
use crate::checkpoint::{LoadError, foreign, read_json};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Bytes before the header of a file: its length.
const LENGTH_OF_HEADER: usize = 8;

/// The mapped files of one checkpoint.
#[derive(Debug)]
pub(crate) struct Shards(Vec<Mapped>);

impl Shards {
    /// Map `model.safetensors`, or every file that `model.safetensors.index.json` names.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let names = if dir.join(SINGLE).exists() {
            vec![SINGLE.to_owned()]
        } else if dir.join(INDEX).exists() {
            shard_names(dir)?
        } else {
            let file = "model.safetensors or model.safetensors.index.json";
            return Err(LoadError::NotFound { file, dir: dir.to_owned() });
        };
        names.iter().map(|name| Mapped::open(&dir.join(name))).collect::<Result<_, _>>().map(Self)
    }

    /// Every stored tensor by its Hugging Face name.
    pub(crate) fn tensors(&self) -> Result<Tensors<'_>, LoadError> {
        let mut all = BTreeMap::new();
        for file in &self.0 {
            let tensors = tensors_of(file).map_err(|reason| {
                let path = file.path().to_owned();
                if foreign::is_pointer(file) {
                    LoadError::Pointer { path }
                } else {
                    LoadError::Malformed { path, reason: format!("{reason}, {} bytes", file.len()) }
                }
            })?;
            foreign::refuse_quantized(tensors.keys()).map_err(|error| error.within(file.path()))?;
            all.extend(tensors);
        }
        Ok(all)
    }

    /// The files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().map(|file| file.path().to_owned())
    }
}

/// The tensors of one file.
fn tensors_of(file: &Mapped) -> Result<Tensors<'_>, safetensors::SafeTensorError> {
    // This checks the header against the length of the file.
    SafeTensors::deserialize(file)?;
    let (header, metadata) = SafeTensors::read_metadata(file)?;
    let data = LENGTH_OF_HEADER + header;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let tensor = stored_type(info.dtype).map(|ty| {
            let (start, end) = info.data_offsets;
            StoredTensor { ty, shape: info.shape.clone(), file, range: data + start..data + end }
        });
        (name, tensor.ok_or_else(|| format!("{:?}", info.dtype)))
    });
    Ok(tensors.collect())
}

fn shard_names(dir: &Path) -> Result<Vec<String>, LoadError> {
    let malformed = |reason: String| LoadError::Malformed { path: dir.join(INDEX), reason };
    let index = read_json(dir, INDEX)?;
    let map = index["weight_map"].as_object().ok_or_else(|| malformed("it has no `weight_map`".to_owned()))?;
    let name = |value: &serde_json::Value| match value.as_str() {
        Some(name) if Path::new(name).file_name().is_some_and(|file| file == name) => Ok(name.to_owned()),
        _ => Err(malformed(format!("`weight_map` has {value} where a file name belongs"))),
    };
    let mut names = map.values().map(name).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

/// How a tensor is stored; `None` when it is not a plain float.
pub(crate) fn stored_type(dtype: Dtype) -> Option<GgmlType> {
    match dtype {
        Dtype::F32 => Some(GgmlType::F32),
        Dtype::F16 => Some(GgmlType::F16),
        Dtype::BF16 => Some(GgmlType::Bf16),
        _ => None,
    }
}
