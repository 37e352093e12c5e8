//! What stands before the numbers of the tensors: the metadata, and what the tensors are and where.

use std::collections::BTreeSet;
use std::ops::Range;

use super::bytes::Bytes;
use super::metadata::Metadata;
use super::{MAX_SHOWN, Problem};
use crate::format::quant::GgmlType;

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// The key that says how tensors are aligned, and how they are without it, in bytes.
pub(super) const ALIGNMENT: &str = "general.alignment";
pub(super) const DEFAULT_ALIGNMENT: usize = 32;
/// Bytes of the shortest key with its value: the length of the key, the kind, a byte.
const SHORTEST_KEY: usize = 13;
/// Bytes of what is said of a tensor without a name and dimensions.
const SHORTEST_TENSOR: usize = 24;
/// Bytes of the longest name of a tensor.
const MAX_NAME: usize = 64;
/// The most dimensions that a tensor has.
const MAX_DIMS: u32 = 4;

/// The header of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Version of the layout.
    pub version: u32,
    /// Values by key.
    pub metadata: Metadata,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
}

/// What a tensor is and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// How its numbers are stored.
    pub ty: GgmlType,
    /// Its shape, the dimension whose numbers are side by side last: the reverse of what is stored.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub bytes: Range<usize>,
}

/// Read the header of `file`, the whole of a file. That every tensor lies within it, aligned and apart from the others, is
/// checked; their numbers are not looked at.
///
/// # Errors
///
/// [`Problem`].
pub fn parse(file: &[u8]) -> Result<Header, Problem> {
    let mut bytes = Bytes::new(file);
    let version = version(file, &mut bytes)?;
    let (tensors, keys) = (bytes.count(SHORTEST_TENSOR)?, bytes.count(SHORTEST_KEY)?);
    let metadata = Metadata::read(&mut bytes, keys)?;
    let alignment = alignment(&metadata)?;
    let infos = (0..tensors).map(|_| tensor(&mut bytes)).collect::<Result<Vec<_>, _>>()?;
    let start = bytes.position().next_multiple_of(alignment);
    let tensors = infos.into_iter().map(|(info, offset)| place(info, offset, start, alignment, file.len()));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    check_apart(&tensors)?;
    Ok(Header { version, metadata, tensors })
}

fn version(file: &[u8], bytes: &mut Bytes<'_>) -> Result<u32, Problem> {
    if file.is_empty() {
        return Err(Problem::Empty);
    }
    if !file.starts_with(MAGIC) {
        let found = file[..file.len().min(MAGIC.len())].escape_ascii().to_string();
        return Err(Problem::NotGguf { found });
    }
    let _: [u8; 4] = bytes.array()?;
    match bytes.u32()? {
        found @ (2 | 3) => Ok(found),
        swapped if matches!(swapped.swap_bytes(), 1..=0xFFFF) => Err(Problem::BigEndian),
        found => Err(Problem::Version { found }),
    }
}

fn alignment(metadata: &Metadata) -> Result<usize, Problem> {
    /// More than any file uses.
    const LARGEST: u64 = 1 << 20;
    match metadata.u64(ALIGNMENT)? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(alignment) if alignment.is_power_of_two() && alignment <= LARGEST => Ok(alignment as usize),
        Some(other) => Err(Problem::bad(ALIGNMENT, other, "a power of two of at most 1048576")),
    }
}

/// Name, type, shape and offset of a tensor. The bytes are still counted from zero.
fn tensor(bytes: &mut Bytes<'_>) -> Result<(TensorInfo, u64), Problem> {
    let name = bytes.string()?;
    let shown: String = name.chars().take(MAX_SHOWN).collect();
    let broken = |what: String| Problem::Broken(format!("tensor `{shown}` {what}"));
    if name.len() > MAX_NAME {
        return Err(broken(format!("has a name of {} bytes, expected at most {MAX_NAME}", name.len())));
    }
    let dims = bytes.u32()?;
    if dims > MAX_DIMS {
        return Err(broken(format!("has {dims} dimensions, expected at most {MAX_DIMS}")));
    }
    let stored = (0..dims).map(|_| bytes.u64()).collect::<Result<Vec<_>, _>>()?;
    let ty = GgmlType::from_id(bytes.u32()?);
    let ty = ty.map_err(|source| Problem::UnknownType { name: shown.clone(), source })?;
    let offset = bytes.u64()?;
    let shape = stored.iter().rev().map(|&dim| usize::try_from(dim).ok().filter(|&dim| dim > 0));
    let shape = shape.collect::<Option<Vec<_>>>().ok_or_else(|| broken(format!("is {stored:?}, without numbers")))?;
    let row = shape.last().copied().unwrap_or(1);
    if ty.bytes_of(row).is_none() {
        return Err(broken(format!("has rows of {row} numbers, expected blocks of {} as {ty}", ty.block_len())));
    }
    let len = shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim));
    let len =
        len.and_then(|len| ty.bytes_of(len)).ok_or_else(|| broken(format!("is {stored:?}, larger than memory")))?;
    Ok((TensorInfo { name, ty, shape, bytes: 0..len }, offset))
}

/// Move a tensor to its place, `offset` bytes behind the `start` of all, which must lie within the `end` of the file.
fn place(info: TensorInfo, offset: u64, start: usize, alignment: usize, end: usize) -> Result<TensorInfo, Problem> {
    let broken = |what: String| {
        let name: String = info.name.chars().take(MAX_SHOWN).collect();
        Err(Problem::Broken(format!("tensor `{name}` {what}")))
    };
    if !offset.is_multiple_of(alignment as u64) {
        return broken(format!("begins at offset {offset}, no multiple of the alignment, {alignment}"));
    }
    let first = usize::try_from(offset).ok().and_then(|offset| start.checked_add(offset));
    let range = first.and_then(|first| Some(first..first.checked_add(info.bytes.end)?));
    match range.filter(|range| range.end <= end) {
        Some(bytes) => Ok(TensorInfo { bytes, ..info }),
        None => broken(format!("has {} bytes at offset {offset} beyond its end, byte {end}", info.bytes.end)),
    }
}

/// Refuse two tensors of one name, or that share bytes.
fn check_apart(tensors: &[TensorInfo]) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    if let Some(twice) = tensors.iter().find(|tensor| !names.insert(&tensor.name)) {
        let name: String = twice.name.chars().take(MAX_SHOWN).collect();
        return Err(Problem::Broken(format!("tensor `{name}` occurs twice")));
    }
    let mut in_order: Vec<_> = tensors.iter().collect();
    in_order.sort_by_key(|tensor| tensor.bytes.start);
    match in_order.windows(2).find(|pair| pair[0].bytes.end > pair[1].bytes.start) {
        Some(pair) => {
            let [one, other] = [0, 1].map(|at| pair[at].name.chars().take(MAX_SHOWN).collect::<String>());
            Err(Problem::Broken(format!("the tensors `{one}` and `{other}` share bytes")))
        }
        None => Ok(()),
    }
}
