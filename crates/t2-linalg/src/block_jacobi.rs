//! The solver for GPUs: block one-sided Jacobi, preconditioned by a Cholesky factor. docs/svd.md derives it.

use burn::prelude::*;

use crate::batch::{Matrix, check_finite, empty_factors, in_parts, spoil};
use crate::kernel::{self, Options, Outcome};
use crate::{Attempt, Demand, Svd, SvdError, SvdSolver};

/// Two rows of the triangular factor are not turned when the cosine between them is at most this: Newton-Schulz steps,
/// which square the cosine, do the rest.
const COARSE: f32 = 1e-5;

/// The vectors of the matrix itself, of length `len`, are orthogonal when no two have a larger cosine between them than
/// this times `√len`: a tenth of the rounding to be expected in a sum of `len` products.
const FINE: f32 = 0.1 * f32::EPSILON;

/// After the last sweep a matrix counts as converged if its largest cosine is at most this many times the one asked
/// for.
const TOLERATED: f32 = 16.0;

/// The most values in a buffer of the kernels, if that is not too few for one matrix: half a gigabyte of f32, which
/// every driver allocates in one piece.
const VALUES_AT_ONCE: usize = 1 << 27;

/// What an [`Attempt`] calls this solver.
const NAME: &str = "BlockJacobiSvd";

/// Decomposes matrices on the GPU they are on, in f32, with kernels of this crate.
///
/// The kernels are written once, in `CubeCL`, which compiles them for CUDA, Vulkan, Metal or DirectX when they first
/// run. The GPU must have 16 KiB of shared memory and run 256 threads in a group; neither tensor cores nor f64 are
/// used. Results are the same bits on every run on one device.
#[derive(Clone, Copy, Debug)]
pub struct BlockJacobiSvd {
    /// How often all pairs of vectors are made orthogonal before the solver gives up on a matrix: so often for the
    /// triangular factor it starts with, and so often again for the matrix itself. The default is 60; about 10 are
    /// needed.
    pub max_sweeps: usize,
    /// What is chosen by measuring, and changes how fast the solver is.
    pub tuning: Tuning,
}

/// What [`BlockJacobiSvd`] chooses by measuring: for those who measure again. The defaults are as accurate as the kernels
/// are; larger cosines are faster and leave vectors that are not orthogonal.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How many vectors are made orthogonal to as many others at a time: 16, or 32 on a device with 32 KiB of shared
    /// memory. With none, it is chosen by the size of the matrices and the device.
    pub block: Option<usize>,
    /// The largest cosine that the last sweep over the triangular factor may find. With none, it is 5 over the number of
    /// singular values and at most 0.02: the more vectors there are, the more small cosines add up to.
    pub coarse_enough: Option<f32>,
    /// The largest cosine that the last sweep over the matrix itself may find, over the one that counts as orthogonal.
    pub fine_enough: f32,
}

impl Default for BlockJacobiSvd {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl BlockJacobiSvd {
    /// The solver with every choice as it is by default.
    pub const DEFAULT: Self =
        Self { max_sweeps: 60, tuning: Tuning { block: None, coarse_enough: None, fine_enough: 4.0 } };

    /// Whether this solver runs on `device`: on every GPU that the crate was built for, emulated ones too.
    pub fn runs_on(device: &Device) -> bool {
        kernel::runs_on(device)
    }
}

impl SvdSolver for BlockJacobiSvd {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        let device = a.device();
        if !Self::runs_on(&device) {
            return Err(SvdError::NoKernels { solver: NAME, device: format!("{device:?}") });
        }
        let [batch, m, n] = a.dims();
        let k = m.min(n);
        if batch * k == 0 {
            return Ok(Attempt { svd: empty_factors([batch, m, n], &device), failed: Vec::new(), solver: NAME });
        }
        in_parts(a, at_once([m, n]), |part, first| self.attempt(part, first))
    }

    fn demand(&self, [m, n]: [usize; 2], _: &Device) -> Demand {
        Demand { bytes_per_matrix: size_of::<f32>() * kernel::values_per_matrix([m, n]), batch: at_once([m, n]) }
    }
}

/// How many matrices of `[m, n]` one call of the kernels takes. The largest buffer has, for each of the `k` singular
/// values, a row with its left and its right vector.
fn at_once([m, n]: [usize; 2]) -> usize {
    let k = m.min(n).max(1);
    (VALUES_AT_ONCE / (k * (m.max(n) + k))).clamp(1, kernel::MAX_MATRICES)
}

impl BlockJacobiSvd {
    /// Decomposes matrices that one call of the kernels takes. They are the part of the caller's batch that begins with
    /// the matrix `first`, from which errors count.
    fn attempt(&self, a: Tensor<3>, first: usize) -> Result<Attempt, SvdError> {
        let [matrices, m, n] = a.dims();
        let tolerance = (FINE * (m.max(n) as f32).sqrt()).max(2e-7);
        let Tuning { block, coarse_enough, fine_enough } = self.tuning;
        let max_sweeps = self.max_sweeps;
        let coarse_enough = coarse_enough.unwrap_or_else(|| (5.0 / m.min(n) as f32).min(0.02));
        let options = Options { max_sweeps, coarse: COARSE, coarse_enough, fine: tolerance, fine_enough, block };
        let Outcome { long, sigma, short, status } = kernel::block_jacobi(a.clone(), options);
        let status: Vec<f32> = status.try_into_vec_as()?;
        let mut failed = Vec::new();
        for (offset, status) in status.chunks(kernel::STATUS).enumerate() {
            let index = first + offset;
            let &[cosine, sweeps, longest, unscale] = status else { continue };
            let largest = f64::from(longest) * f64::from(unscale);
            if unscale.is_nan() {
                let values: Vec<f32> = a.clone().narrow(0, offset, 1).try_into_vec_as()?;
                failed.extend(check_finite(Matrix { index, m, n, values: &values }).err());
            } else if largest > f64::from(f32::MAX) {
                failed.push(SvdError::Overflow { index, sigma: largest });
            } else if cosine > TOLERATED * tolerance {
                failed.push(SvdError::NoConvergence { index, sweeps: sweeps as usize, residual: cosine.into() });
            }
        }
        debug_assert_eq!(long.dims(), [matrices, m.min(n), m.max(n)], "the kernels hand out reduced factors");
        let (u, vt) = if m >= n { (long.swap_dims(1, 2), short) } else { (short.swap_dims(1, 2), long) };
        let svd = spoil(Svd { u, s: sigma, vt }, &failed, first);
        Ok(Attempt { svd, failed, solver: NAME })
    }
}
