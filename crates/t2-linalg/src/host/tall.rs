//! A matrix and its factors as both ways to decompose it see them: `X`, `[rows, k]`, is the matrix or, if that is wide,
//! its transpose, scaled. Its vectors are the long ones, `[rows, k]`, and the short ones, `[k, k]`.

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

use crate::batch::{Factors, Matrix};

/// Rows of `X` that are f64 at once, and columns of what is computed from it.
pub(super) const PANEL: usize = 256;

/// `X`, or the long vectors, which lie in memory as it does.
#[derive(Clone, Copy)]
pub(super) struct Tall<'a> {
    /// Row-major, or column-major if the matrix is wide, and not scaled yet.
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) is_wide: bool,
    /// The largest magnitude of the values.
    pub(super) largest: f32,
    /// The power of two by which values are divided, exactly, so that the largest is in `[1, 2)`.
    pub(super) unit: f64,
}

impl<'a> Tall<'a> {
    pub(super) fn of(matrix: Matrix<'a>) -> Self {
        let Matrix { m, n, values, .. } = matrix;
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        Self { values, rows: m.max(n), k: m.min(n), is_wide: m < n, largest, unit: power_of_two_below(largest) }
    }

    /// Writes `X` column by column, `stride` apart.
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

    /// The rows from `start` in f64, [`PANEL`] at most.
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

    /// Hands out long vectors from the one at `start` on, which are columns of `from`, `stride` apart.
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

    /// Hands out the short vectors, columns of `from`.
    pub(super) fn store_short<T: Copy>(self, from: &[T], factors: &mut Factors<'_>, convert: impl Fn(T) -> f32) {
        let Self { k, is_wide, .. } = self;
        if is_wide {
            transpose((from, k), (factors.u, k), [k, k], convert);
        } else {
            copy_columns((from, k), (factors.vt, k), k, convert);
        }
    }
}

/// Adds `scale xᵀx` to the lower triangle of `gram`, column-major, for `x` of any number of rows.
pub(super) fn add_gram(gram: &mut [f64], x: MatRef<'_, f64>, scale: f64, par: Par) {
    let gram = MatMut::from_column_major_slice_mut(gram, x.ncols(), x.ncols());
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    triangular::matmul(gram, lower, Accum::Add, x.transpose(), full, x, full, scale, par);
}

/// Memory for faer, the same for one matrix after another.
#[derive(Default)]
pub(super) struct Scratch(Option<(StackReq, MemBuffer)>);

impl Scratch {
    /// Memory for `request`, the same as last time if it was for the same.
    pub(super) fn stack(&mut self, request: StackReq) -> &mut MemStack {
        self.0.take_if(|(has, _)| *has != request);
        let (_, buffer) = self.0.get_or_insert_with(|| (request, MemBuffer::new(request)));
        MemStack::new(buffer)
    }
}

/// The power of two that brings `largest` into `[1, 2)`; one if it is zero.
fn power_of_two_below(largest: f32) -> f64 {
    if largest == 0.0 {
        return 1.0;
    }
    // Without its fraction a float is the power of two below it; no f32 is subnormal as an f64.
    f64::from_bits(f64::from(largest).to_bits() & f64::INFINITY.to_bits())
}

/// Copies the first `rows` values of every column. Matrices come with the distance between their columns.
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

/// Side of the squares in which a matrix is transposed: two of them fit the fastest cache.
const TILE: usize = 32;

/// Makes the first `rows` rows of `from`, `[rows, columns]`, the columns of `to`. Matrices come with the distance between
/// their columns.
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
