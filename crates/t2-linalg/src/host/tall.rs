//! A matrix and its factors, turned so that there are never more columns than rows.
//!
//! `X`, `[rows, k]`, is the matrix or, if that is wide, its transpose, scaled. The singular vectors of the longer side
//! are called the long ones, `[rows, k]`, those of the shorter side the short ones, `[k, k]`.

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

use crate::batch::{Factors, Matrix};

/// How many rows of `X` are converted to f64 at a time, and how many columns of `Q` are computed at a time.
pub(super) const PANEL: usize = 256;

/// `X`; or the long vectors, which lie in memory the way `X` does.
#[derive(Clone, Copy)]
pub(super) struct Tall<'a> {
    /// The values of the matrix before scaling: `X` is row-major in them, or column-major if the matrix is wide.
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) is_wide: bool,
    /// The largest magnitude of the values.
    pub(super) largest: f32,
    /// The power of two that the values are divided by, without rounding, for the largest to be in `[1, 2)`.
    pub(super) unit: f64,
}

impl<'a> Tall<'a> {
    pub(super) fn of(matrix: Matrix<'a>) -> Self {
        let Matrix { m, n, values, .. } = matrix;
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        Self { values, rows: m.max(n), k: m.min(n), is_wide: m < n, largest, unit: power_of_two_below(largest) }
    }

    /// Writes `X`, scaled, column by column; from the start of one column to that of the next are `stride` values.
    pub(super) fn load(self, to: &mut [f32], stride: usize) {
        let Self { values, rows, k, is_wide, unit, .. } = self;
        let scale = unit.recip();
        let convert = |value: f32| (f64::from(value) * scale) as f32;
        if is_wide {
            copy_columns((values, rows), (to, stride), rows, convert);
        } else {
            transpose((values, k), (to, stride), [k, rows], convert);
        }
    }

    /// The rows of `X` from `start` on, scaled, in f64: [`PANEL`] of them, or fewer at the end.
    pub(super) fn panel(self, start: usize, memory: &mut [f64]) -> MatMut<'_, f64> {
        let Self { values, rows, k, is_wide, unit, .. } = self;
        let count = PANEL.min(rows - start);
        let memory = &mut memory[..count * k];
        let scale = unit.recip();
        let convert = |(to, from): (&mut f64, &f32)| *to = f64::from(*from) * scale;
        if is_wide {
            for (to, from) in memory.chunks_mut(count).zip(values.chunks(rows)) {
                to.iter_mut().zip(&from[start..]).for_each(convert);
            }
            MatMut::from_column_major_slice_mut(memory, count, k)
        } else {
            memory.iter_mut().zip(&values[start * k..]).for_each(convert);
            MatMut::from_row_major_slice_mut(memory, count, k)
        }
    }

    /// Writes long vectors to the factors, from the one at `start` on. They are the columns of `from`, which begin
    /// `stride` values apart.
    pub(super) fn store_long<T: Copy>(
        self,
        (from, stride): (&[T], usize),
        start: usize,
        factors: &mut Factors<'_>,
        convert: impl Fn(T) -> f32,
    ) {
        let Self { rows, k, is_wide, .. } = self;
        if is_wide {
            copy_columns((from, stride), (&mut factors.vt[start * rows..], rows), rows, convert);
        } else {
            transpose((from, stride), (&mut factors.u[start..], k), [rows, from.len() / stride], convert);
        }
    }

    /// Writes the short vectors to the factors. They are the columns of `from`.
    pub(super) fn store_short<T: Copy>(self, from: &[T], factors: &mut Factors<'_>, convert: impl Fn(T) -> f32) {
        let Self { k, is_wide, .. } = self;
        if is_wide {
            transpose((from, k), (factors.u, k), [k, k], convert);
        } else {
            copy_columns((from, k), (factors.vt, k), k, convert);
        }
    }
}

/// Adds `scale xᵀx` to the lower triangle of `gram`, `[k, k]`, column-major, for an `x` of `k` columns.
pub(super) fn add_gram(gram: &mut [f64], x: MatRef<'_, f64>, scale: f64, par: Par) {
    let gram = MatMut::from_column_major_slice_mut(gram, x.ncols(), x.ncols());
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    triangular::matmul(gram, lower, Accum::Add, x.transpose(), full, x, full, scale, par);
}

/// Memory that faer computes in, kept from one matrix to the next.
#[derive(Default)]
pub(super) struct Scratch(Option<(StackReq, MemBuffer)>);

impl Scratch {
    /// Memory of the size of `request`; that of the last call, if the size is the same.
    pub(super) fn stack(&mut self, request: StackReq) -> &mut MemStack {
        self.0.take_if(|(has, _)| *has != request);
        let (_, buffer) = self.0.get_or_insert_with(|| (request, MemBuffer::new(request)));
        MemStack::new(buffer)
    }
}

/// The power of two by which `largest` is divided to be in `[1, 2)`; one if it is zero.
fn power_of_two_below(largest: f32) -> f64 {
    if largest == 0.0 {
        return 1.0;
    }
    // Without its fraction a float is the power of two below it; no f32 is subnormal as an f64.
    f64::from_bits(f64::from(largest).to_bits() & f64::INFINITY.to_bits())
}

/// Copies the first `rows` values of every column. With each matrix comes the distance from one column to the next.
fn copy_columns<T: Copy>(
    (from, from_stride): (&[T], usize),
    (to, to_stride): (&mut [f32], usize),
    rows: usize,
    convert: impl Fn(T) -> f32,
) {
    for (from, to) in from.chunks_exact(from_stride).zip(to.chunks_exact_mut(to_stride)) {
        to[..rows].iter_mut().zip(from).for_each(|(to, from)| *to = convert(*from));
    }
}

/// A matrix is transposed in squares of this side: two of them fit the fastest cache.
const TILE: usize = 32;

/// Makes the first `rows` rows of `from`, `[rows, columns]`, the columns of `to`. With each matrix comes the distance
/// from one column to the next.
fn transpose<T: Copy>(
    (from, from_stride): (&[T], usize),
    (to, to_stride): (&mut [f32], usize),
    [rows, columns]: [usize; 2],
    convert: impl Fn(T) -> f32,
) {
    for first_row in (0..rows).step_by(TILE) {
        for first_column in (0..columns).step_by(TILE) {
            for i in first_row..rows.min(first_row + TILE) {
                for j in first_column..columns.min(first_column + TILE) {
                    to[i * to_stride + j] = convert(from[j * from_stride + i]);
                }
            }
        }
    }
}
