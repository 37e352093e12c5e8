//! Products of matrices on one core, by the shape of what is multiplied.
//!
//! A product with many rows computes, and [gemm] does that as fast as the processor can. One with few rows reads: every
//! weight is needed once for each row, and what counts is that memory is read in long runs. So there are two kernels
//! for few rows, one for weights whose rows are runs of numbers, one for weights whose columns are.

use pulp::{Simd, WithSimd};

use super::lanes::{arch, vectors, vectors_mut};

/// A matrix somewhere in memory: entry `(i, j)` is at `i row + j column`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    /// Its columns from `first` on, `count` of them.
    pub(super) fn columns(self, first: usize, count: usize) -> Self {
        Self { values: &self.values[first * self.column..], columns: count, ..self }
    }

    /// Its rows from `first` on, `count` of them.
    pub(super) fn rows(self, first: usize, count: usize) -> Self {
        Self { values: &self.values[first * self.row..], rows: count, ..self }
    }

    /// Its rows as columns.
    pub(super) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    /// Whether its rows are runs of numbers.
    pub(super) fn is_by_rows(&self) -> bool {
        self.column == 1 || self.columns == 1
    }

    /// Whether its columns are runs of numbers.
    pub(super) fn is_by_columns(&self) -> bool {
        self.row == 1 || self.rows == 1
    }

    /// Row `i` of a matrix by rows.
    #[inline(always)]
    fn run(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.row..][..self.columns]
    }

    /// Column `j` of a matrix by columns.
    #[inline(always)]
    fn column_run(&self, j: usize) -> &'a [f32] {
        &self.values[j * self.column..][..self.rows]
    }
}

/// Rows up to which a product with weights by rows is one that reads; measured.
const FEW: usize = 6;

/// Rows up to which a product with weights by columns, which [gemm] has to turn first, is one that reads; measured.
const FEW_BY_COLUMNS: usize = 32;

/// Whether `x w` has so few rows that it reads rather than computes.
pub(super) fn reads(rows: usize, w: &Matrix<'_>) -> bool {
    (w.is_by_rows() && rows <= FEW) || (w.is_by_columns() && rows <= FEW_BY_COLUMNS)
}

/// Adds `x w` to the rows of `out`; `x` is by rows, and [`reads`] holds.
pub(super) fn add_few(x: Matrix<'_>, w: Matrix<'_>, out: &mut [&mut [f32]]) {
    assert_eq!((x.columns, x.rows, true), (w.rows, out.len(), x.is_by_rows()), "the sides of a product");
    assert!(out.iter().all(|row| row.len() == w.columns), "rows of {} numbers", w.columns);
    if w.is_by_rows() {
        arch().dispatch(Streams { x, w, out });
    } else {
        arch().dispatch(Dots { x, w, out });
    }
}

/// Writes `x w` to `out`, whose rows begin `out_row` numbers apart, or adds it to what is there.
pub(super) fn multiply(x: Matrix<'_>, w: Matrix<'_>, out: &mut [f32], out_row: usize, add: bool) {
    let [m, n] = [x.rows, w.columns];
    if reads(m, &w) && x.is_by_rows() {
        let mut rows: Vec<&mut [f32]> = out.chunks_mut(out_row).take(m).map(|row| &mut row[..n]).collect();
        if !add {
            rows.iter_mut().for_each(|row| row.fill(0.0));
        }
        return add_few(x, w, &mut rows);
    }
    assert!(n <= out_row && (m - 1) * out_row + n <= out.len(), "[{m}, {n}] in {} numbers", out.len());
    compute(x, w, out, [out_row, 1], add);
}

/// Writes `x w` to `out`, column after column.
pub(super) fn multiply_turned(x: Matrix<'_>, w: Matrix<'_>, out: &mut [f32]) {
    assert_eq!(x.rows * w.columns, out.len(), "numbers of a product");
    compute(x, w, out, [1, x.rows], false);
}

