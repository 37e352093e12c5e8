//! Memory-mapped safetensors files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::layout::{Layout, Rows};
use crate::checkpoint::{LoadError, foreign, read_json};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The mapped files of one checkpoint.
#[derive(Debug)]
pub(crate) struct Shards(Vec<Shard>);

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
}

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
        names.iter().map(|name| Shard::open(dir.join(name))).collect::<Result<_, _>>().map(Self)
    }

    /// Every stored tensor by its Hugging Face name.
    pub(crate) fn tensors(&self) -> Result<BTreeMap<String, TensorView<'_>>, LoadError> {
        let mut all = BTreeMap::new();
        for Shard { path, map } in &self.0 {
            let tensors = SafeTensors::deserialize(map).map_err(|e| {
                let path = path.clone();
                if foreign::is_pointer(map) {
                    LoadError::Pointer { path }
                } else {
                    LoadError::Malformed { path, reason: format!("{e}, {} bytes", map.len()) }
                }
            })?;
            all.extend(tensors.tensors());
        }
        foreign::refuse_quantized(all.keys())?;
        Ok(all)
    }
}

impl Shard {
    #[expect(unsafe_code, reason = "a mapped file is only sound while nobody shortens it; checkpoints are not edited")]
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        let map = File::open(&path).and_then(|file| unsafe { Mmap::map(&file) });
        match map {
            Ok(map) => Ok(Self { path, map }),
            Err(source) => Err(LoadError::Read { path, source }),
        }
    }
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

/// The type of a stored tensor; `None` when it is not a plain float.
pub(crate) fn float_dtype(view: &TensorView<'_>) -> Option<DType> {
    match view.dtype() {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// The values of a plain float tensor: `rows` of it, turned by `layout`.
///
/// # Panics
///
/// When the tensor is not a plain float; [`float_dtype`] tells.
pub(crate) fn values(view: &TensorView<'_>, rows: &Rows, layout: Layout) -> TensorData {
    let (data, stored_rows) = (view.data(), view.shape().first().copied().unwrap_or(1));
    let mut shape = view.shape().to_vec();
    if let (Rows::Part { range, .. }, Some(first)) = (rows, shape.first_mut()) {
        *first = range.len();
    }
    let shape = layout.turn(&shape);
    let halves = || bytemuck::pod_collect_to_vec::<u8, u16>(data);
    match view.dtype() {
        Dtype::F32 => {
            let stored = bytemuck::pod_collect_to_vec::<u8, f32>(data);
            TensorData::new(layout.arrange(rows.pick(&stored, stored_rows).into_owned(), &shape), shape)
        }
        Dtype::F16 => {
            let picked = rows.pick(&halves(), stored_rows).iter().map(|&bits| f16::from_bits(bits)).collect();
            TensorData::new(layout.arrange(picked, &shape), shape)
        }
        Dtype::BF16 => {
            let picked = rows.pick(&halves(), stored_rows).iter().map(|&bits| bf16::from_bits(bits)).collect();
            TensorData::new(layout.arrange(picked, &shape), shape)
        }
        other => unreachable!("{other:?} was refused before"),
    }
}
