//! The types of GGUF tensors: numbers in blocks, each block with scales of its own.
//!
//! A block of a type with a scale `d` holds whole numbers `q` and stands for `x = d q`, or `x = d q - m` where it has an
//! offset too. The layouts and the order of the operations are those of `ggml-quants.c`; every value is, bit for bit,
//! what the `gguf` package of Python makes of the same bytes.

mod blocks;
mod encode;
mod super_blocks;

use std::fmt;

use burn::tensor::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GgmlType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of IEEE 754.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// 32 numbers of 4 bits with a scale.
    Q4_0,
    /// 32 numbers of 4 bits with a scale and a minimum.
    Q4_1,
    /// 32 numbers of 5 bits with a scale.
    Q5_0,
    /// 32 numbers of 5 bits with a scale and a minimum.
    Q5_1,
    /// 32 numbers of 8 bits with a scale.
    Q8_0,
    /// 16 groups of 16 numbers of 2 bits, scales and minima of 4 bits.
    Q2K,
    /// 16 groups of 16 numbers of 3 bits, scales of 6 bits.
    Q3K,
    /// 8 groups of 32 numbers of 4 bits, scales and minima of 6 bits.
    Q4K,
    /// 8 groups of 32 numbers of 5 bits, scales and minima of 6 bits.
    Q5K,
    /// 16 groups of 16 numbers of 6 bits, scales of 8 bits.
    Q6K,
}

/// A number for a type that is not one of [`GgmlType::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; known are {}; use a file of one of these", Unknown(*id), Known)]
pub struct UnknownType {
    /// The number, as stored.
    pub id: u32,
}

/// The types of GGUF that are not read: integers, and blocks that look their numbers up in tables.
const UNREAD: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl GgmlType {
    /// Every type that is read.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The type with this number.
    ///
    /// # Errors
    ///
    /// [`UnknownType`] when there is none among [`ALL`](Self::ALL).
    pub fn from_id(id: u32) -> Result<Self, UnknownType> {
        Self::ALL.into_iter().find(|ty| ty.id() == id).ok_or(UnknownType { id })
    }

    /// The number of the type in a file.
    pub const fn id(self) -> u32 {
        self.facts().0
    }

    /// The name of the type: `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// How many numbers make a block.
    pub const fn block_len(self) -> usize {
        self.facts().2
    }

    /// How many bytes a block takes.
    pub const fn block_bytes(self) -> usize {
        self.facts().3
    }

    /// Number, name, numbers in a block, bytes of a block.
    const fn facts(self) -> (u32, &'static str, usize, usize) {
        match self {
            Self::F32 => (0, "F32", 1, 4),
            Self::F16 => (1, "F16", 1, 2),
            Self::Q4_0 => (2, "Q4_0", 32, 18),
            Self::Q4_1 => (3, "Q4_1", 32, 20),
            Self::Q5_0 => (6, "Q5_0", 32, 22),
            Self::Q5_1 => (7, "Q5_1", 32, 24),
            Self::Q8_0 => (8, "Q8_0", 32, 34),
            Self::Q2K => (10, "Q2_K", 256, 84),
            Self::Q3K => (11, "Q3_K", 256, 110),
            Self::Q4K => (12, "Q4_K", 256, 144),
            Self::Q5K => (13, "Q5_K", 256, 176),
            Self::Q6K => (14, "Q6_K", 256, 210),
            Self::Bf16 => (30, "BF16", 1, 2),
        }
    }

    /// The type in memory that these numbers come nearest to: their own if they are floats, else f32.
    pub fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            _ => DType::F32,
        }
    }

    /// Bytes of `len` numbers; `None` when they are no whole blocks or more bytes than there is address space.
    pub fn bytes_of(self, len: usize) -> Option<usize> {
        let blocks = len.is_multiple_of(self.block_len()).then(|| len / self.block_len())?;
        blocks.checked_mul(self.block_bytes())
    }

    /// Write the numbers that `bytes`, whole blocks, stand for to `out`.
    ///
    /// A scale that is not finite makes the numbers of its group infinite or NaN; nothing is refused here.
    ///
    /// # Panics
    ///
    /// When `bytes` is not what `out.len()` numbers take, see [`bytes_of`](Self::bytes_of).
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), self.bytes_of(out.len()), "bytes of {} numbers as {self}", out.len());
        match self {
            Self::F32 => each_block(bytes, out, |block, [x]| *x = f32::from_le_bytes(*block)),
            Self::F16 => halves(bytes, out),
            Self::Bf16 => each_block(bytes, out, |&[low, high], [x]| *x = f32::from_le_bytes([0, 0, low, high])),
            Self::Q4_0 => each_block(bytes, out, blocks::q4_0),
            Self::Q4_1 => each_block(bytes, out, blocks::q4_1),
            Self::Q5_0 => each_block(bytes, out, blocks::q5_0),
            Self::Q5_1 => each_block(bytes, out, blocks::q5_1),
            Self::Q8_0 => each_block(bytes, out, blocks::q8_0),
            Self::Q2K => each_block(bytes, out, super_blocks::q2_k),
            Self::Q3K => each_block(bytes, out, super_blocks::q3_k),
            Self::Q4K => each_block(bytes, out, super_blocks::q4_k),
            Self::Q5K => each_block(bytes, out, super_blocks::q5_k),
            Self::Q6K => each_block(bytes, out, super_blocks::q6_k),
        }
    }

    /// The bytes that stand for `values`, rounded to the nearest as the `gguf` package does; `None` for the types that
    /// are only read: all but F32, F16, BF16 and `Q8_0`.
    ///
    /// A value that is not finite, or too large for the type, has no place in a weight: whoever writes one refuses it.
    /// Here it becomes an infinity or NaN of a float type, and anything in `Q8_0`.
    ///
    /// # Panics
    ///
    /// When `values` are no whole blocks.
    pub fn quantize(self, values: &[f32]) -> Option<Vec<u8>> {
        assert!(values.len().is_multiple_of(self.block_len()), "{} numbers as {self}", values.len());
        match self {
            Self::F32 => Some(encode::each(values, f32::to_le_bytes)),
            Self::F16 => Some(encode::each(values, |x| f16::from_f32(x).to_le_bytes())),
            Self::Bf16 => Some(encode::each(values, |x| half::bf16::from_f32(x).to_le_bytes())),
            Self::Q8_0 => Some(encode::q8_0(values)),
            _ => None,
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Shows a number that is not that of a known type, by name where it has one.
struct Unknown(u32);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNREAD.iter().find(|(id, _)| *id == self.0) {
            Some((_, name)) => write!(f, "the type {name} is not read"),
            None => write!(f, "there is no type {}", self.0),
        }
    }
}

