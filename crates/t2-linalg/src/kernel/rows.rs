//! Kernels that load rows, measure and order them, replace those that vanish, and return the factors.

use cubecl::prelude::*;

use super::UNITS;
use super::reduce::{max_of_cube, sum_of_cube};

/// Finds the largest magnitude in each chunk of each matrix, as the bit pattern of its f32, `[matrices, chunks]`.
/// Compared as integers, bit patterns are in the order of the magnitudes, with infinities and NaNs above every finite
/// one. One cube for each chunk (x) and matrix (y).
#[cube(launch)]
pub(super) fn largest_magnitude(a: &[f32], out: &mut [u32], size: usize, chunks: usize) {
    let (chunk, matrix) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let unit = UNIT_POS as usize;
    let mut scratch = Shared::<[u32]>::new_slice(UNITS);
    let mut largest = 0u32;
    let mut n = chunk * UNITS + unit;
    while n < size {
        largest = largest.max(u32::reinterpret(a[matrix * size + n]) & 0x7fff_ffffu32);
        n += chunks * UNITS;
    }
    scratch[unit] = largest;
    sync_cube();
    let mut half = (UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            scratch[unit] = scratch[unit].max(scratch[unit + half]);
        }
        half /= 2;
        sync_cube();
    }
    if unit == 0 {
        out[matrix * chunks + chunk] = scratch[0];
    }
}

/// Writes the vectors of each matrix as rows, `[matrices, count, len]`, times its scale. The rows from `used` on are
/// zero, and so is a matrix whose scale is zero. Entry `i` of row `r` is read from place `r row_step + i entry_step` of
/// the matrix.
#[cube(launch)]
pub(super) fn load(
    a: &[f32],
    scale: &[f32],
    out: &mut [f32],
    size: usize,
    used: usize,
    count: usize,
    len: usize,
    row_step: usize,
    entry_step: usize,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let matrix = at / (count * len);
        let row = at / len % count;
        let entry = at % len;
        let factor = scale[matrix];
        let mut value = 0.0f32;
        if row < used && factor > 0.0 {
            value = a[matrix * size + row * row_step + entry * entry_step] * factor;
        }
        out[at] = value;
    }
}

/// Computes the norm of the first `len` entries of each row, `[matrices, count]`. One cube for each row (x) and matrix
/// (y).
#[cube(launch)]
pub(super) fn norms(rows: &[f32], out: &mut [f32], count: usize, stride: usize, len: usize) {
    let row = CUBE_POS_Y as usize * count + CUBE_POS_X as usize;
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let mut sum = 0.0f32;
    let mut n = UNIT_POS as usize;
    while n < len {
        let value = rows[row * stride + n];
        sum += value * value;
        n += UNITS;
    }
    let sum = sum_of_cube(&mut scratch, sum);
    if UNIT_POS == 0 {
        out[row] = sum.sqrt();
    }
}

/// Writes, for each matrix, the index of its longest row, then of its second longest and so on, `[matrices, count]`. Of
/// rows of the same length the first comes first.
#[cube(launch)]
pub(super) fn descending(norm: &[f32], order: &mut [u32], count: usize) {
    let at = ABSOLUTE_POS;
    if at < norm.len() {
        let (base, row) = (at / count * count, at % count);
        let own = norm[at];
        let mut place = 0usize;
        for other in 0..count {
            let its = norm[base + other];
            if its > own || (its == own && other < row) {
                place += 1;
            }
        }
        order[base + place] = row as u32;
    }
}

/// Turns the Gram matrix of the rows into that of the rows divided by their norms, the longest row first, and adds
/// `shift` to its diagonal. Rows whose norm, over the longest, is at most `floor` count as zero.
#[cube(launch)]
pub(super) fn equilibrate(
    gram: &[f32],
    norm: &[f32],
    order: &[u32],
    out: &mut [f32],
    count: usize,
    floor: f32,
    shift: f32,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let base = at / (count * count) * count;
        let (i, j) = (at / count % count, at % count);
        let (row, column) = (order[base + i] as usize, order[base + j] as usize);
        let least = norm[base + order[base] as usize] * floor;
        let mut value = 0.0f32;
        if norm[base + row] > least && norm[base + column] > least {
            value = gram[(base + row) * count + column] / norm[base + row] / norm[base + column];
        }
        out[at] = value + select(i == j, shift, 0.0f32);
    }
}

