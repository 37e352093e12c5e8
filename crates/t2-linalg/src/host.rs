//! The solver for the CPU: bidiagonalization and divide and conquer, as faer implements them.

use burn::prelude::*;
use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::svd::{ComputeSvdVectors, SvdParams, svd, svd_scratch};
use faer::{Auto, MatMut, MatRef, Par};

use crate::batch::{Factors, Matrix, Schedule, decompose_each, host_bytes, values_of_each};
use crate::{Attempt, Demand, SvdError, SvdSolver};

/// The size of a bidiagonal matrix from which it is divided and conquered rather than solved by QR iteration.
///
/// QR iteration turns every column of `U` and `V` some `2 n` times, and in f32 the roundings add up. From faer's 128
/// down to 4, the largest error of a singular value of random matrices from 33 to 1024 falls from 12e-6 to 0.3e-6 of
/// the largest one, and the time stays within noise.
const SMALLEST_DIVIDED: usize = 4;

/// Decomposes on the host, in f32, with [faer](https://docs.rs/faer).
///
/// Matrices of any device are read to the host and their factors written back. Each matrix is scaled by a power
/// of two first, which is exact, so entries of 1e-30 and 1e30 are as good as entries near one.
///
/// A small matrix is decomposed by one core, whatever else is in its batch: its factors do not depend on the
/// batch. Those of a matrix at or above [`parallel_from`](Self::parallel_from) may depend, in the last bits, on
/// the number of threads of the rayon pool.
#[derive(Clone, Copy, Debug)]
pub struct HostSvd {
    /// The `min(m, n)` from which one matrix at a time is decomposed by all cores, instead of one matrix by each.
    ///
    /// The default is 2048. Below it several cores on one matrix are no faster than a single one (measured from 64
    /// to 1024 on two cores); above it the factors of one matrix no longer fit a cache, and one at a time needs
    /// less memory at the same speed.
    pub parallel_from: usize,
}

impl Default for HostSvd {
    fn default() -> Self {
        Self { parallel_from: 2048 }
    }
}

impl HostSvd {
    /// How matrices of `[m, n]` share the cores.
    fn schedule(&self, [m, n]: [usize; 2]) -> (Schedule, Par) {
        if m.min(n) < self.parallel_from {
            (Schedule::AcrossBatch, Par::Seq)
        } else {
            (Schedule::OneByOne, Par::rayon(0))
        }
    }
}

impl SvdSolver for HostSvd {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        let [_, m, n] = a.dims();
        let (schedule, par) = self.schedule([m, n]);
        decompose_each(a, schedule, |matrix, factors, work| decompose(matrix, factors, work, par))
    }

    fn singular_values(&self, a: Tensor<3>) -> Result<Tensor<2>, SvdError> {
        let [_, m, n] = a.dims();
        let (schedule, par) = self.schedule([m, n]);
        values_of_each(a, schedule, |matrix, factors, work| decompose(matrix, factors, work, par))
    }

    fn demand(&self, [m, n]: [usize; 2], _: &Device) -> Demand {
        let (schedule, par) = self.schedule([m, n]);
        let batch = match schedule {
            // Twice as many matrices as cores, so that a slow one does not leave the others idle for its whole length.
            Schedule::AcrossBatch => 2 * rayon::current_num_threads(),
            Schedule::OneByOne => 1,
        };
        let k = m.min(n);
        let tall = [padded(m.max(n)), k];
        let work =
            size_of::<f32>() * (2 * tall[0] * k + k * k) + scratch(tall, ComputeSvdVectors::Thin, par).size_bytes();
        Demand { bytes_per_matrix: host_bytes([m, n]) + work, batch }
    }
}

/// Memory for faer.
fn scratch([m, n]: [usize; 2], vectors: ComputeSvdVectors, par: Par) -> StackReq {
    svd_scratch::<f32>(m, n, vectors, vectors, par, params().into())
}

fn params() -> SvdParams {
    SvdParams { recursion_threshold: SMALLEST_DIVIDED, ..<SvdParams as Auto<f32>>::auto() }
}

/// What [`decompose`] computes in, all column-major.
#[derive(Default)]
struct Workspace {
    /// The matrix or its transpose, whichever is not wide, scaled: `[padded, k]`.
    tall: Vec<f32>,
    /// Its `U`, `[padded, k]`.
    u: Vec<f32>,
    /// Its `V`, `[k, k]`, where it is the caller's `U`.
    v: Vec<f32>,
    scratch: Option<(StackReq, MemBuffer)>,
}

impl Workspace {
    /// Memory for `request`, the same as last time if that was enough.
    fn stack(scratch: &mut Option<(StackReq, MemBuffer)>, request: StackReq) -> &mut MemStack {
        if !matches!(scratch, Some((has, _)) if *has == request) {
            *scratch = Some((request, MemBuffer::new(request)));
        }
        let (_, buffer) = scratch.get_or_insert_with(|| (request, MemBuffer::new(request)));
        MemStack::new(buffer)
    }
}

