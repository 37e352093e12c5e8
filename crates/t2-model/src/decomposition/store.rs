//! Factors on disk: one checked safetensors file for each decomposed weight.
//!
//! Factors that are loaded stay in their file, which is mapped: on the CPU the system holds as much of them in memory as
//! it has room for, on a GPU they go there without a copy on the host.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::{AllocationProperty, DType};
use memmap2::Mmap;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::Record;
use crate::files::{WriteError, write_atomically_with};
use crate::format::mapped;
use crate::format::quant::GgmlType;
use crate::format::safetensors::stored_type;
use crate::hash::Hash;

/// Name of the one metadata entry: a checksum, a space, and a JSON document.
const METADATA: &str = "t2_svd";
/// Version of the layout and of the meaning of the factors; others are made again.
const VERSION: u32 = 2;
/// Names of the factors in a file.
const NAMES: [&str; 3] = ["u", "s", "vt"];

/// The hash of a weight, its shape and f32 values, and the type of its singular vectors.
#[derive(Clone, Debug)]
pub(super) struct Key {
    weight: Hash,
    dtype: DType,
}

impl Key {
    /// The key of the weight with these `values`, row-major `dims`, for singular vectors of type `dtype`.
    pub(super) fn of(values: &[f32], dims: [usize; 2], dtype: DType) -> Self {
        let mut hasher = blake3::Hasher::new();
        for dim in dims {
            hasher.update(&(dim as u64).to_le_bytes());
        }
        hasher.update_rayon(bytemuck::cast_slice(values));
        Self { weight: hasher.finalize().into(), dtype }
    }

    pub(super) fn file_name(&self) -> String {
        match self.dtype {
            DType::F32 => format!("{}.safetensors", self.weight),
            half => format!("{}-{}.safetensors", self.weight, half.name()),
        }
    }

    fn file(&self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }
}

/// The factors of one weight in host memory.
#[derive(Debug)]
pub(super) struct HostFactors {
    pub(super) u: TensorData,
    pub(super) s: TensorData,
    pub(super) vt: TensorData,
}

/// What a file of factors says about itself.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    weight: String,
    #[serde(flatten)]
    record: Record,
}

/// What the disk has for a weight.
pub(super) enum Stored {
    Found(Box<Found>),
    Damaged,
    Missing,
}

/// The content of a file whose checksum is right.
pub(super) struct Found {
    pub(super) key: Key,
    pub(super) record: Record,
    /// `None` unless the caller asked to load them.
    pub(super) factors: Option<HostFactors>,
}

/// Look for the factors of `key` in `dir`, and load them if asked to. Factors in f32 serve for any other type.
pub(super) fn find(dir: &Path, key: &Key, load: bool) -> Stored {
    match read(dir, key, load) {
        Stored::Missing if key.dtype != DType::F32 => read(dir, &Key { dtype: DType::F32, ..key.clone() }, load),
        stored => stored,
    }
}

fn read(dir: &Path, key: &Key, load: bool) -> Stored {
    match mapped::map(&key.file(dir)) {
        Err(_) => Stored::Missing,
        Ok(map) => parse(map, key, load).map_or(Stored::Damaged, |found| Stored::Found(Box::new(found))),
    }
}

fn parse(map: Mmap, key: &Key, load: bool) -> Option<Found> {
    let (_, metadata) = SafeTensors::read_metadata(&map).ok()?;
    let (sum, header) = metadata.metadata().as_ref()?.get(METADATA)?.split_once(' ')?;
    let found = SafeTensors::deserialize(&map).ok()?;
    let [u, s, vt] = NAMES.map(|name| found.tensor(name).ok());
    let (u, s, vt) = (u?, s?, vt?);
    if sum != checksum(header, [&u, &s, &vt]).to_string() {
        return None;
    }
    let header: Header = serde_json::from_str(header).ok()?;
    let dtype = |view: &TensorView<'_>| stored_type(view.dtype()).map(GgmlType::dtype);
    let is_ours = header.version == VERSION
        && header.weight == key.weight.to_string()
        && [&u, &vt].into_iter().all(|view| dtype(view) == Some(key.dtype))
        && dtype(&s) == Some(DType::F32);
    // Where each factor is in the file, which the factors then own together.
    let place = |view: TensorView<'_>| {
        let start = view.data().as_ptr().addr() - map.as_ptr().addr();
        (start..start + view.data().len(), view.shape().to_vec())
    };
    let places = [place(u), place(s), place(vt)];
    let factors = (is_ours && load).then(|| {
        let file = bytes::Bytes::from_owner(map);
        let factor = |(range, shape), dtype| {
            let bytes = burn::tensor::Bytes::from_shared(file.slice(range), AllocationProperty::File);
            TensorData::from_bytes(bytes, shape, dtype)
        };
        let [u, s, vt] = places;
        HostFactors { u: factor(u, key.dtype), s: factor(s, DType::F32), vt: factor(vt, key.dtype) }
    });
    is_ours.then(|| Found { key: key.clone(), record: header.record, factors })
}

