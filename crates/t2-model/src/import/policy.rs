//! The numbers of an expert of the original project, and what they are in our words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use half::{bf16, f16};

use super::ImportError;
use super::archive::Archive;
use super::pickle::{self, Tensor};
use crate::adapter::expert::Parametrization;
use crate::adapter::{Expert, ExpertInfo};
use crate::architecture::{Rows, Source};
use crate::checkpoint::{FileTensor, Files};
use crate::decomposition::{Targets, find_factors};
use crate::hash::Hash;

/// What the state dict of a policy calls its parameters, before their number.
const NUMBERED: &str = "learnable_params_module_list.";
/// The matrices that the original trains, in the order of its models, and how their paths end in ours.
const ORDER: [&str; 3] = [".mlp.gate.weight", ".mlp.up.weight", ".mlp.down.weight"];

/// An expert as the original project saves it: a number for each singular value, before the sigmoid.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    matrices: Matrices,
}

/// The numbers of each matrix.
#[derive(Clone, Debug, PartialEq)]
enum Matrices {
    /// In the order of the model.
    Numbered(Vec<Numbers>),
    /// By the name of the matrix.
    Named(BTreeMap<String, Numbers>),
}

/// Numbers, and the type that they have in the file.
#[derive(Clone, Debug, PartialEq)]
struct Numbers {
    dtype: DType,
    values: Vec<f32>,
}

/// How an expert is made of a policy.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The largest multiplier, `max_mult` in the configuration of the original; 1 there unless it was changed.
    pub max_mult: f32,
    /// What the expert is called.
    pub name: String,
    /// Hash of the model.
    pub base_model: Hash,
    /// A folder with the f32 factors of the model's MLP matrices.
    pub factors: PathBuf,
}

impl Policy {
    /// Read `policy_params.pt` or `learnable_params.pt`. Nothing in it is run.
    ///
    /// # Errors
    ///
    /// [`ImportError::Read`] when the file cannot be read, [`ImportError::Malformed`] when it holds something else.
    pub fn load(path: &Path) -> Result<Self, ImportError> {
        let bytes = std::fs::read(path).map_err(|source| ImportError::Read { path: path.to_owned(), source })?;
        Self::parse(bytes).map_err(|reason| ImportError::Malformed { path: path.to_owned(), reason })
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let archive = Archive::parse(bytes)?;
        if archive.find("byteorder").is_some_and(|order| order != b"little") {
            return Err("its numbers are not little-endian".to_owned());
        }
        let mut found = BTreeMap::new();
        for (name, tensor) in pickle::tensors(archive.entry("data.pkl")?)? {
            found.insert(name, numbers(&archive, &tensor)?);
        }
        if found.is_empty() {
            return Err("it holds no tensors".to_owned());
        }
        let number = |name: &String| name.strip_prefix(NUMBERED)?.parse::<usize>().ok();
        let matrices = match found.keys().find(|name| number(name).is_some()) {
            None => Matrices::Named(found),
            Some(_) => {
                let mut numbered = BTreeMap::new();
                for (name, numbers) in found {
                    let index = number(&name).ok_or_else(|| format!("it holds `{name}` beside `{NUMBERED}0`"))?;
                    numbered.insert(index, numbers);
                }
                if let Some(missing) = (0..numbered.len()).find(|index| !numbered.contains_key(index)) {
                    return Err(format!("it has no `{NUMBERED}{missing}`"));
                }
                Matrices::Numbered(numbered.into_values().collect())
            }
        };
        Ok(Self { matrices })
    }

    /// The expert for the checkpoint `files`: `z = m · Σs / Σ(m ∘ s)` with `m = sigmoid(p) · max_mult`. The mask is
    /// rounded to the type of `p`, as it is in the original.
    ///
    /// # Errors
    ///
    /// [`ImportError`] when the model has other matrices or other singular values, or their factors are not on disk.
    pub fn to_expert(&self, files: &Files, options: ImportOptions) -> Result<Expert, ImportError> {
        let ImportOptions { max_mult, name, base_model, factors } = options;
        if !(max_mult.is_finite() && max_mult > 0.0) {
            return Err(ImportError::BadMultiplier { value: max_mult });
        }
        let tensors = files.tensors()?;
        let mut z = BTreeMap::new();
        for (tensor, numbers) in self.matched(&tensors)? {
            let source = whole(tensor)?;
            let s = singular_values(tensor, source, &factors)?;
            if s.len() != numbers.values.len() {
                let (found, expected) = (numbers.values.len(), s.len());
                return Err(ImportError::Rank { name: tensor.name.clone(), found, expected });
            }
            z.insert(source.path.clone(), scales(&numbers.mask(max_mult), &s));
        }
        let info = ExpertInfo {
            name,
            base_model,
            targets: z.keys().map(|path| Targets::of(path)).fold(Targets::NONE, |all, one| all | one),
            parametrization: Parametrization::Scale,
            training: format!("imported from the original project, max_mult {max_mult}"),
        };
        Ok(Expert::new(z, info)?)
    }