/// Decomposes `matrix`, into the singular values alone if there is no room for more.
fn decompose(matrix: Matrix<'_>, factors: &mut Factors<'_>, work: &mut Workspace, par: Par) -> Result<(), SvdError> {
    let Matrix { index, m, n, values } = matrix;
    let (long, k, is_wide) = (m.max(n), m.min(n), m < n);
    let rows = padded(long);
    let scale = power_of_two_below(values);
    // Padding is never written to, so it stays zero.
    work.tall.resize(rows * k, 0.0);
    // A wide row-major matrix is a tall column-major one.
    if is_wide {
        copy_columns((values, long), (&mut work.tall, rows), long);
    } else {
        transpose((values, k), (&mut work.tall, rows), [k, long]);
    }
    work.tall.iter_mut().for_each(|value| *value = (f64::from(*value) * scale.recip()) as f32);

    let wants_vectors = !factors.u.is_empty();
    let vectors = if wants_vectors { ComputeSvdVectors::Thin } else { ComputeSvdVectors::No };
    let room = |size: usize| if wants_vectors { size } else { 0 };
    work.u.resize(room(rows * k), 0.0);
    work.v.resize(if is_wide { room(k * k) } else { 0 }, 0.0);
    // The row-major `Vᵀ` that the caller wants is a column-major `V`.
    let v = if is_wide { &mut work.v[..] } else { &mut *factors.vt };
    svd(
        MatRef::from_column_major_slice(&work.tall, rows, k),
        DiagMut::from_slice_mut(factors.s),
        wants_vectors.then(|| MatMut::from_column_major_slice_mut(&mut work.u, rows, k)),
        wants_vectors.then(|| MatMut::from_column_major_slice_mut(v, k, k)),
        par,
        Workspace::stack(&mut work.scratch, scratch([rows, k], vectors, par)),
        params().into(),
    )
    .map_err(|_| SvdError::HostGaveUp { index, m, n })?;

    match (wants_vectors, is_wide) {
        (false, _) => {}
        (true, false) => transpose((&work.u, rows), (factors.u, k), [long, k]),
        // `Aᵀ = U S Vᵀ` is `A = V S Uᵀ`.
        (true, true) => {
            transpose((&work.v, k), (factors.u, k), [k, k]);
            copy_columns((&work.u, rows), (factors.vt, long), long);
        }
    }
    let largest = f64::from(factors.s[0]) * scale;
    if largest > f64::from(f32::MAX) {
        return Err(SvdError::Overflow { index, sigma: largest });
    }
    factors.s.iter_mut().for_each(|sigma| *sigma = (f64::from(*sigma) * scale) as f32);
    Ok(())
}

/// The power of two that brings the largest magnitude of `values` into `[1, 2)`; one if all are zero.
fn power_of_two_below(values: &[f32]) -> f64 {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 1.0;
    }
    // Without its fraction a float is the power of two below it; no f32 is subnormal as an f64.
    f64::from_bits(f64::from(largest).to_bits() & f64::INFINITY.to_bits())
}

/// Rows to decompose a matrix of `rows` with, the last ones zero.
///
/// Bidiagonalization walks along the rows of a column-major matrix. Where columns begin a multiple of 2 KiB apart, the
/// values of a row share a few sets of the caches and drive each other out, so these columns get a cache line more.
/// Zero rows leave `S` and `V` as they are and add zero rows to `U`. Measured on an AMD Zen 5: 0.73 of the time at
/// 2048, 0.82 at 1024, 0.9 at 512, 1536 and 3072; without effect at 768, 896 and 1280.
fn padded(rows: usize) -> usize {
    const CONFLICT: usize = 2048 / size_of::<f32>();
    const CACHE_LINE: usize = 64 / size_of::<f32>();
    if rows.is_multiple_of(CONFLICT) { rows + CACHE_LINE } else { rows }
}

/// Copies the first `rows` values of every column. Matrices come with the distance between their columns.
fn copy_columns((from, from_stride): (&[f32], usize), (to, to_stride): (&mut [f32], usize), rows: usize) {
    for (from, to) in from.chunks_exact(from_stride).zip(to.chunks_exact_mut(to_stride)) {
        to[..rows].copy_from_slice(&from[..rows]);
    }
}

/// Side of the squares in which a matrix is transposed: two of them fit the fastest cache.
const TILE: usize = 32;

/// Makes the first `rows` rows of `from`, `[rows, columns]`, the columns of `to`. Matrices come with the distance between
/// their columns.
fn transpose((from, from_stride): (&[f32], usize), (to, to_stride): (&mut [f32], usize), [rows, columns]: [usize; 2]) {
    for first_row in (0..rows).step_by(TILE) {
        for first_column in (0..columns).step_by(TILE) {
            for i in first_row..rows.min(first_row + TILE) {
                for j in first_column..columns.min(first_column + TILE) {
                    to[i * to_stride + j] = from[j * from_stride + i];
                }
            }
        }
    }
}
