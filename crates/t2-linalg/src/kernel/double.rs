//! Kernels of [`CusolverSvd`](crate::CusolverSvd), in f64: they widen matrices, measure and order vectors, make the
//! short ones orthogonal and hand the factors out.
//!
//! Vectors are rows here: what cuSOLVER calls a column.

use cubecl::prelude::*;

use super::UNITS;

/// Copies matrices into f64. A matrix that is not finite, whose `largest` bit pattern of a magnitude is that of an
/// infinity or a NaN, becomes zeros. `largest` has `chunks` numbers for each matrix.
#[cube(launch)]
pub(crate) fn widen(a: &[f32], largest: &[u32], out: &mut [f64], size: usize, chunks: usize) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let matrix = at / size;
        let mut magnitude = 0u32;
        for chunk in 0..chunks {
            magnitude = magnitude.max(largest[matrix * chunks + chunk]);
        }
        let mut value = 0.0f32;
        if magnitude < 0x7f80_0000u32 {
            value = a[at];
        }
        out[at] = f64::cast_from(value);
    }
}

/// The sum of what the units of a cube pass in.
#[cube]
fn sum_of_cube(scratch: &mut Shared<[f64]>, value: f64) -> f64 {
    let unit = UNIT_POS as usize;
    scratch[unit] = value;
    sync_cube();
    let mut half = (UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            scratch[unit] += scratch[unit + half];
        }
        half /= 2;
        sync_cube();
    }
    let sum = scratch[0];
    sync_cube();
    sum
}

/// Computes the norm of each row of length `len`, `[matrices, count]`, twice: once to keep, and once as what the row is
/// divided by at the end. One cube for each row (x) and matrix (y).
#[cube(launch)]
pub(crate) fn norms(rows: &[f64], norm: &mut [f64], divisor: &mut [f64], count: usize, len: usize) {
    let row = CUBE_POS_Y as usize * count + CUBE_POS_X as usize;
    let mut scratch = Shared::<[f64]>::new_slice(UNITS);
    let mut sum = 0.0f64;
    let mut n = UNIT_POS as usize;
    while n < len {
        let value = rows[row * len + n];
        sum += value * value;
        n += UNITS;
    }
    let sum = sum_of_cube(&mut scratch, sum);
    if UNIT_POS == 0 {
        norm[row] = sum.sqrt();
        divisor[row] = sum.sqrt();
    }
}

/// Writes, for each matrix, the index of its longest row, then of its second longest and so on, `[matrices, count]`. Of
/// rows of the same length the last comes first: eigenvectors come in ascending order.
#[cube(launch)]
pub(crate) fn descending(norm: &[f64], order: &mut [u32], count: usize) {
    let at = ABSOLUTE_POS;
    if at < norm.len() {
        let (base, row) = (at / count * count, at % count);
        let own = norm[at];
        let mut place = 0usize;
        for other in 0..count {
            let its = norm[base + other];
            if its > own || (its == own && other > row) {
                place += 1;
            }
        }
        order[base + place] = row as u32;
    }
}

/// Copies the first `some` rows of the `chosen` matrices, `[chosen, some, len]`, at length one; zero rows stay zero.
#[cube(launch)]
pub(crate) fn unit_rows(
    rows: &[f64],
    norm: &[f64],
    chosen: &[u32],
    out: &mut [f64],
    count: usize,
    some: usize,
    len: usize,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let (matrix, row, entry) = (chosen[at / (some * len)] as usize, at / len % some, at % len);
        let length = norm[matrix * count + row];
        let mut value = 0.0f64;
        if length > 0.0 {
            value = rows[(matrix * count + row) * len + entry] / length;
        }
        out[at] = value;
    }
}

/// Puts the first `some` rows of the `chosen` matrices, `[chosen, some, len]`, back among all `count` rows, where `is_good`
/// says so of a matrix. They are of length one, and need not be divided.
#[cube(launch)]
pub(crate) fn put_back(
    from: &[f64],
    chosen: &[u32],
    is_good: &[u32],
    rows: &mut [f64],
    divisor: &mut [f64],
    count: usize,
    some: usize,
    len: usize,
) {
    let at = ABSOLUTE_POS;
    if at < from.len() {
        let (place, rest) = (at / (some * len), at % (some * len));
        let matrix = chosen[place] as usize;
        if is_good[place] == 1 {
            rows[matrix * count * len + rest] = from[at];
            if rest % len == 0 {
                divisor[matrix * count + rest / len] = 1.0;
            }
        }
    }
}

/// Makes the correction `I − L` of rows whose scalar products are in `gram`, `[matrices, some, some]`: `L` has half of
/// what the diagonal is above one, and the scalar products of each row with the longer ones, which are those after it.
#[cube(launch)]
pub(crate) fn correction(gram: &[f64], out: &mut [f64], some: usize) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        // Column by column: a column is what a row is made of.
        let (row, of) = (at / some % some, at % some);
        let mut value = 0.0f64;
        if of == row {
            value = 1.0 - 0.5 * (gram[at] - 1.0);
        }
        if of > row {
            value = -gram[at];
        }
        out[at] = value;
    }
}