/// By [gemm]: entry `(i, j)` of `x w` is written to or added at `i row + j column`.
fn compute(x: Matrix<'_>, w: Matrix<'_>, out: &mut [f32], [row, column]: [usize; 2], add: bool) {
    let [m, n, k] = [x.rows, w.columns, x.columns];
    assert_eq!(k, w.rows, "the sides of a product");
    assert!(m > 0 && n > 0 && k > 0, "[{m}, {k}] x [{k}, {n}]");
    let written = ((m - 1) * row + (n - 1) * column, out.len());
    let read = [x, w].map(|of| ((of.rows - 1) * of.row + (of.columns - 1) * of.column, of.values.len()));
    for (last, len) in [written, read[0], read[1]] {
        assert!(last < len, "entry {last} of {len}");
    }
    let [row, column, x_row, x_column, w_row, w_column] =
        [row, column, x.row, x.column, w.row, w.column].map(|stride| stride as isize);
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    // SAFETY: the largest offset of both factors and of the result is within their slices, as asserted; `out` is borrowed
    // mutably and overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            column,
            row,
            add,
            x.values.as_ptr(),
            x_column,
            x_row,
            w.values.as_ptr(),
            w_column,
            w_row,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows of the weights that are read side by side.
pub(super) const STREAMS: usize = 8;

/// For weights by rows: `out += Σ_i x_i w_i`, eight rows of the weights at a time, so that the results, which stay in
/// the cache, are read and written once for eight times as many weights.
struct Streams<'a, 'o> {
    x: Matrix<'a>,
    w: Matrix<'a>,
    out: &'a mut [&'o mut [f32]],
}

impl WithSimd for Streams<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, out } = self;
        let whole = w.rows - w.rows % STREAMS;
        for first in (0..whole).step_by(STREAMS) {
            let runs: [&[f32]; STREAMS] = std::array::from_fn(|i| w.run(first + i));
            for (row, out) in out.iter_mut().enumerate() {
                let factors = x.values[row * x.row + first..][..STREAMS].try_into().expect("a slice of this length");
                add_runs(simd, factors, runs, out);
            }
        }
        for i in whole..w.rows {
            for (row, out) in out.iter_mut().enumerate() {
                add_runs(simd, [x.values[row * x.row + i]], [w.run(i)], out);
            }
        }
    }
}

/// `out += Σ_i factors_i runs_i`.
#[inline(always)]
fn add_runs<S: Simd, const N: usize>(simd: S, factors: [f32; N], runs: [&[f32]; N], out: &mut [f32]) {
    let splats = factors.map(|factor| simd.splat_f32s(factor));
    let (out, out_rest) = vectors_mut::<S>(out);
    let split = runs.map(|run| vectors::<S>(run));
    let vectors = split.map(|(vectors, _)| &vectors[..out.len()]);
    for (v, out) in out.iter_mut().enumerate() {
        // Two sums: half as many products wait for one another.
        let (mut even, mut odd) = (*out, simd.splat_f32s(0.0));
        for i in 0..N {
            let sum = if i % 2 == 0 { &mut even } else { &mut odd };
            *sum = simd.mul_add_e_f32s(splats[i], vectors[i][v], *sum);
        }
        *out = simd.add_f32s(even, odd);
    }
    for (j, out) in out_rest.iter_mut().enumerate() {
        *out += (0..N).map(|i| factors[i] * split[i].1[j]).sum::<f32>();
    }
}

/// Rows and columns of a tile of dot products: sixteen sums fit the registers.
const TILE: usize = 4;

/// For weights by columns: each entry is the dot product of two runs. Tiles of them share what is read.
struct Dots<'a, 'o> {
    x: Matrix<'a>,
    w: Matrix<'a>,
    out: &'a mut [&'o mut [f32]],
}