/// Replaces the triangular factor `R` by `R D`: `D` has the norms that [`equilibrate`] divided by, over the longest and
/// at least `floor`. Rows and columns from `used` on become zero.
#[cube(launch)]
pub(super) fn restore_norms(factor: &mut [f32], norm: &[f32], order: &[u32], used: usize, count: usize, floor: f32) {
    let at = ABSOLUTE_POS;
    if at < factor.len() {
        let base = at / (count * count) * count;
        let (row, column) = (at / count % count, at % count);
        let longest = norm[base + order[base] as usize];
        let mut length = 1.0f32;
        if longest > 0.0 {
            length = (norm[base + order[base + column] as usize] / longest).max(floor);
        }
        factor[at] = select(row < used && column < used, factor[at] * length, 0.0f32);
    }
}

/// Writes the rows of `factor` divided by their norms, the longest first, with their entries in the order they had
/// before [`equilibrate`] sorted them.
#[cube(launch)]
pub(super) fn unit_rows(
    factor: &[f32],
    norm: &[f32],
    order: &[u32],
    entry_order: &[u32],
    out: &mut [f32],
    count: usize,
) {
    let at = ABSOLUTE_POS;
    if at < factor.len() {
        let base = at / (count * count) * count;
        let (place, entry) = (at / count % count, at % count);
        let row = base + order[base + place] as usize;
        let mut value = 0.0f32;
        if norm[row] > 0.0 {
            value = factor[row * count + entry] / norm[row];
        }
        out[(base + place) * count + entry_order[base + entry] as usize] = value;
    }
}

/// Copies a block, `[count, width]`, of each matrix into rows that begin `stride` entries apart, from the column
/// `column` on.
#[cube(launch)]
pub(super) fn place(block: &[f32], rows: &mut [f32], width: usize, stride: usize, column: usize) {
    let at = ABSOLUTE_POS;
    if at < block.len() {
        rows[at / width * stride + column + at % width] = block[at];
    }
}

/// Puts noise in the place of rows that have vanished, so that they have a direction to be made orthogonal.
///
/// A row that is shorter than `vanished` times the longest gets random entries, for a length of about `noise` times
/// that of the longest. Rows that only fill up the last block stay zero: the row of `V` behind them is zero too. Matrices
/// that are `done` are left alone. One cube for each row (x) and matrix (y).
#[cube(launch)]
pub(super) fn replace_vanished(
    rows: &mut [f32],
    norm: &[f32],
    done: &[u32],
    count: usize,
    stride: usize,
    len: usize,
    vanished: f32,
    noise: f32,
    seed: u32,
) {
    if done[CUBE_POS_Y as usize] != 0 {
        terminate!();
    }
    let (row, base) = (CUBE_POS_X as usize, CUBE_POS_Y as usize * count);
    let unit = UNIT_POS as usize;
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let mut longest = 0.0f32;
    let mut n = unit;
    while n < count {
        longest = longest.max(norm[base + n]);
        n += UNITS;
    }
    let longest = max_of_cube(&mut scratch, longest);
    let longest = select(longest > 0.0, longest, 1.0f32);
    let at = (base + row) * stride;
    let mut tail = 0.0f32;
    let mut n = len + unit;
    while n < stride {
        tail = tail.max(rows[at + n].abs());
        n += UNITS;
    }
    let tail = max_of_cube(&mut scratch, tail);
    if norm[base + row] < vanished * longest && tail > 0.0 {
        // Uniform in [-1, 1): a variance of a third.
        let size = longest * noise * (3.0 / f32::cast_from(len)).sqrt();
        let mut n = unit;
        while n < len {
            // The finalizer of MurmurHash3 on a counter.
            let mut hash = u32::cast_from(row) * 0x9e37_79b9u32 + u32::cast_from(n) * 0x85eb_ca77u32 + seed;
            hash = (hash ^ (hash >> 16u32)) * 0x85eb_ca6bu32;
            hash = (hash ^ (hash >> 13u32)) * 0xc2b2_ae35u32;
            hash = hash ^ (hash >> 16u32);
            rows[at + n] = size * (f32::cast_from(hash >> 8u32) / 8_388_608.0 - 1.0);
            n += UNITS;
        }
    }
}

