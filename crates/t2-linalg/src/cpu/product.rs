//! The product of states with a weight, on all cores.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::backward;
use super::memory::{Held, tensor};
use super::multiply::{Matrix, STREAMS, add_few, multiply, multiply_turned, reads};

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

/// Columns that gemm packs at a time.
const PACKED: usize = 64;

/// The most rows whose results for [`PACKED`] columns stay in a near cache.
const NEAR_ROWS: usize = 1 << 11;

/// Results that are turned while they are in a near cache, and the fewest columns of weights that make it worth packing
/// `x` for them.
const TURNED: [usize; 2] = [1 << 17, 384];

/// How many times as many rows as columns weights have that are cut by rows, to be read once.
const TALL: usize = 16;

/// `x w`, `[m, n]`, for `x` `[m, k]` and `w` `[k, n]`; see [`crate::ops::product`].
pub(crate) fn product(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
    if let Some(y) = backward::Traced::of(x).and_then(|x| backward::product(x, w)) {
        return Some(y);
    }
    let (held_x, held_w) = (Held::in_rows(x)?, Held::of(w)?);
    let values = shared(matrix(&held_x), matrix(&held_w))?;
    Some(tensor(values, [x.dims()[0], w.dims()[1]], x))
}

/// Few rows `x` by several weights, each by rows; see [`crate::ops::products`]. The cores are told once.
pub(crate) fn products<const N: usize>(x: &Tensor<2>, weights: [&Tensor<2>; N]) -> Option<[Tensor<2>; N]> {
    let held_x = Held::in_rows(x)?;
    let held = weights.iter().map(|w| Held::of(*w)).collect::<Option<Vec<_>>>()?;
    let (x_there, w): (_, Vec<Matrix<'_>>) = (matrix(&held_x), held.iter().map(matrix).collect());
    let m = x_there.rows;
    let is_read = |w: &Matrix<'_>| {
        w.rows == x_there.columns && w.is_by_rows() && reads(m, w) && m * w.rows * w.columns >= WORTH_SHARING
    };
    w.iter().all(is_read).then_some(())?;
    let tensors = by_terms(x_there, &w).into_iter().zip(&w).map(|(out, w)| tensor(out, [m, w.columns], x));
    tensors.collect::<Vec<_>>().try_into().ok()
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
        if m * n * k >= WORTH_SHARING && w.is_by_rows() && (reads(m, &w) || k > TALL * n) {
            return by_terms(x, &[w]).swap_remove(0);
        }
        let mut out = vec![0.0; m * n];
        let threads = rayon::current_num_threads();
        if m * n * k < WORTH_SHARING {
            multiply(x, w, &mut out, n, false);
        } else if reads(m, &w) {
            by_columns(x, w, &mut out, part(n, threads, COLUMNS));
        } else if !w.is_by_rows() {
            let parts = (n / (TURNED[0] / m).max(TURNED[1])).max(1).next_multiple_of(threads);
            by_columns(x, w, &mut out, n.div_ceil(parts));
        } else if m <= NEAR_ROWS && n >= threads * PACKED {
            by_columns(x, w, &mut out, PACKED);
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

/// `x w` for each of `weights`. Each core takes some rows of the weights, which lie together in memory, and the numbers of
/// `x` that they are multiplied by. How many does not depend on the number of cores or on the other weights, nor does what
/// is rounded.
fn by_terms(x: Matrix<'_>, weights: &[Matrix<'_>]) -> Vec<Vec<f32>> {
    let parts = weights.iter().enumerate().flat_map(|(i, w)| {
        let parts = (w.rows * w.columns / WEIGHTS).clamp(2, SUMS);
        let rows = w.rows.div_ceil(1 << parts.ilog2()).next_multiple_of(STREAMS);
        (0..w.rows).step_by(rows).map(move |first| (i, first, rows.min(w.rows - first)))
    });
    let sums: Vec<(usize, Vec<f32>)> = parts
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(i, first, rows)| {
            let w = weights[i];
            let mut sums = vec![0.0; x.rows * w.columns];
            multiply(x.columns(first, rows), w.rows(first, rows), &mut sums, w.columns, true);
            (i, sums)
        })
        .collect();
    let mut outs: Vec<Vec<f32>> = weights.iter().map(|_| vec![]).collect();
    for (i, sums) in sums {
        match outs[i].as_mut_slice() {
            [] => outs[i] = sums,
            out => out.iter_mut().zip(&sums).for_each(|(out, sum)| *out += sum),
        }
    }
    outs
}

/// A core takes `width` columns of the weights at a time.
fn by_columns(x: Matrix<'_>, w: Matrix<'_>, out: &mut [f32], width: usize) {
    let (m, n) = (x.rows, w.columns);
    let mut parts: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(width)).map(|_| Vec::with_capacity(m)).collect();
    for row in out.chunks_mut(n) {
        parts.iter_mut().zip(row.chunks_mut(width)).for_each(|(part, piece)| part.push(piece));
    }
    parts.into_par_iter().enumerate().for_each_init(Vec::new, |values, (i, mut rows)| {
        let w = w.columns(i * width, rows[0].len());
        if reads(m, &w) {
            return add_few(x, w, &mut rows);
        }
        values.resize(m * w.columns, 0.0);
        if w.is_by_rows() {
            multiply(x, w, values, w.columns, false);
            rows.iter_mut().zip(values.chunks(w.columns)).for_each(|(row, values)| row.copy_from_slice(values));
        } else {
            // Weights by columns are read where they lie if what comes out is by columns too; else gemm turns them first.
            multiply_turned(x, w, values);
            turn(values, m, &mut rows);
        }
    });
}

/// Sides of a tile that is turned in the registers or the nearest cache.
const TILE: usize = 16;

/// Writes `values`, columns of `m` numbers each, to the rows that they make.
fn turn(values: &[f32], m: usize, rows: &mut [&mut [f32]]) {
    for (i, rows) in rows.chunks_mut(TILE).enumerate() {
        for (j, columns) in values.chunks(TILE * m).enumerate() {
            let mut tile = [[0.0; TILE]; TILE];
            for (tile, column) in tile.iter_mut().zip(columns.chunks(m)) {
                tile[..rows.len()].copy_from_slice(&column[i * TILE..][..rows.len()]);
            }
            let count = columns.len() / m;
            for (r, row) in rows.iter_mut().enumerate() {
                let turned: [f32; TILE] = std::array::from_fn(|c| tile[c][r]);
                row[j * TILE..][..count].copy_from_slice(&turned[..count]);
            }
        }
    }
}