pub(super) fn write(dir: &Path, key: &Key, factors: &HostFactors, record: Record) -> Result<(), WriteError> {
    write_as(VERSION, dir, key, (factors, record))
}

fn write_as(version: u32, dir: &Path, key: &Key, (factors, record): (&HostFactors, Record)) -> Result<(), WriteError> {
    let header = Header { version, weight: key.weight.to_string(), record };
    write_atomically_with(&key.file(dir), |path| {
        let header = serde_json::to_string(&header)?;
        let HostFactors { u, s, vt } = factors;
        let views = [view(u)?, view(s)?, view(vt)?];
        let sum = checksum(&header, views.each_ref());
        let metadata = HashMap::from([(METADATA.to_owned(), format!("{sum} {header}"))]);
        // Not by way of `serialize`: its copy in memory would be as large as the factors.
        let written = safetensors::serialize_to_file(NAMES.into_iter().zip(views), Some(metadata), path);
        written.map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            other => io::Error::other(other),
        })
    })
}

fn view(data: &TensorData) -> io::Result<TensorView<'_>> {
    let dtype = match data.dtype() {
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        _ => Dtype::F32,
    };
    TensorView::new(dtype, data.shape().to_vec(), data.as_bytes()).map_err(io::Error::other)
}

/// Hash of everything a file says: the header, then shape and values of each factor.
fn checksum(header: &str, factors: [&TensorView<'_>; 3]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for factor in factors {
        factor.shape().iter().for_each(|dim| {
            hasher.update(&(*dim as u64).to_le_bytes());
        });
        hasher.update_rayon(factor.data());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { residual: 1e-7, orthogonality: 0.5, solver: Some("HostSvd".into()) }
    }

    fn factors() -> HostFactors {
        HostFactors {
            u: TensorData::from([[1.0_f32, 0.0], [0.0, 1.0], [0.0, 0.0]]),
            s: TensorData::from([2.0_f32, 1.0]),
            vt: TensorData::from([[1.0_f32, 0.1], [0.0, 1.0]]),
        }
    }

    fn key(dims: [usize; 2], dtype: DType) -> Key {
        Key::of(&[1.0; 6], dims, dtype)
    }

    #[test]
    fn a_file_of_another_version_or_weight_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (key([3, 2], DType::F32), key([2, 3], DType::F32));
        assert!(matches!(find(dir.path(), &ours, true), Stored::Missing));
        write(dir.path(), &ours, &factors(), record()).unwrap();
        let Stored::Found(found) = find(dir.path(), &ours, true) else { panic!("it was just written") };
        assert_eq!((found.record, found.factors.unwrap().vt), (record(), factors().vt));
        std::fs::rename(ours.file(dir.path()), other.file(dir.path())).unwrap();
        assert!(matches!(find(dir.path(), &other, false), Stored::Damaged));
        write_as(VERSION + 1, dir.path(), &ours, (&factors(), record())).unwrap();
        assert!(matches!(find(dir.path(), &ours, false), Stored::Damaged));
    }

    #[test]
    fn vectors_in_f32_serve_for_half_precision_and_not_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let (full, half) = (key([3, 2], DType::F32), key([3, 2], DType::BF16));
        let HostFactors { u, s, vt } = factors();
        let rounded = HostFactors { u: u.convert_dtype(DType::BF16), s, vt: vt.convert_dtype(DType::BF16) };
        write(dir.path(), &half, &rounded, record()).unwrap();
        assert!(matches!(find(dir.path(), &full, false), Stored::Missing));
        let Stored::Found(found) = find(dir.path(), &half, true) else { panic!("it was just written") };
        assert_eq!(found.factors.unwrap().vt, rounded.vt);
        std::fs::remove_file(half.file(dir.path())).unwrap();
        write(dir.path(), &full, &factors(), record()).unwrap();
        let Stored::Found(found) = find(dir.path(), &half, true) else { panic!("f32 serves") };
        assert_eq!(found.key.file_name(), full.file_name());
    }
}
