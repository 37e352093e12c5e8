//! The seam of this crate: `A = U diag(s) Vᵀ`, who computes it, and why that can fail.

use burn::prelude::*;
use burn::tensor::TensorReadError;

/// An algorithm that decomposes a batch of matrices.
///
/// The factors are f32, on the device of the matrices, and carry no gradient: nothing is differentiated through a
/// decomposition.
pub trait SvdSolver: Send + Sync {
    /// Decomposes every matrix of `a`, `[batch, m, n]`, that has a decomposition, and says why the others have none.
    ///
    /// # Errors
    ///
    /// What concerns no single matrix: a device that cannot be read, or one that the solver does not run on.
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError>;

    /// Decomposes every matrix of `a`, `[batch, m, n]`.
    ///
    /// # Errors
    ///
    /// The first matrix, in batch order, that holds a NaN or an infinity, does not converge, or has a singular
    /// value that f32 cannot hold; or what [`svd_each`](Self::svd_each) says.
    fn svd(&self, a: Tensor<3>) -> Result<Svd, SvdError> {
        let Attempt { svd, failed } = self.svd_each(a)?;
        failed.into_iter().next().map_or(Ok(svd), Err)
    }

    /// What the solver needs for matrices of `[m, n]` on `device`, for callers who have more of them than memory.
    fn demand(&self, dims: [usize; 2], device: &Device) -> Demand;

    /// The singular values alone, `[batch, min(m, n)]`.
    ///
    /// # Errors
    ///
    /// As [`svd`](Self::svd).
    fn singular_values(&self, a: Tensor<3>) -> Result<Tensor<2>, SvdError> {
        Ok(self.svd(a)?.s)
    }
}

/// What a solver needs for matrices of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Memory that each matrix of a batch takes at most, in bytes on the device: the matrix, its factors, and what the
    /// solver or [`quality::loss`](crate::quality::loss) computes in.
    pub bytes_per_matrix: usize,
    /// The number of matrices that keeps the device busy: larger batches are no faster, only larger.
    pub batch: usize,
}

/// What became of the matrices of a batch.
#[derive(Debug)]
pub struct Attempt {
    /// The factors; those of a matrix that failed are NaN.
    pub svd: Svd,
    /// One error for each matrix that failed, in batch order.
    pub failed: Vec<SvdError>,
}

/// The reduced singular value decomposition of a batch, with `k = min(m, n)`.
///
/// The factors of a matrix are unique up to the sign of each pair `(u_i, v_i)` when its singular values are
/// distinct. Every solver makes the entry of largest magnitude in each column of `u` positive (the first one,
/// if several are equal), so two runs on one device agree bit for bit. Two *algorithms* may still choose
/// opposite signs where two entries are within rounding of each other, and any basis of the space that belongs
/// to a repeated singular value is as good as another.
#[derive(Clone, Debug)]
pub struct Svd {
    /// Left singular vectors in the columns, `[batch, m, k]`.
    pub u: Tensor<3>,
    /// Singular values, not negative and in descending order, `[batch, k]`.
    pub s: Tensor<2>,
    /// Right singular vectors in the rows, `[batch, k, n]`.
    pub vt: Tensor<3>,
}

impl Svd {
    /// Multiplies the factors back together, `[batch, m, n]`.
    ///
    /// The product has the precision of a matrix product on the device, which on a GPU may be less than that of
    /// f32. [`Quality`](crate::quality::Quality) measures the factors themselves.
    pub fn reconstruct(&self) -> Tensor<3> {
        (self.u.clone() * self.s.clone().unsqueeze_dim(1)).matmul(self.vt.clone())
    }
}

/// Why a batch could not be decomposed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SvdError {
    /// A matrix holds a NaN or an infinity.
    #[error(
        "matrix {index} of the batch holds {value} at row {row}, column {column}; only finite matrices have an SVD"
    )]
    NotFinite {
        /// The matrix, counted along `batch`.
        index: usize,
        /// The row, counted along `m`.
        row: usize,
        /// The column, counted along `n`.
        column: usize,
        /// The first value that is not finite.
        value: f32,
    },
    /// An iteration with a budget of sweeps spent all of it.
    #[error(
        "matrix {index} of the batch did not converge in {sweeps} sweeps (off-diagonal {residual:.2e}); raise max_sweeps"
    )]
    NoConvergence {
        /// The matrix, counted along `batch`.
        index: usize,
        /// Sweeps spent.
        sweeps: usize,
        /// The largest cosine between two columns that should be orthogonal.
        residual: f64,
    },
    /// The eigenvalues that [`HostSvd`](crate::HostSvd) looked for did not converge.
    #[error("matrix {index} of the batch ({m} x {n}) did not converge on the host; JacobiSvd may still decompose it")]
    HostGaveUp {
        /// The matrix, counted along `batch`.
        index: usize,
        /// Its rows.
        m: usize,
        /// Its columns.
        n: usize,
    },
    /// A finite matrix has a norm beyond the range of f32.
    #[error("matrix {index} of the batch has the singular value {sigma:.3e}, beyond f32; scale the matrix down")]
    Overflow {
        /// The matrix, counted along `batch`.
        index: usize,
        /// Its largest singular value.
        sigma: f64,
    },
    /// The solver does not run on the device of the matrices.
    #[error("{solver} does not run on {device}; HostSvd runs everywhere")]
    NoKernels {
        /// The solver.
        solver: &'static str,
        /// The device.
        device: String,
    },
    /// The device did not hand over its data.
    #[error("the matrices could not be read from their device")]
    Read(#[from] TensorReadError),
}

impl SvdError {
    /// The matrix that the error is about, counted along `batch`; none if it is about all of them.
    pub fn index(&self) -> Option<usize> {
        match *self {
            Self::NotFinite { index, .. }
            | Self::NoConvergence { index, .. }
            | Self::HostGaveUp { index, .. }
            | Self::Overflow { index, .. } => Some(index),
            Self::NoKernels { .. } | Self::Read(_) => None,
        }
    }
}
