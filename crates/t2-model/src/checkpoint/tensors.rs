//! Stored tensors: memory-mapped safetensors files, and the conversion to our orientation.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{LoadError, read_json};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

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
            let tensors = SafeTensors::deserialize(map).map_err(|e| LoadError::Malformed {
                path: path.clone(),
                reason: format!("{e}, {} bytes", map.len()),
            })?;
            all.extend(tensors.tensors());
        }
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

/// How a stored tensor becomes a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The same way round.
    Same,
    /// A linear layer: theirs is `[d_out, d_in]`, ours `[d_in, d_out]`.
    Transposed,
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

/// The values of a plain float tensor in our layout.
///
/// # Panics
///
/// When the tensor is not a plain float; [`float_dtype`] tells.
pub(crate) fn values(view: &TensorView<'_>, layout: Layout) -> TensorData {
    let shape = in_layout(view.shape(), layout);
    let data = view.data();
    let halves = || bytemuck::pod_collect_to_vec::<u8, u16>(data).into_iter();
    match view.dtype() {
        Dtype::F32 => TensorData::new(arrange(bytemuck::pod_collect_to_vec::<u8, f32>(data), &shape, layout), shape),
        Dtype::F16 => TensorData::new(arrange(halves().map(f16::from_bits).collect(), &shape, layout), shape),
        Dtype::BF16 => TensorData::new(arrange(halves().map(bf16::from_bits).collect(), &shape, layout), shape),
        other => unreachable!("{other:?} was refused before"),
    }
}

/// The other side of a layout change of `shape`.
pub(crate) fn in_layout(shape: &[usize], layout: Layout) -> Vec<usize> {
    match layout {
        Layout::Same => shape.to_vec(),
        Layout::Transposed => shape.iter().rev().copied().collect(),
    }
}

/// Reorder row-major `values` so that they have `shape`.
pub(crate) fn arrange<E: Copy>(values: Vec<E>, shape: &[usize], layout: Layout) -> Vec<E> {
    match (layout, shape) {
        (Layout::Transposed, &[rows, cols]) => transpose(&values, rows, cols),
        _ => values,
    }
}

/// Row-major `[rows, cols]` from row-major `[cols, rows]`, in tiles that fit the cache.
fn transpose<E: Copy>(values: &[E], rows: usize, cols: usize) -> Vec<E> {
    const TILE: usize = 32;
    let mut out = values.to_vec();
    for row0 in (0..rows).step_by(TILE) {
        for col0 in (0..cols).step_by(TILE) {
            for row in row0..rows.min(row0 + TILE) {
                for col in col0..cols.min(col0 + TILE) {
                    out[row * cols + col] = values[col * rows + row];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_changes_nothing() {
        let values: Vec<usize> = (0..70 * 33).collect();
        let once = transpose(&values, 33, 70);
        assert_eq!(once[70], values[1]);
        assert_eq!(transpose(&once, 70, 33), values);
    }
}
