//! Factors on disk: one checked safetensors file for each decomposed weight.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::Factors;
use crate::expert::Hash;
use crate::files::{WriteError, write_atomically};

/// Name of the one metadata entry, a JSON document.
const METADATA: &str = "t2_svd";
/// Version of the layout and of the meaning of the factors; others are made again.
const VERSION: u32 = 1;

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
    /// Hash of `u`, `s` and `vt`, in this order.
    factors: String,
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
    let header: Header = serde_json::from_str(metadata.metadata().as_ref()?.get(METADATA)?).ok()?;
    let tensors = SafeTensors::deserialize(bytes).ok()?;
    let [u, s, vt] = ["u", "s", "vt"].map(|name| tensors.tensor(name).ok());
    let (u, s, vt) = (u?, s?, vt?);
    let intact = header.version == VERSION
        && header.weight == key.0.to_string()
        && header.factors == hash([u.data(), s.data(), vt.data()]).to_string();
    if !intact {
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
    let data = [factors.u.to_data(), factors.s.to_data(), factors.vt.to_data()];
    let header = Header {
        version: VERSION,
        weight: key.0.to_string(),
        factors: hash([0, 1, 2].map(|i| data[i].as_bytes())).to_string(),
        residual: factors.residual,
        orthogonality: factors.orthogonality,
    };
    let serialize = || -> Result<Vec<u8>, std::io::Error> {
        let header = serde_json::to_string(&header)?;
        let views = ["u", "s", "vt"].into_iter().zip(&data).map(|(name, data)| {
            TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes()).map(|view| (name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(std::io::Error::other)?;
        let metadata = HashMap::from([(METADATA.to_owned(), header)]);
        safetensors::serialize(views, Some(metadata)).map_err(std::io::Error::other)
    };
    let bytes = serialize().map_err(|source| WriteError { path: path.clone(), source })?;
    write_atomically(&path, &bytes)
}

fn hash(parts: [&[u8]; 3]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    hasher.finalize().into()
}