/// Computes the `T`, `[matrices, count, count]`, for which the rows of `T V` are orthogonal to first order. Only rows
/// whose `norm` is below the `limit` of their matrix change: each is corrected by all rows with a larger norm. `gram`
/// is `V Vᵀ`.
#[cube(launch)]
pub(super) fn correct_short(gram: &[f32], norm: &[f32], limit: &[f32], out: &mut [f32], count: usize) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let base = at / (count * count) * count;
        let (row, other) = (at / count % count, at % count);
        let (own, its) = (norm[base + row], norm[base + other]);
        let is_longer = its > own || (its == own && other < row);
        let mut value = select(row == other, 1.0f32, 0.0f32);
        if own < limit[at / (count * count)] {
            if row == other {
                value = 1.5 - 0.5 * gram[at];
            } else if is_longer {
                value = -gram[at];
            }
        }
        out[at] = value;
    }
}

/// Writes the factors of each matrix, the longest row first. From each row come the singular value, which is its norm
/// times `unscale`; the vector of the longer side, which is the row over its norm; and that of the shorter side, which
/// is the row of `V` behind it. Signs are those that make the largest entry of the left vector positive. One cube for
/// each row (x) and matrix (y).
#[cube(launch)]
pub(super) fn hand_out(
    rows: &[f32],
    norm: &[f32],
    order: &[u32],
    unscale: &[f32],
    long: &mut [f32],
    sigma: &mut [f32],
    short: &mut [f32],
    used: usize,
    count: usize,
    stride: usize,
    len: usize,
    #[comptime] long_is_left: bool,
) {
    let (place, matrix) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let unit = UNIT_POS as usize;
    let row = order[matrix * count + place] as usize;
    let at = (matrix * count + row) * stride;
    let length = norm[matrix * count + row];
    // Where the left vector is, its length, and what it is divided by to have the norm one.
    let first = if comptime!(long_is_left) { at } else { at + len };
    let size = if comptime!(long_is_left) { len } else { used };
    let divisor = if comptime!(long_is_left) { length } else { 1.0f32.runtime() };

    let mut magnitudes = Shared::<[f32]>::new_slice(UNITS);
    let mut places = Shared::<[u32]>::new_slice(UNITS);
    let mut largest = 0.0f32;
    let mut found = 0u32;
    let mut n = unit;
    while n < size {
        let magnitude = (rows[first + n] / divisor).abs();
        if magnitude > largest {
            largest = magnitude;
            found = n as u32;
        }
        n += UNITS;
    }
    magnitudes[unit] = largest;
    places[unit] = found;
    sync_cube();
    let mut half = (UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            let (own, other) = (magnitudes[unit], magnitudes[unit + half]);
            if other > own || (other == own && places[unit + half] < places[unit]) {
                magnitudes[unit] = other;
                places[unit] = places[unit + half];
            }
        }
        half /= 2;
        sync_cube();
    }
    let positive = rows[first + places[0] as usize] >= 0.0;
    let sign = select(positive, 1.0f32, -1.0f32);

    let out = matrix * used + place;
    let size_back = unscale[matrix];
    let mut n = unit;
    while n < len {
        long[out * len + n] = sign * rows[at + n] / length;
        n += UNITS;
    }
    let mut n = unit;
    while n < used {
        short[out * used + n] = sign * rows[at + len + n];
        n += UNITS;
    }
    if unit == 0 {
        sigma[out] = length * size_back;
    }
}