impl WithSimd for Dots<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, out } = self;
        for column in (0..w.columns).step_by(TILE) {
            let columns = TILE.min(w.columns - column);
            // Beyond the last column the last is read again, and what comes out is dropped.
            let runs: [&[f32]; TILE] = std::array::from_fn(|j| w.column_run(column + j.min(columns - 1)));
            let (tiles, rest) = out.as_chunks_mut::<TILE>();
            for (tile, rows) in tiles.iter_mut().enumerate() {
                let x: [&[f32]; TILE] = std::array::from_fn(|i| x.run(tile * TILE + i));
                add_dots(simd, x, runs, rows, column..column + columns);
            }
            let (done, columns) = (tiles.len() * TILE, column..column + columns);
            match rest.len() {
                0 => {}
                1 => add_dots(simd, [x.run(done)], runs, rest, columns),
                2 => add_dots(simd, [0, 1].map(|i| x.run(done + i)), runs, rest, columns),
                _ => add_dots(simd, [0, 1, 2].map(|i| x.run(done + i)), runs, rest, columns),
            }
        }
    }
}

/// Adds the dot products of each of `x` with each of `w` to these `columns` of `rows`.
#[inline(always)]
fn add_dots<S: Simd, const M: usize>(
    simd: S,
    x: [&[f32]; M],
    w: [&[f32]; TILE],
    rows: &mut [&mut [f32]],
    columns: std::ops::Range<usize>,
) {
    let w = w.map(|w| vectors::<S>(w));
    let len = w[0].0.len();
    let x = x.map(|x| vectors::<S>(x));
    let (x_runs, w_runs) = (x.map(|(x, _)| &x[..len]), w.map(|(w, _)| &w[..len]));
    let mut sums = [[simd.splat_f32s(0.0); TILE]; M];
    for v in 0..len {
        for i in 0..M {
            for j in 0..TILE {
                sums[i][j] = simd.mul_add_e_f32s(x_runs[i][v], w_runs[j][v], sums[i][j]);
            }
        }
    }
    for i in 0..M {
        for (j, column) in columns.clone().enumerate() {
            let rest: f32 = x[i].1.iter().zip(w[j].1).map(|(x, w)| x * w).sum();
            rows[i][column] += simd.reduce_sum_f32s(sums[i][j]) + rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rounding leaves of a sum of `k` products of numbers up to one.
    const ROUNDING: f32 = 1e-6;

    #[track_caller]
    fn check([m, n, k]: [usize; 3]) {
        let numbers = |count: usize, step: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * step + 3) % 101) as f32 / 50.5 - 1.0).collect()
        };
        let (x, w) = (numbers(m * k, 37), numbers(k * n, 53));
        let x = Matrix { values: &x, rows: m, columns: k, row: k, column: 1 };
        let by_rows = Matrix { values: &w, rows: k, columns: n, row: n, column: 1 };
        let by_columns = Matrix { values: &w, rows: k, columns: n, row: 1, column: k };
        for w in [by_rows, by_columns] {
            let expected = |i: usize, j: usize| -> f32 {
                (0..k).map(|t| x.values[i * x.row + t] * w.values[t * w.row + j * w.column]).sum()
            };
            let (mut plain, mut wide) = (vec![0.0; m * n], vec![0.0; m * n]);
            let mut rows: Vec<&mut [f32]> = plain.chunks_mut(n).collect();
            match w.is_by_rows() {
                true => Streams { x, w, out: &mut rows }.with_simd(pulp::Scalar),
                false => Dots { x, w, out: &mut rows }.with_simd(pulp::Scalar),
            }
            multiply(x, w, &mut wide, n, false);
            for at in 0..m * n {
                let expected = expected(at / n, at % n);
                for (found, by) in [(plain[at], "plain code"), (wide[at], "vectors")] {
                    assert!(
                        (found - expected).abs() <= ROUNDING * k as f32,
                        "{by}: entry {at} is {found}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn plain_code_and_vectors_have_the_same_products() {
        [[1, 1, 1], [1, 37, 19], [3, 5, 64], [6, 70, 33], [9, 3, 40], [40, 20, 70]].into_iter().for_each(check);
    }
}
