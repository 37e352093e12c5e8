//! The product of states with a weight, on all cores.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::memory::{Held, tensor};
use super::multiply::{Matrix, STREAMS, add_few, multiply, reads};

/// The fewest multiplications that are worth a second core: it has to be woken up.
const WORTH_SHARING: usize = 1 << 16;

/// The fewest rows that a core is given of a product with many: below, gemm is slower.
const ROWS: usize = 64;

/// The fewest columns that a core is given.
const COLUMNS: usize = 96;

/// The most parts that a product is cut in, for each core: some cores are faster than others, or busy.
const PARTS: usize = 4;

/// Weights that one core reads at a time, when there are enough of them.
const WEIGHTS: usize = 1 << 17;

/// Numbers in a vector, at most.
const LANES: usize = 16;

/// The most parts whose sums have to be added up.
const SUMS: usize = 32;

/// `x w`, `[m, n]`, for `x` `[m, k]` and `w` `[k, n]`; see [`crate::ops::product`].
pub(crate) fn product(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
    let (held_x, held_w) = (Held::in_rows(x)?, Held::of(w)?);
    let values = shared(matrix(&held_x), matrix(&held_w))?;
    Some(tensor(values, [x.dims()[0], w.dims()[1]], x))
}

fn matrix(held: &Held<2>) -> Matrix<'_> {
    let ([rows, columns], [row, column]) = (held.shape, held.strides);
    Matrix { values: held.values(), rows, columns, row, column }
}

/// `x w` by all cores; `None` where the sides do not fit or `w` has neither rows nor columns that are runs of numbers.
fn shared(x: Matrix<'_>, w: Matrix<'_>) -> Option<Vec<f32>> {
    let fits = x.columns == w.rows && (w.is_by_rows() || w.is_by_columns());
    fits.then(|| {
        let [m, n, k] = [x.rows, w.columns, x.columns];
        let mut out = vec![0.0; m * n];
        let threads = rayon::current_num_threads();
        if m * n * k < WORTH_SHARING {
            multiply(x, w, &mut out, n, false);
        } else if reads(m, &w) && w.is_by_rows() {
            by_terms(x, w, &mut out);
        } else if reads(m, &w) || m / ROWS < threads.min(n / COLUMNS) {
            by_columns(x, w, &mut out, threads);
        } else {
            let rows = part(m, threads, ROWS);
            out.par_chunks_mut(rows * n).enumerate().for_each(|(i, out)| {
                multiply(x.rows(i * rows, out.len() / n), w, out, n, false);
            });
        }
        out
    })
}

/// How many of `count` rows or columns make a part of at least `least`, so that each core has as many parts, if there are
/// enough of them.
fn part(count: usize, threads: usize, least: usize) -> usize {
    let parts = (count / least).clamp(1, threads * PARTS);
    let parts = if parts > threads { parts - parts % threads } else { parts };
    count.div_ceil(parts).next_multiple_of(LANES)
}

/// Each core takes some rows of the weights, which lie together in memory, and the numbers of `x` that they are multiplied
/// by. How many does not depend on the number of cores, nor does what is rounded.
fn by_terms(x: Matrix<'_>, w: Matrix<'_>, out: &mut [f32]) {
    let parts = (w.rows * w.columns / WEIGHTS).clamp(2, SUMS);
    let rows = w.rows.div_ceil(1 << parts.ilog2()).next_multiple_of(STREAMS);
    let sums: Vec<Vec<f32>> = (0..w.rows.div_ceil(rows))
        .into_par_iter()
        .map(|i| {
            let count = rows.min(w.rows - i * rows);
            let mut sums = vec![0.0; x.rows * w.columns];
            multiply(x.columns(i * rows, count), w.rows(i * rows, count), &mut sums, w.columns, true);
            sums
        })
        .collect();
    for sums in &sums {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
    }
}

/// Each core takes some columns of the weights.
fn by_columns(x: Matrix<'_>, w: Matrix<'_>, out: &mut [f32], threads: usize) {
    let (m, n) = (x.rows, w.columns);
    let width = part(n, threads, COLUMNS);
    let mut parts: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(width)).map(|_| Vec::with_capacity(m)).collect();
    for row in out.chunks_mut(n) {
        parts.iter_mut().zip(row.chunks_mut(width)).for_each(|(part, piece)| part.push(piece));
    }
    parts.into_par_iter().enumerate().for_each(|(i, mut rows)| {
        let w = w.columns(i * width, rows[0].len());
        if reads(m, &w) {
            return add_few(x, w, &mut rows);
        }
        let mut values = vec![0.0; m * w.columns];
        multiply(x, w, &mut values, w.columns, false);
        rows.iter_mut().zip(values.chunks(w.columns)).for_each(|(row, values)| row.copy_from_slice(values));
    });
}
