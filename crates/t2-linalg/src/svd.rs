//! The seam of this crate: the decomposition `A = U diag(s) Vᵀ`, the trait of those who compute it, and why that can
//! fail.

use burn::prelude::*;
use burn::tensor::TensorReadError;

/// An algorithm that decomposes a batch of matrices, `[batch, m, n]`. A single matrix, `[m, n]`, is a batch of one:
/// `matrix.unsqueeze()`.
///
/// The factors are f32, on the device of the matrices, and carry no gradient: nothing is differentiated through a
/// decomposition.
pub trait SvdSolver: Send + Sync {
    /// Decomposes every matrix of `a`, `[batch, m, n]`, that has a decomposition, and says why the others have none.
    ///
    /// # Errors
    ///
    /// [`SvdError::Read`] if the device does not hand over its data, and [`SvdError::NoKernels`] if the solver does not
    /// run on the device. What is wrong with a single matrix is in [`Attempt::failed`].
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError>;

    /// Decomposes every matrix of `a`, `[batch, m, n]`.
    ///
    /// # Errors
    ///
    /// For the first matrix, in batch order, that holds a NaN or an infinity, does not converge, or has a singular
    /// value that f32 cannot hold; and where [`svd_each`](Self::svd_each) is an error.
    fn svd(&self, a: Tensor<3>) -> Result<Svd, SvdError> {
        let Attempt { svd, failed, .. } = self.svd_each(a)?;
        failed.into_iter().next().map_or(Ok(svd), Err)
    }

    /// How much memory the solver needs for matrices of `[m, n]` on `device`, and how many of them it is best given at
    /// once: for callers who have more matrices than memory.
    fn demand(&self, dims: [usize; 2], device: &Device) -> Demand;

    /// The singular values of every matrix of `a`, `[batch, m, n]`, without the vectors: `[batch, min(m, n)]`.
    ///
    /// # Errors
    ///
    /// Where [`svd`](Self::svd) is an error.
    fn singular_values(&self, a: Tensor<3>) -> Result<Tensor<2>, SvdError> {
        Ok(self.svd(a)?.s)
    }
}

/// What a solver needs for matrices of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The most memory that each matrix of a batch takes, in bytes: for the matrix, its factors, and what the solver or
    /// [`quality::loss`](crate::quality::loss) computes in. It is memory of the device, or of the host if the solver
    /// runs there.
    pub bytes_per_matrix: usize,
    /// The number of matrices that keeps the device busy: larger batches are no faster, only larger.
    pub batch: usize,
}

/// What became of the matrices of a batch.
#[derive(Debug)]
pub struct Attempt {
    /// The factors of the whole batch. Where a matrix failed, its part of them is NaN.
    pub svd: Svd,
    /// One error for each matrix that failed, in batch order.
    pub failed: Vec<SvdError>,
    /// The name of the solver that decomposed them, which one that chooses has chosen.
    pub solver: &'static str,
}

/// The reduced singular value decomposition of a batch of matrices, `[batch, m, n]`.
///
/// A solver returns `k = min(m, n)` singular values; [`truncate`](Self::truncate) keeps the largest of them, and `k` is
/// then the rank that was asked for.
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
    /// f32. [`Quality`](crate::Quality) measures the factors themselves.
    ///
    /// # Panics
    ///
    /// If the shapes of the factors do not belong together; those of a solver and of [`truncate`](Self::truncate) do.
    pub fn reconstruct(&self) -> Tensor<3> {
        let [batch, m, n] = self.matrix_dims();
        let [_, k] = self.s.dims();
        let shapes = (self.u.dims(), self.s.dims(), self.vt.dims());
        assert_eq!(shapes, ([batch, m, k], [batch, k], [batch, k, n]), "shapes of u, s and vt, found and expected");
        if batch * m * n * k == 0 {
            return Tensor::zeros([batch, m, n], &self.u.device());
        }
        (self.u.clone() * self.s.clone().unsqueeze_dim(1)).matmul(self.vt.clone())
    }

    /// The shape of the matrices that `u` and `vt` multiply to, `[batch, m, n]`.
    pub(crate) fn matrix_dims(&self) -> [usize; 3] {
        let ([batch, m, _], [_, _, n]) = (self.u.dims(), self.vt.dims());
        [batch, m, n]
    }

    /// How many singular values there are, if these can be the factors of matrices of `[batch, m, n]`.
    pub(crate) fn rank_in(&self, [batch, m, n]: [usize; 3]) -> Result<usize, SvdError> {
        let (u, s, vt) = (self.u.dims(), self.s.dims(), self.vt.dims());
        let ([_, k], most) = (s, m.min(n));
        let belong = (u, s, vt) == ([batch, m, k], [batch, k], [batch, k, n]);
        let is_possible = (most.min(1)..=most).contains(&k);
        if belong && is_possible { Ok(k) } else { Err(SvdError::Shapes { matrices: [batch, m, n], u, s, vt }) }
    }
}