    /// The stored tensor of each matrix, with its numbers.
    fn matched<'t, 'f>(
        &self,
        tensors: &'t [FileTensor<'f>],
    ) -> Result<Vec<(&'t FileTensor<'f>, &Numbers)>, ImportError> {
        match &self.matrices {
            Matrices::Named(named) => {
                let find = |name: &String| {
                    let is_called = |source: &Source| source.names.contains(name);
                    let tensor = tensors.iter().find(|tensor| tensor.sources.iter().any(is_called));
                    let is_matrix =
                        |tensor: &&FileTensor<'_>| tensor.sources.iter().any(|s| Targets::ALL.matches(&s.path));
                    tensor.filter(is_matrix).ok_or_else(|| ImportError::UnknownMatrix { name: name.clone() })
                };
                named.iter().map(|(name, numbers)| Ok((find(name)?, numbers))).collect()
            }
            Matrices::Numbered(numbered) => {
                let mut ordered: Vec<(usize, usize, &FileTensor<'_>)> = vec![];
                for tensor in tensors.iter().filter(|tensor| tensor.sources.iter().any(is_mlp)) {
                    let path = &whole(tensor)?.path;
                    let layer = crate::adapter::statistics::layer_of(path).unwrap_or(0);
                    let position = ORDER.iter().position(|end| path.ends_with(end)).unwrap_or(ORDER.len());
                    ordered.push((layer, position, tensor));
                }
                ordered.sort_by_key(|&(layer, position, _)| (layer, position));
                if ordered.len() != numbered.len() {
                    return Err(ImportError::Count { found: numbered.len(), expected: ordered.len() });
                }
                Ok(ordered.into_iter().map(|(.., tensor)| tensor).zip(numbered).collect())
            }
        }
    }
}

fn is_mlp(source: &Source) -> bool {
    Targets::MLP.matches(&source.path)
}

/// The parameter that a stored tensor is; one of several is refused.
fn whole<'t>(tensor: &'t FileTensor<'_>) -> Result<&'t Source, ImportError> {
    match tensor.sources.as_slice() {
        [source] if !matches!(source.rows, Rows::Part { .. }) => Ok(source),
        _ => Err(ImportError::Fused { name: tensor.name.clone() }),
    }
}

fn singular_values(tensor: &FileTensor<'_>, source: &Source, cache: &Path) -> Result<Vec<f32>, ImportError> {
    let missing = || ImportError::NotCached { cache: cache.to_owned(), path: source.path.clone() };
    let &[d_in, d_out] = source.shape.as_slice() else { return Err(missing()) };
    let (stored, rows) = (tensor.values(), tensor.shape.first().copied().unwrap_or(1));
    let picked = source.rows.pick(stored.as_slice().unwrap_or_default(), rows);
    let factors =
        find_factors(source.layout.arrange(picked, &source.shape), [d_in, d_out], cache).ok_or_else(missing)?;
    Ok(factors.s.iter::<f32>().collect())
}

/// `m · Σs / Σ(m ∘ s)`. Where the sum vanishes nothing finite comes out, which no expert takes.
fn scales(mask: &[f32], s: &[f32]) -> Vec<f32> {
    let sum: f64 = s.iter().copied().map(f64::from).sum();
    let scaled: f64 = s.iter().zip(mask).map(|(s, m)| f64::from(*s) * f64::from(*m)).sum();
    mask.iter().map(|m| (f64::from(*m) * sum / scaled) as f32).collect()
}

impl Numbers {
    /// `sigmoid(p) · max_mult`, both rounded to the type of `p`.
    fn mask(&self, max_mult: f32) -> Vec<f32> {
        let round = |x: f32| match self.dtype {
            DType::BF16 => bf16::from_f32(x).to_f32(),
            DType::F16 => f16::from_f32(x).to_f32(),
            _ => x,
        };
        let sigmoid = |p: f32| (1.0 / (1.0 + (-f64::from(p)).exp())) as f32;
        self.values.iter().map(|&p| round(round(sigmoid(p)) * max_mult)).collect()
    }
}

/// The numbers of a tensor of the archive.
fn numbers(archive: &Archive, tensor: &Tensor) -> Result<Numbers, String> {
    let Tensor { storage, offset, len } = tensor;
    let dtype = storage.dtype;
    let entry = format!("data/{}", storage.key);
    let stored = archive.entry(&entry)?;
    let bytes = offset.checked_add(*len).and_then(|end| {
        let size = dtype.size();
        stored.get(offset.checked_mul(size)?..end.checked_mul(size)?)
    });
    let bytes = bytes.ok_or_else(|| format!("its entry `{entry}` has fewer than {offset} + {len} numbers"))?;
    let halves = bytes.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let values = match dtype {
        DType::BF16 => halves.map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        DType::F16 => halves.map(|bits| f16::from_bits(bits).to_f32()).collect(),
        _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    };
    Ok(Numbers { dtype, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&[u8]; 2] = [
        include_bytes!("../../tests/golden/policy_params.pt"),
        include_bytes!("../../tests/golden/learnable_params.pt"),
    ];

    #[test]
    fn no_damage_makes_a_panic() {
        for whole in FILES {
            assert!(Policy::parse(whole.to_vec()).is_ok());
            // Every byte in turn is another one; in the numbers themselves that goes unseen.
            let mut refused = 0;
            for at in 0..whole.len() {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 0xff;
                refused += usize::from(Policy::parse(bytes).is_err());
                assert!(Policy::parse(whole[..at].to_vec()).is_err(), "cut at {at}");
            }
            assert!(refused > whole.len() / 10, "{refused} of {} bytes matter", whole.len());
        }
    }

    #[test]
    fn the_mask_has_the_type_of_its_numbers() {
        let mask = |dtype| Numbers { dtype, values: vec![0.1, -0.7] }.mask(1.5);
        let exact = [0.1_f64, -0.7].map(|p| (1.5 / (1.0 + (-p).exp())) as f32);
        let rounded = mask(DType::BF16);
        assert!(rounded.iter().all(|&m| bf16::from_f32(m).to_f32() == m) && rounded != exact, "{rounded:?}");
        // One rounding of f32.
        assert!(mask(DType::F32).iter().zip(exact).all(|(a, b)| (a - b).abs() <= 2.0 * f32::EPSILON));
    }
}
