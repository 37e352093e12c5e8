//! The solver for the CPU: eigenvectors in f64 or bidiagonalization in f32, as faer implements them.

use burn::prelude::*;
use faer::Par;

use crate::batch::{Factors, Matrix, Schedule, decompose_each, host_bytes, values_of_each};
use crate::{Attempt, Demand, SvdError, SvdSolver};

mod bidiagonal;
mod eigenvectors;
mod loss;
mod tall;

pub(crate) use loss::loss_of_each;
use tall::Tall;

/// Decomposes on the CPU, with [faer](https://docs.rs/faer).
///
/// Matrices on any device are read to the host, and their factors are written back to the device. Each matrix is scaled
/// by a power of two first, so entries of 1e-30 and 1e30 are as good as entries near one.
///
/// Most matrices are decomposed in f64, through `AᵀA`, and the error of the factors is little more than their rounding
/// to f32. Nearly square matrices whose shorter side is 384 or longer are bidiagonalized in f32, which is faster at
/// that size. If the result is not as good as that of a Gaussian matrix, it is discarded, and the matrix decomposed in
/// f64.
///
/// A matrix whose shorter side is below [`parallel_from`](Self::parallel_from) is decomposed by one core, and its
/// factors do not depend on what else is in the batch. The factors of larger matrices may depend, in the last bits, on
/// the number of threads of the rayon pool.
#[derive(Clone, Copy, Debug)]
pub struct HostSvd {
    /// Matrices whose shorter side, `min(m, n)`, is at least this long are decomposed one at a time by all cores; of
    /// smaller ones each core decomposes its own.
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
        decompose_each("HostSvd", a, schedule, |matrix, factors, work| decompose(matrix, factors, work, par))
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
        let dims = [m.max(n), m.min(n)];
        let attempt = if is_faster_in_f32([m, n]) { bidiagonal::bytes(dims, par) } else { 0 };
        let work = eigenvectors::bytes(dims, par).max(attempt);
        Demand { bytes_per_matrix: host_bytes([m, n]) + work, batch }
    }
}

/// The memory that a matrix is decomposed in, either way. Only one of the two is allocated at a time.
#[derive(Default)]
struct Workspace {
    eigenvectors: eigenvectors::Workspace,
    bidiagonal: bidiagonal::Workspace,
}

/// Decomposes `matrix`. If `factors.u` is empty, only the singular values are computed.
fn decompose(matrix: Matrix<'_>, factors: &mut Factors<'_>, work: &mut Workspace, par: Par) -> Result<(), SvdError> {
    let Matrix { index, m, n, .. } = matrix;
    let x = Tall::of(matrix);
    let mut is_done = false;
    if !factors.u.is_empty() && is_faster_in_f32([m, n]) {
        work.eigenvectors = eigenvectors::Workspace::default();
        is_done = bidiagonal::attempt(x, factors, &mut work.bidiagonal, par);
    }
    if !is_done {
        work.bidiagonal = bidiagonal::Workspace::default();
        eigenvectors::decompose(x, factors, &mut work.eigenvectors, par).map_err(|_| SvdError::HostGaveUp {
            index,
            m,
            n,
        })?;
    }
    let largest = f64::from(factors.s[0]) * x.unit;
    if largest > f64::from(f32::MAX) {
        return Err(SvdError::Overflow { index, sigma: largest });
    }
    factors.s.iter_mut().for_each(|sigma| *sigma = (f64::from(*sigma) * x.unit) as f32);
    Ok(())
}

/// Whether a matrix of `[m, n]` is decomposed faster in f32, by bidiagonalization, than in f64, by eigenvectors.
///
/// Measured on a core of an AMD Zen 5, f64 took this many times as long as f32: 0.8 at 256 x 256, 1.1 at 512, 1.2 at
/// 768, 1.3 at 1024, 1.5 at 1536; 0.9 at 2048 x 1024, 1536 x 576 and 2048 x 512.
fn is_faster_in_f32([m, n]: [usize; 2]) -> bool {
    let (rows, k) = (m.max(n), m.min(n));
    k >= 384 && 2 * rows < 3 * k
}
