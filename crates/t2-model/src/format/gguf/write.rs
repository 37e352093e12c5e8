//! Writing a GGUF file, version 3, a tensor at a time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};

use super::header::{ALIGNMENT, DEFAULT_ALIGNMENT, MAGIC};
use super::value::{MetaValue, Stored};
use crate::files::{WriteError, write_atomically_with};
use crate::format::quant::GgmlType;

/// The version that is written.
const VERSION: u32 = 3;

/// A tensor to write, whose numbers may fail to be made with an `E`.
pub struct NewTensor<'a, E = GgufWriteError> {
    /// Its name.
    pub name: String,
    /// Its shape, the dimension whose numbers are side by side last; at most four dimensions.
    pub shape: Vec<usize>,
    /// How its numbers are stored: F32, F16, BF16 or `Q8_0`.
    pub ty: GgmlType,
    /// Gives its numbers, as many as the shape says, when they are written: no other tensor is in memory then.
    pub values: Box<dyn FnOnce() -> Result<Vec<f32>, E> + 'a>,
}

/// Why a GGUF file could not be written. Nothing is left under its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufWriteError {
    /// The disk refuses.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Numbers are only read in this type, or their rows are no whole blocks of it.
    #[error("tensor `{name}` has rows of {row} numbers, which cannot be written as {ty}; write it as {instead}")]
    BadType {
        /// The tensor.
        name: String,
        /// Numbers in a row.
        row: usize,
        /// The type.
        ty: GgmlType,
        /// Types that it can be written as.
        instead: &'static str,
    },
    /// A number is not finite in the type.
    #[error("tensor `{name}` holds {value}, which {ty} cannot; write it as F32, or the weights are damaged")]
    BadValue {
        /// The tensor.
        name: String,
        /// The number.
        value: f32,
        /// The type.
        ty: GgmlType,
    },
}

/// Write `metadata` and `tensors` to `path`: the whole file, or none. Equal arguments give equal bytes.
///
/// # Errors
///
/// [`GgufWriteError`], or why the numbers of a tensor could not be made.
///
/// # Panics
///
/// When a tensor gives more or fewer numbers than its shape says, or `general.alignment` is no power of two.
pub fn write<E: From<GgufWriteError>>(
    path: &Path,
    metadata: &[(String, MetaValue)],
    tensors: Vec<NewTensor<'_, E>>,
) -> Result<(), E> {
    let alignment = alignment(metadata);
    let header = header(metadata, &tensors, alignment)?;
    let mut refused = None;
    let all = |path: &Path| {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&header)?;
        for tensor in tensors {
            let bytes = encode(tensor).map_err(|error| {
                refused = Some(error);
                io::Error::other("a tensor is refused")
            })?;
            file.write_all(&bytes)?;
            file.write_all(&vec![0; padding(bytes.len(), alignment)])?;
        }
        file.flush()
    };
    let written = write_atomically_with(path, all);
    refused.map_or(written.map_err(|error| GgufWriteError::from(error).into()), Err)
}

/// Everything before the numbers of the tensors.
fn header<E>(
    metadata: &[(String, MetaValue)],
    tensors: &[NewTensor<'_, E>],
    alignment: usize,
) -> Result<Vec<u8>, GgufWriteError> {
    let mut out = MAGIC.to_vec();
    VERSION.write(&mut out);
    (tensors.len() as u64).write(&mut out);
    (metadata.len() as u64).write(&mut out);
    for (key, value) in metadata {
        key.write(&mut out);
        value.write(&mut out);
    }
    let mut offset = 0;
    for tensor in tensors {
        let len = stored_len(tensor)?;
        tensor.name.write(&mut out);
        (tensor.shape.len() as u32).write(&mut out);
        tensor.shape.iter().rev().for_each(|&dim| (dim as u64).write(&mut out));
        tensor.ty.id().write(&mut out);
        (offset as u64).write(&mut out);
        offset = (offset + len).next_multiple_of(alignment);
    }
    out.resize(out.len().next_multiple_of(alignment), 0);
    Ok(out)
}

fn alignment(metadata: &[(String, MetaValue)]) -> usize {
    let value = metadata.iter().find(|(key, _)| key == ALIGNMENT).and_then(|(_, value)| value.integer());
    let alignment = value.map_or(DEFAULT_ALIGNMENT, |alignment| alignment as usize);
    assert!(alignment.is_power_of_two(), "{ALIGNMENT} is {alignment}, no power of two");
    alignment
}

/// How many bytes the numbers of `tensor` take.
fn stored_len<E>(tensor: &NewTensor<'_, E>) -> Result<usize, GgufWriteError> {
    let &NewTensor { ref name, ref shape, ty, .. } = tensor;
    let row = shape.last().copied().unwrap_or(1);
    let is_written = ty.quantize(&[]).is_some();
    match ty.bytes_of(row).and_then(|row| shape.iter().rev().skip(1).try_fold(row, |len, &dim| len.checked_mul(dim))) {
        Some(len) if is_written => Ok(len),
        _ => {
            let fits = row.is_multiple_of(GgmlType::Q8_0.block_len());
            let instead = if fits { "F32, F16, BF16 or Q8_0" } else { "F32, F16 or BF16" };
            Err(GgufWriteError::BadType { name: name.clone(), row, ty, instead })
        }
    }
}

/// The bytes of `tensor`, whose numbers are asked for now.
fn encode<E: From<GgufWriteError>>(tensor: NewTensor<'_, E>) -> Result<Vec<u8>, E> {
    let NewTensor { name, shape, ty, values } = tensor;
    let values = values()?;
    assert_eq!(values.len(), shape.iter().product::<usize>(), "numbers of `{name}`, {shape:?}");
    match values.iter().find(|&&value| !fits(ty, value)) {
        Some(&value) => Err(GgufWriteError::BadValue { name, value, ty }.into()),
        None => Ok(ty.quantize(&values).expect("the types were checked before")),
    }
}

/// Whether `value` is finite, and still is as `ty`. Of `Q8_0` the scale must be finite, whose 127-fold is the largest value.
fn fits(ty: GgmlType, value: f32) -> bool {
    match ty {
        GgmlType::F16 => f16::from_f32(value).is_finite(),
        GgmlType::Bf16 => bf16::from_f32(value).is_finite(),
        GgmlType::Q8_0 => f16::from_f32(value / 127.0).is_finite(),
        _ => value.is_finite(),
    }
}

/// How many bytes come after `len` so that the next tensor is aligned.
fn padding(len: usize, alignment: usize) -> usize {
    len.next_multiple_of(alignment) - len
}