/// The largest entry of `gram − I` for each matrix, `[matrices]`. One cube for each matrix.
#[cube(launch)]
pub(crate) fn largest_excess(gram: &[f64], out: &mut [f64], some: usize) {
    let matrix = CUBE_POS_X as usize;
    let unit = UNIT_POS as usize;
    let mut scratch = Shared::<[f64]>::new_slice(UNITS);
    let mut largest = 0.0f64;
    let mut n = unit;
    while n < some * some {
        let expected = select(n / some == n % some, 1.0f64, 0.0f64);
        let excess = (gram[matrix * some * some + n] - expected).abs();
        // Not the larger of the two, which would drop a NaN.
        if excess > largest || excess.is_nan() {
            largest = excess;
        }
        n += UNITS;
    }
    scratch[unit] = largest;
    sync_cube();
    let mut half = (UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = scratch[unit + half];
            if other > scratch[unit] || other.is_nan() {
                scratch[unit] = other;
            }
        }
        half /= 2;
        sync_cube();
    }
    if unit == 0 {
        out[matrix] = scratch[0];
    }
}

/// Copies the rows of one matrix in the order that `order` says, `[count, len]`.
#[cube(launch)]
pub(crate) fn in_order(rows: &[f64], order: &[u32], out: &mut [f64], matrix: usize, count: usize, len: usize) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let row = order[matrix * count + at / len] as usize;
        out[at] = rows[(matrix * count + row) * len + at % len];
    }
}

/// Takes the lengths of the rows of one matrix, and their signs, from the diagonal of a triangular factor in `rows`,
/// `[count, len]`, which rows that are of length one will replace.
#[cube(launch)]
pub(crate) fn lengths_of_factor(
    rows: &[f64],
    norm: &mut [f64],
    divisor: &mut [f64],
    matrix: usize,
    count: usize,
    len: usize,
) {
    let row = ABSOLUTE_POS;
    if row < count {
        let length = rows[row * len + row];
        norm[matrix * count + row] = length.abs();
        divisor[matrix * count + row] = select(length < 0.0, -1.0f64, 1.0f64);
    }
}

/// Copies the rows of one matrix, `[count, len]`, back among all.
#[cube(launch)]
pub(crate) fn put_matrix_back(from: &[f64], rows: &mut [f64], matrix: usize) {
    let at = ABSOLUTE_POS;
    if at < from.len() {
        rows[matrix * from.len() + at] = from[at];
    }
}

/// Writes the factors in f32, each place in order from the row that `order` says: the vectors of the longer side,
/// `[matrices, count, len]`, which are the rows over their `divisor`, the singular values, and the vectors of the shorter
/// side, `[matrices, count, count]`. The entry of largest magnitude of each left vector, the first of several, becomes
/// positive. One cube for each place (x) and matrix (y).
#[cube(launch)]
pub(crate) fn hand_out(
    rows: &[f64],
    vectors: &[f64],
    norm: &[f64],
    divisor: &[f64],
    order: &[u32],
    long: &mut [f32],
    sigma: &mut [f32],
    short: &mut [f32],
    count: usize,
    len: usize,
    #[comptime] long_is_left: bool,
) {
    let (place, matrix) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let unit = UNIT_POS as usize;
    let row = matrix * count + order[matrix * count + place] as usize;
    let inverse = 1.0f64 / divisor[row];
    let mut magnitudes = Shared::<[f32]>::new_slice(UNITS);
    let mut places = Shared::<[u32]>::new_slice(UNITS);
    let mut largest = 0.0f32;
    let mut found = 0u32;
    let size = if comptime!(long_is_left) { len } else { count };
    let mut n = unit;
    while n < size {
        let entry = if comptime!(long_is_left) {
            f32::cast_from(rows[row * len + n] * inverse)
        } else {
            f32::cast_from(vectors[row * count + n])
        };
        if entry.abs() > largest {
            largest = entry.abs();
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
    let at = places[0] as usize;
    let first = if comptime!(long_is_left) { rows[row * len + at] * inverse } else { vectors[row * count + at] };
    let sign = select(first >= 0.0, 1.0f64, -1.0f64);

    let out = matrix * count + place;
    let mut n = unit;
    while n < len {
        long[out * len + n] = f32::cast_from(rows[row * len + n] * inverse * sign);
        n += UNITS;
    }
    let mut n = unit;
    while n < count {
        short[out * count + n] = f32::cast_from(vectors[row * count + n] * sign);
        n += UNITS;
    }
    if unit == 0 {
        sigma[out] = f32::cast_from(norm[row]);
    }
}
