//! Blocks of 32 numbers with one scale.
//!
//! Four bits of every number are in 16 bytes: the first 16 numbers in the lower halves, the others in the upper ones.
//! A fifth bit of all 32 is in a word of its own.

use half::f16;

/// Numbers in a block.
const LEN: usize = 32;
/// Numbers in half a block.
const HALF: usize = LEN / 2;

/// The 16-bit float at `at`.
pub(super) fn float<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The `LEN` bytes from `at` on.
pub(super) fn part<const LEN: usize, const BYTES: usize>(block: &[u8; BYTES], at: usize) -> &[u8; LEN] {
    block[at..].first_chunk().expect("a block is longer than its parts")
}

/// `d`, then the fours bits of every number, which count from -8.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; LEN]) {
    let d = float(block, 0);
    let q = nibbles(part(block, 2));
    for (x, q) in out.iter_mut().zip(q) {
        *x = d * (f32::from(q) - 8.0);
    }
}

/// `d` and the minimum, then the four bits of every number.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; LEN]) {
    let (d, min) = (float(block, 0), float(block, 2));
    let q = nibbles(part(block, 4));
    for (x, q) in out.iter_mut().zip(q) {
        *x = d * f32::from(q) + min;
    }
}

/// `d`, the fifth bits, and the other four bits of every number, which count from -16.
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; LEN]) {
    let d = float(block, 0);
    let q = five_bits(part(block, 2), part(block, 6));
    for (x, q) in out.iter_mut().zip(q) {
        *x = d * (f32::from(q) - 16.0);
    }
}

/// `d` and the minimum, the fifth bits, and the other four bits of every number.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; LEN]) {
    let (d, min) = (float(block, 0), float(block, 2));
    let q = five_bits(part(block, 4), part(block, 8));
    for (x, q) in out.iter_mut().zip(q) {
        *x = d * f32::from(q) + min;
    }
}

/// `d`, then a signed byte for every number.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; LEN]) {
    let d = float(block, 0);
    for (x, q) in out.iter_mut().zip(part::<LEN, _>(block, 2)) {
        *x = f32::from(q.cast_signed()) * d;
    }
}

/// The lower halves of 16 bytes, then their upper halves.
fn nibbles(bytes: &[u8; HALF]) -> [u8; LEN] {
    let mut q = [0; LEN];
    let (low, high) = q.split_at_mut(HALF);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
    q
}

/// Numbers of five bits: bit `i` of `fifth` is the uppermost of number `i`.
fn five_bits(fifth: &[u8; 4], rest: &[u8; HALF]) -> [u8; LEN] {
    /// The bit of each number within the byte that holds it.
    const BIT: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
    let mut q = nibbles(rest);
    for (eight, &byte) in q.as_chunks_mut::<8>().0.iter_mut().zip(fifth) {
        for (q, bit) in eight.iter_mut().zip(BIT) {
            *q |= if byte & bit == 0 { 0 } else { 16 };
        }
    }
    q
}
