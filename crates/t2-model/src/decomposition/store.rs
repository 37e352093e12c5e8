//! Factors on disk: one checked safetensors file for each decomposed weight.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::Factors;
use crate::expert::Hash;
use crate::files::{WriteError, write_atomically};

/// Name of the one metadata entry: a checksum, a space, and a JSON document.
const METADATA: &str = "t2_svd";
/// Version of the layout and of the meaning of the factors; others are made again.
const VERSION: u32 = 1;
/// Names of the factors in a file.
const NAMES: [&str; 3] = ["u", "s", "vt"];

/// The hash of a weight: its shape and f32 values.
pub(super) struct Key(Hash);

impl Key {
    pub(super) fn of(weight: &Tensor<2>) -> Self {
        let mut hasher = blake3::Hasher::new();
        weight.dims().iter().for_each(|dim| {
            hasher.update(&(*dim as u64).to_le_bytes());
        });
        hasher.update(weight.to_data().as_bytes());
        Self(hasher.finalize().into())
    }

    fn file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.safetensors", self.0))
    }
}

/// What a file of factors says about itself.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    weight: String,
    residual: f64,
    orthogonality: f64,
}

/// What the disk had to offer.
pub(super) enum Stored {
    Found(Box<Factors>),
    Damaged,
    Missing,
}

pub(super) fn read(dir: &Path, key: &Key, device: &Device) -> Stored {
    match std::fs::read(key.file(dir)) {
        Err(_) => Stored::Missing,
        Ok(bytes) => parse(&bytes, key, device).map_or(Stored::Damaged, |factors| Stored::Found(Box::new(factors))),
    }
}

fn parse(bytes: &[u8], key: &Key, device: &Device) -> Option<Factors> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    let (sum, header) = metadata.metadata().as_ref()?.get(METADATA)?.split_once(' ')?;
    let tensors = SafeTensors::deserialize(bytes).ok()?;
    let [u, s, vt] = NAMES.map(|name| tensors.tensor(name).ok());
    let (u, s, vt) = (u?, s?, vt?);
    if sum != checksum(header, [&u, &s, &vt]).to_string() {
        return None;
    }
    let header: Header = serde_json::from_str(header).ok()?;
    if header.version != VERSION || header.weight != key.0.to_string() {
        return None;
    }
    let load = |view: &TensorView<'_>| {
        TensorData::new(bytemuck::pod_collect_to_vec::<u8, f32>(view.data()), view.shape().to_vec())
    };
    Some(Factors {
        u: Tensor::from_data(load(&u), device),
        s: Tensor::from_data(load(&s), device),
        vt: Tensor::from_data(load(&vt), device),
        residual: header.residual,
        orthogonality: header.orthogonality,
    })
}

pub(super) fn write(dir: &Path, key: &Key, factors: &Factors) -> Result<(), WriteError> {
    let path = key.file(dir);
    let &Factors { residual, orthogonality, .. } = factors;
    let header = Header { version: VERSION, weight: key.0.to_string(), residual, orthogonality };
    let bytes = serialize(&header, factors).map_err(|source| WriteError { path: path.clone(), source })?;
    write_atomically(&path, &bytes)
}

fn serialize(header: &Header, factors: &Factors) -> io::Result<Vec<u8>> {
    let header = serde_json::to_string(header)?;
    let data = [factors.u.to_data(), factors.s.to_data(), factors.vt.to_data()];
    let [u, s, vt] = &data;
    let views = [view(u)?, view(s)?, view(vt)?];
    let sum = checksum(&header, views.each_ref());
    let metadata = HashMap::from([(METADATA.to_owned(), format!("{sum} {header}"))]);
    safetensors::serialize(NAMES.into_iter().zip(views), Some(metadata)).map_err(io::Error::other)
}

fn view(data: &TensorData) -> io::Result<TensorView<'_>> {
    TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes()).map_err(io::Error::other)
}

/// Hash of everything a file says: the header, then shape and values of each factor.
fn checksum(header: &str, factors: [&TensorView<'_>; 3]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for factor in factors {
        factor.shape().iter().for_each(|dim| {
            hasher.update(&(*dim as u64).to_le_bytes());
        });
        hasher.update(factor.data());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_version_or_weight_is_not_taken() {
        let device = Device::flex();
        let factors = Factors {
            u: Tensor::from_floats([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], &device),
            s: Tensor::from_floats([2.0, 1.0], &device),
            vt: Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &device),
            residual: 1e-7,
            orthogonality: 0.5,
        };
        let key = Key::of(&Tensor::ones([3, 2], &device));
        let parsed = |version, weight: &Key| {
            let header = Header { version, weight: weight.0.to_string(), residual: 1e-7, orthogonality: 0.5 };
            parse(&serialize(&header, &factors).unwrap(), &key, &device)
        };
        assert_eq!(parsed(VERSION, &key).unwrap().s.to_data(), factors.s.to_data());
        assert!(parsed(VERSION + 1, &key).is_none());
        assert!(parsed(VERSION, &Key::of(&Tensor::ones([2, 3], &device))).is_none());
    }
}
