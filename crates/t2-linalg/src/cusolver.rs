//! The solver for CUDA where NVIDIA's libraries are installed: eigenvectors in f64, as cuSOLVER finds them.
//!
//! It goes the way of [`HostSvd`](crate::HostSvd): `XᵀX = V Λ Vᵀ` and `W = X V` in f64, whose columns are those of `U`
//! times `s`. Where rounding leaves short columns too far from orthogonal, Newton steps or a triangular factorization
//! correct them. docs/svd.md has the equations.

use burn::prelude::*;

use crate::batch::{Matrix, check_finite, empty_factors, in_parts, spoil};
use crate::kernel::MAX_MATRICES;
use crate::{Attempt, Demand, Svd, SvdError, SvdSolver};

use library::Eigen;

mod library;
mod newton;
mod ops;
mod run;

/// The most values in a buffer of f64, if that is not too few for one matrix: a gigabyte, which every driver allocates
/// in one piece.
const VALUES_AT_ONCE: usize = 1 << 27;

/// Decomposes matrices on a GPU of NVIDIA's with cuSOLVER and cuBLAS, in f64.
///
/// Both libraries are opened when the first matrix is decomposed; nothing of them is needed to build this crate or to
/// start a program. They come with the CUDA toolkit and with `pip install nvidia-cusolver nvidia-cublas`; the folder they
/// are in must be on `LD_LIBRARY_PATH` (`PATH` on Windows) or known to the linker. cuSOLVER of CUDA 11.1 or later will do;
/// from 12.6 on it decomposes many small matrices at once.
///
/// The error of the factors is little more than their rounding to f32. On graphics cards for consumers f64 takes 32 or
/// 64 times as long as f32: [`AutoSvd`](crate::AutoSvd) asks the card and takes
/// [`BlockJacobiSvd`](crate::BlockJacobiSvd) there.
///
/// The same batch gives the same bits on every run on one device. In another batch the factors of a matrix may differ in
/// the last bits: the libraries choose their algorithms by the size of the batch too.
#[derive(Clone, Copy, Debug)]
pub struct CusolverSvd {
    /// Matrices whose shorter side, `min(m, n)`, is at least this long are decomposed one after another, smaller ones all
    /// at once. The default is 2048.
    pub alone_from: usize,
}

impl Default for CusolverSvd {
    fn default() -> Self {
        Self { alone_from: 2048 }
    }
}

/// Why cuSOLVER did not decompose a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CusolverError {
    /// The libraries are not installed, or not where the system looks.
    #[error(
        "libcusolver or libcublas was not found; add their folder to LD_LIBRARY_PATH, or take BlockJacobiSvd, which \
         needs neither"
    )]
    Absent,
    /// A function of the libraries refused.
    #[error("{call} returned status {status}")]
    Call {
        /// The function.
        call: &'static str,
        /// What it returned: a `cusolverStatus_t` or `cublasStatus_t`.
        status: i32,
    },
    /// Eigenvectors were looked for and not found.
    #[error("the eigenvectors of matrix {matrix} of the batch did not converge in cuSOLVER")]
    NotConverged {
        /// The matrix, counted along the batch.
        matrix: usize,
    },
    /// A size is beyond what the libraries take.
    #[error("{size} is more rows, columns or matrices than cuBLAS takes at once")]
    TooLarge {
        /// The size.
        size: usize,
    },
    /// The device failed, or had no memory left.
    #[error("the CUDA device failed: {0}")]
    Device(String),
}

impl CusolverError {
    /// The same error for a batch in which `matrices` more come first.
    fn after(self, matrices: usize) -> Self {
        match self {
            Self::NotConverged { matrix } => Self::NotConverged { matrix: matrix + matrices },
            other => other,
        }
    }
}

impl CusolverSvd {
    /// Whether this solver runs on `device`: a GPU of NVIDIA's, and a system where both libraries are found.
    pub fn runs_on(device: &Device) -> bool {
        ordinal(device).is_some() && library::is_present()
    }

    /// How many times as fast `device` says it computes in f32 as in f64: 2 on data-centre GPUs, 32 or 64 on others. None
    /// if it is no GPU of NVIDIA's or does not answer.
    pub fn f32_over_f64(device: &Device) -> Option<usize> {
        library::f32_over_f64(ordinal(device)?).ok()
    }
}

/// The number of the device among CUDA's, if it is one of them.
fn ordinal(device: &Device) -> Option<usize> {
    match device.clone().without_autodiff().as_dispatch() {
        burn::backend::DispatchDevice::Cube(device) => run::ordinal(device),
        _ => None,
    }
}

impl SvdSolver for CusolverSvd {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        let device = a.device();
        let Some(ordinal) = ordinal(&device) else {
            return Err(SvdError::NoKernels { solver: NAME, device: format!("{device:?}") });
        };
        let [batch, m, n] = a.dims();
        if batch * m * n == 0 {
            return Ok(Attempt { svd: empty_factors([batch, m, n], &device), failed: Vec::new(), solver: NAME });
        }
        in_parts(a, self.at_once([m, n]), |part, first| self.attempt(part, ordinal, first))
    }

    fn demand(&self, [m, n]: [usize; 2], _: &Device) -> Demand {
        let (k, len) = (m.min(n), m.max(n));
        // In f64 the matrix, `W`, `V` and what cuSOLVER computes in; in f32 the matrix, the factors twice, and what
        // `quality::loss` computes in.
        let doubles = 2 * k * len + 4 * k * k;
        let floats = 5 * k * len + 2 * k * k;
        Demand { bytes_per_matrix: size_of::<f64>() * doubles + size_of::<f32>() * floats, batch: self.at_once([m, n]) }
    }
}

/// What an [`Attempt`] calls this solver.
const NAME: &str = "CusolverSvd";

impl CusolverSvd {
    /// How many matrices of `[m, n]` go through the libraries at once.
    fn at_once(&self, [m, n]: [usize; 2]) -> usize {
        let k = m.min(n).max(1);
        if k >= self.alone_from { 1 } else { (VALUES_AT_ONCE / (k * (m.max(n) + k))).clamp(1, MAX_MATRICES) }
    }

    /// Decomposes matrices that fit the memory together. They are the part of the caller's batch that begins with the matrix
    /// `first`, from which errors count.
    fn attempt(&self, a: Tensor<3>, ordinal: usize, first: usize) -> Result<Attempt, SvdError> {
        let [_, m, n] = a.dims();
        let eigen = if m.min(n) >= self.alone_from { Eigen::OneByOne } else { Eigen::Together };
        let report = ops::Report::new(ordinal, eigen);
        let (long, sigma, short) = ops::cusolver(a.clone(), report.clone());
        // Reading makes Burn do what it has put off.
        let read = sigma.clone().narrow(0, 0, 1).narrow(1, 0, 1).try_into_vec_as::<f32>();
        let largest = report.take().map_err(|error| error.after(first))?;
        read?;
        let (u, vt) = if m >= n { (long.swap_dims(1, 2), short) } else { (short.swap_dims(1, 2), long) };
        let mut failed = Vec::new();
        for (offset, largest) in largest.into_iter().enumerate() {
            let index = first + offset;
            if largest.is_nan() {
                let values: Vec<f32> = a.clone().narrow(0, offset, 1).try_into_vec_as()?;
                failed.extend(check_finite(Matrix { index, m, n, values: &values }).err());
            } else if largest > f64::from(f32::MAX) {
                failed.push(SvdError::Overflow { index, sigma: largest });
            }
        }
        let svd = spoil(Svd { u, s: sigma, vt }, &failed, first);
        Ok(Attempt { svd, failed, solver: NAME })
    }
}