/// Why a batch could not be decomposed, or its factors not be measured or truncated.
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
    /// A solver made as many sweeps as `max_sweeps` allows and had not converged.
    #[error(
        "matrix {index} of the batch did not converge in {sweeps} sweeps (off-diagonal {residual:.2e}); raise max_sweeps"
    )]
    NoConvergence {
        /// The matrix, counted along `batch`.
        index: usize,
        /// The number of sweeps that were made.
        sweeps: usize,
        /// The largest cosine between two columns that should be orthogonal.
        residual: f64,
    },
    /// [`HostSvd`](crate::HostSvd) looks for eigenvalues, and the iteration that finds them did not converge.
    #[error("matrix {index} of the batch ({m} x {n}) did not converge on the host; JacobiSvd may still decompose it")]
    HostGaveUp {
        /// The matrix, counted along `batch`.
        index: usize,
        /// The rows of the matrix.
        m: usize,
        /// The columns of the matrix.
        n: usize,
    },
    /// A finite matrix has a singular value that is too large for f32.
    #[error("matrix {index} of the batch has the singular value {sigma:.3e}, beyond f32; scale the matrix down")]
    Overflow {
        /// The matrix, counted along `batch`.
        index: usize,
        /// The largest singular value of the matrix.
        sigma: f64,
    },
    /// The solver does not run on the device of the matrices.
    #[error("{solver} does not run on {device}; HostSvd runs everywhere")]
    NoKernels {
        /// The name of the solver's type.
        solver: &'static str,
        /// The device of the matrices, as Burn prints it.
        device: String,
    },
    /// `CusolverSvd` could not do its work.
    #[cfg(feature = "cusolver")]
    #[error(transparent)]
    Cusolver(#[from] crate::CusolverError),
    /// A solver of the user's own failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// The factors do not belong to the matrices, or not to each other.
    #[error(
        "u {u:?}, s {s:?} and vt {vt:?} are not the factors of matrices {matrices:?}; those of [batch, m, n] are \
         [batch, m, k], [batch, k] and [batch, k, n] with one k from 1 to min(m, n)"
    )]
    Shapes {
        /// The shape of the matrices, `[batch, m, n]`; where only factors were given, that of their product.
        matrices: [usize; 3],
        /// The shape of the left singular vectors.
        u: [usize; 3],
        /// The shape of the singular values.
        s: [usize; 2],
        /// The shape of the right singular vectors.
        vt: [usize; 3],
    },
    /// A rank that the decomposition cannot be truncated to.
    #[error("there is no truncation to rank {rank} of {most} singular values; ask for at least one and at most all")]
    Rank {
        /// The rank that was asked for.
        rank: usize,
        /// The number of singular values that each matrix has.
        most: usize,
    },
    /// A share of the energy that is not from 0 to 1.
    #[error("{share} is no share of the energy; a share is from 0 to 1, 0.99 for 99 %")]
    Share {
        /// The share that was asked for.
        share: f64,
    },
    /// A matrix whose decomposition failed takes part in a computation with factors.
    #[error(
        "matrix {index} of the batch has singular values that are NaN or infinite; leave out matrices that could not \
         be decomposed"
    )]
    NoFactors {
        /// The matrix, counted along `batch`.
        index: usize,
    },
    /// The device did not hand over its data.
    #[error("matrices or factors could not be read from their device")]
    Read(#[from] TensorReadError),
}

impl SvdError {
    /// The matrix that the error is about, counted along `batch`; none if it is about all of them.
    pub fn index(&self) -> Option<usize> {
        match *self {
            Self::NotFinite { index, .. }
            | Self::NoConvergence { index, .. }
            | Self::HostGaveUp { index, .. }
            | Self::Overflow { index, .. }
            | Self::NoFactors { index } => Some(index),
            #[cfg(feature = "cusolver")]
            Self::Cusolver(_) => None,
            Self::NoKernels { .. }
            | Self::Other(_)
            | Self::Shapes { .. }
            | Self::Rank { .. }
            | Self::Share { .. }
            | Self::Read(_) => None,
        }
    }
}
