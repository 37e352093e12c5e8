//! The K types: blocks of 256 numbers in groups of 16 or 32, each group with a scale in a few bits, which a scale of the
//! block multiplies.
//!
//! Two bits of 128 numbers are in 32 bytes: bits 0 and 1 belong to the first 32 numbers, bits 2 and 3 to the next, and so
//! on. Four bits of 64 numbers are in 32 bytes in the same manner.

use super::blocks::{float, part};

/// Numbers in a block.
const LEN: usize = 256;
/// Bytes that hold the same bits of the same number of numbers.
const ROW: usize = 32;

/// A byte for each group with its scale and minimum, the two bits of every number, `d` and the scale of the minima.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; LEN]) {
    let scales: &[u8; 16] = part(block, 0);
    let (d, d_min) = (float(block, 80), float(block, 82));
    let low = two_bits(part(block, 16));
    for ((out, low), scale) in out.as_chunks_mut::<16>().0.iter_mut().zip(low.as_chunks::<16>().0).zip(scales) {
        let (d, min) = (d * f32::from(scale & 15), d_min * f32::from(scale >> 4));
        for (x, &q) in out.iter_mut().zip(low) {
            *x = d * f32::from(q) - min;
        }
    }
}

/// The third bits, the other two bits of every number, 16 scales of 6 bits that count from -32, and `d`. A number counts
/// from -4, and from 0 where its third bit is set.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; LEN]) {
    let third: &[u8; ROW] = part(block, 0);
    let low = two_bits(part(block, 32));
    let scales = scales_of_q3(part(block, 96));
    let d = float(block, 108);
    let rows = out.as_chunks_mut::<ROW>().0.iter_mut().zip(low.as_chunks::<ROW>().0).zip(scales.as_chunks::<2>().0);
    for (bit, ((out, low), scales)) in rows.enumerate() {
        let mut q = [0_i8; ROW];
        for ((q, low), third) in q.iter_mut().zip(low).zip(third) {
            *q = low.cast_signed() - if third & (1 << bit) == 0 { 4 } else { 0 };
        }
        for ((out, q), &scale) in out.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks::<16>().0).zip(scales) {
            let d = d * f32::from(scale);
            for (x, &q) in out.iter_mut().zip(q) {
                *x = d * f32::from(q);
            }
        }
    }
}

/// `d` and the scale of the minima, 8 scales and 8 minima of 6 bits, the four bits of every number.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; LEN]) {
    let [d, d_min] = [float(block, 0), float(block, 2)];
    let q = four_bits(part(block, 16));
    scaled(out, &q, d, d_min, part(block, 4));
}

/// `d` and the scale of the minima, 8 scales and 8 minima of 6 bits, the fifth bits, the other four bits of every number.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; LEN]) {
    let [d, d_min] = [float(block, 0), float(block, 2)];
    let fifth: &[u8; ROW] = part(block, 16);
    let mut q = four_bits(part(block, 48));
    for (bit, q) in q.as_chunks_mut::<ROW>().0.iter_mut().enumerate() {
        for (q, fifth) in q.iter_mut().zip(fifth) {
            *q |= (fifth >> bit & 1) << 4;
        }
    }
    scaled(out, &q, d, d_min, part(block, 4));
}

/// The lower four bits of every number, the upper two, 16 signed scales, and `d`. A number counts from -32.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; LEN]) {
    let low: &[u8; 128] = part(block, 0);
    let high = two_bits(part(block, 128));
    let scales: &[u8; 16] = part(block, 192);
    let d = float(block, 208);
    let mut q = [0_i8; LEN];
    // The four bits of 128 numbers are in 64 bytes here.
    for (q, low) in q.as_chunks_mut::<128>().0.iter_mut().zip(low.as_chunks::<64>().0) {
        let (first, second) = q.split_at_mut(64);
        for ((first, second), byte) in first.iter_mut().zip(second).zip(low) {
            (*first, *second) = ((byte & 15).cast_signed(), (byte >> 4).cast_signed());
        }
    }
    for (q, high) in q.iter_mut().zip(high) {
        *q = (*q | (high << 4).cast_signed()) - 32;
    }
    for ((out, q), scale) in out.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks::<16>().0).zip(scales) {
        let d = d * f32::from(scale.cast_signed());
        for (x, &q) in out.iter_mut().zip(q) {
            *x = d * f32::from(q);
        }
    }
}

/// `d s q - d_min m` for 8 groups of 32 numbers, with the `s` and `m` of the groups in `scales`.
fn scaled(out: &mut [f32; LEN], q: &[u8; LEN], d: f32, d_min: f32, scales: &[u8; 12]) {
    let (scales, mins) = scales_of_q4(scales);
    let groups = out.as_chunks_mut::<ROW>().0.iter_mut().zip(q.as_chunks::<ROW>().0);
    for ((out, q), (scale, min)) in groups.zip(scales.into_iter().zip(mins)) {
        let (d, min) = (d * f32::from(scale), d_min * f32::from(min));
        for (x, &q) in out.iter_mut().zip(q) {
            *x = d * f32::from(q) - min;
        }
    }
}

/// Two bits of every number.
fn two_bits(bytes: &[u8; 64]) -> [u8; LEN] {
    let mut q = [0; LEN];
    for (q, bytes) in q.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks::<ROW>().0) {
        for (index, q) in q.as_chunks_mut::<ROW>().0.iter_mut().enumerate() {
            for (q, byte) in q.iter_mut().zip(bytes) {
                *q = byte >> (2 * index) & 3;
            }
        }
    }
    q
}

/// Four bits of every number.
fn four_bits(bytes: &[u8; 128]) -> [u8; LEN] {
    let mut q = [0; LEN];
    for (q, bytes) in q.as_chunks_mut::<64>().0.iter_mut().zip(bytes.as_chunks::<ROW>().0) {
        let (low, high) = q.split_at_mut(ROW);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
    q
}

/// The scales of a `Q3_K` block: four bits of 16 scales in 8 bytes, the first 8 in the lower halves; their upper two bits in
/// 4 bytes, four scales in each pair of bits.
fn scales_of_q3(bytes: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|group| {
        let low = bytes[group % 8] >> (group / 8 * 4) & 15;
        let high = bytes[8 + group % 4] >> (group / 4 * 2) & 3;
        (low | high << 4).cast_signed() - 32
    })
}

/// The scales and minima of a `Q4_K` or `Q5_K` block: of the first four groups in the lower six bits of bytes 0 to 3 and 4 to
/// 7; of the other four in the halves of bytes 8 to 11, with their upper two bits in those that the first eight bytes have
/// left.
fn scales_of_q4(bytes: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for group in 0..4 {
        let (scale, min, rest) = (bytes[group], bytes[4 + group], bytes[8 + group]);
        (scales[group], mins[group]) = (scale & 63, min & 63);
        scales[4 + group] = rest & 15 | scale >> 2 & 48;
        mins[4 + group] = rest >> 4 | min >> 2 & 48;
    }
    (scales, mins)
}