/// Shows the names of the known types.
struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&GgmlType::ALL.map(GgmlType::name).join(", "))
    }
}

/// How many numbers a thread is given at a time: 256 KiB of them, which take some 50 µs.
const CHUNK_LEN: usize = 1 << 16;

/// Let `decode` write the `LEN` numbers of every block of `BYTES` bytes, on all threads where there are many.
fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]) + Sync,
) {
    each_chunk(bytes, out, CHUNK_LEN / LEN * BYTES, |bytes, out| {
        for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            decode(block, out);
        }
    });
}

/// Widen 16-bit floats, a batch at a time: processors have an instruction for several.
fn halves(bytes: &[u8], out: &mut [f32]) {
    const BATCH: usize = 64;
    each_chunk(bytes, out, 2 * CHUNK_LEN, |bytes, out| {
        let mut batch = [f16::ZERO; BATCH];
        for (bytes, out) in bytes.chunks(2 * BATCH).zip(out.chunks_mut(BATCH)) {
            let batch = &mut batch[..out.len()];
            for (half, bytes) in batch.iter_mut().zip(bytes.as_chunks().0) {
                *half = f16::from_le_bytes(*bytes);
            }
            batch.convert_to_f32_slice(out);
        }
    });
}

/// Call `decode` with pieces of `CHUNK_LEN` numbers and their `chunk_bytes` bytes, on all threads where there are several.
fn each_chunk(bytes: &[u8], out: &mut [f32], chunk_bytes: usize, decode: impl Fn(&[u8], &mut [f32]) + Sync) {
    if out.len() <= CHUNK_LEN {
        decode(bytes, out);
    } else {
        let chunks = bytes.par_chunks(chunk_bytes).zip(out.par_chunks_mut(CHUNK_LEN));
        chunks.for_each(|(bytes, out)| decode(bytes, out));
    }
}
