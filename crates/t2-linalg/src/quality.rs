//! How good a decomposition is: what its factors lose of the matrix, and how far their vectors are from orthonormal.
//!
//! [`Quality`] has the ratios that LAPACK tests its own routines with, measured in f64 on the host, for tests.
//! [`loss`] has the two numbers that users ask for, measured where the matrices are, in less time than a decomposition.
//! Both take factors of any rank: of a [truncated](crate::Svd::truncate) decomposition the error says what was cut off.
//!
//! A ratio divides an error by what rounding alone may cause, so one threshold serves matrices of any size and scale
//! (Reference LAPACK, `TESTING/EIG/sdrvbd.f`, tests 1 to 4). Where nothing else is said, a norm is the 1-norm, the
//! largest sum of magnitudes in a column; `ε` is the spacing of f32 at one, and `k` the number of singular values.

use burn::prelude::*;
#[cfg(feature = "gpu")]
use burn::tensor::DType;
use burn::tensor::{TensorData, TensorReadError};
use faer::{Mat, MatRef};

use crate::host::loss_of_each;
use crate::{Svd, SvdError};

/// LAPACK's own tests call a decomposition wrong if one of its ratios is above this (`TESTING/svd.in`).
pub const LAPACK_THRESHOLD: f64 = 50.0;

/// The tests of this crate let no ratio of any solver, on any case, be above this: a tenth of what LAPACK allows.
///
/// `BlockJacobiSvd` was measured to stay below 0.7 and [`HostSvd`](crate::HostSvd) below 0.6; on shapes up to 20 x 20,
/// where a handful of roundings weighs most, both below 0.4. The distance to 5 is room for the arithmetic of other
/// devices. [`JacobiSvd`](crate::JacobiSvd) computes in f64, rounds once, and stays below 0.2.
pub const THRESHOLD: f64 = 5.0;

/// The quality of the factors of one matrix. A NaN in the matrix or its factors makes a ratio NaN, which no threshold
/// admits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// `‖A − U diag(s) Vᵀ‖ / (‖A‖ max(m, n) ε)`; large for truncated factors, which leave out more than rounding does.
    pub residual: f64,
    /// `‖UᵀU − I‖ / (m ε)`.
    pub u_orthogonality: f64,
    /// `‖VᵀV − I‖ / (n ε)`.
    pub vt_orthogonality: f64,
    /// How far the singular values are from being positive and in descending order: the largest amount by which one is
    /// below zero or above the one before it, over the largest of all. Zero if they are in order.
    pub disorder: f64,
    /// The larger of `‖UᵀU − I‖ / √k` and `‖VᵀV − I‖ / √k` in the Frobenius norm: by how much the scalar products of a
    /// typical vector are off.
    pub skew: f64,
    /// `‖A − U diag(s) Vᵀ‖ / ‖A‖` in the Frobenius norm: what is lost when the factors replace the matrix.
    pub relative_error: f64,
}

impl Quality {
    /// Measures `svd` against the matrices `a`, `[batch, m, n]`, that it came from: one entry per matrix.
    ///
    /// # Errors
    ///
    /// [`SvdError::Shapes`] if the factors cannot be those of `a`, at any rank from 1 to `min(m, n)`, and
    /// [`SvdError::Read`] if a device does not hand over its data.
    pub fn of(a: &Tensor<3>, svd: &Svd) -> Result<Vec<Self>, SvdError> {
        let [batch, m, n] = a.dims();
        let k = svd.rank_in([batch, m, n])?;

        let [a, u, vt] = [a, &svd.u, &svd.vt].map(|values| values.clone().try_into_vec_as::<f64>());
        let (a, u, s, vt) = (a?, u?, svd.s.clone().try_into_vec_as::<f64>()?, vt?);
        let one = |index: usize| {
            let a = MatRef::from_row_major_slice(&a[index * m * n..][..m * n], m, n);
            let u = MatRef::from_row_major_slice(&u[index * m * k..][..m * k], m, k);
            let vt = MatRef::from_row_major_slice(&vt[index * k * n..][..k * n], k, n);
            Self::of_one(a, u, &s[index * k..][..k], vt)
        };
        Ok((0..batch).map(one).collect())
    }

    /// Whether the singular values are in order and no ratio exceeds `threshold`.
    pub fn is_within(&self, threshold: f64) -> bool {
        self.disorder == 0.0 && self.worst_ratio() <= threshold
    }

    /// The largest of the three ratios; NaN if one of them is.
    pub fn worst_ratio(&self) -> f64 {
        worst([self.residual, self.u_orthogonality, self.vt_orthogonality])
    }

    fn of_one(a: MatRef<'_, f64>, u: MatRef<'_, f64>, s: &[f64], vt: MatRef<'_, f64>) -> Self {
        let (m, n) = a.shape();
        let scaled = Mat::from_fn(m, s.len(), |i, j| u[(i, j)] * s[j]);
        let error = a - scaled * vt;
        let [excess_u, excess_vt] = [excess(u.transpose(), u), excess(vt, vt.transpose())];
        let skew = |excess: &Mat<f64>| ratio(frobenius_norm(excess.as_ref()), (s.len() as f64).sqrt());
        Self {
            residual: ratio(one_norm(error.as_ref()), one_norm(a) * m.max(n) as f64 * EPSILON),
            u_orthogonality: ratio(one_norm(excess_u.as_ref()), m as f64 * EPSILON),
            vt_orthogonality: ratio(one_norm(excess_vt.as_ref()), n as f64 * EPSILON),
            disorder: disorder(s),
            skew: worst([skew(&excess_u), skew(&excess_vt)]),
            relative_error: ratio(frobenius_norm(error.as_ref()), frobenius_norm(a)),
        }
    }
}

/// What is lost when factors replace a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// `‖A − U diag(s) Vᵀ‖ / ‖A‖` in the Frobenius norm.
    pub relative_error: f64,
    /// The larger of `‖UᵀU − I‖ / √k` and `‖VᵀV − I‖ / √k` in the Frobenius norm: by how much the scalar products of a
    /// typical vector are off.
    pub skew: f64,
}

/// Measures what `svd` loses of the matrices `a`, `[batch, m, n]`, that it came from: one entry per matrix.
///
/// It takes four products of matrices, less time than a decomposition. On the CPU they are computed in f64. If `a` is
/// on a GPU, they are computed there in true f32, and the result is within `1e-6` of what [`Quality::of`] finds, which
/// the tests check. A NaN in a matrix or its factors makes its loss NaN.
///
/// # Errors
///
/// [`SvdError::Shapes`] if the factors cannot be those of `a`, at any rank from 1 to `min(m, n)`, and
/// [`SvdError::Read`] if the device does not hand over its data.
///
/// # Panics
///
/// If `a` is on a GPU and the factors are on another device: those of a solver are where the matrices are.
pub fn loss(a: &Tensor<3>, svd: &Svd) -> Result<Vec<Loss>, SvdError> {
    let [batch, m, n] = a.dims();
    let k = svd.rank_in([batch, m, n])?;
    if batch * m * n == 0 {
        return Ok(vec![Loss { relative_error: 0.0, skew: 0.0 }; batch]);
    }
    #[cfg(feature = "gpu")]
    if crate::kernel::runs_on(&a.device()) {
        return loss_on_device(a, svd);
    }
    let values = [a.clone(), svd.u.clone(), svd.s.clone().unsqueeze_dim(1), svd.vt.clone()];
    let [a, u, s, vt] = values.map(Tensor::try_into_data_as::<f32>);
    let (a, u, s, vt) = (a?, u?, s?, vt?);
    let factors = [slice(&u)?, slice(&s)?, slice(&vt)?];
    Ok(loss_of_each(slice(&a)?, factors, [m, n, k]))
}

fn slice(data: &TensorData) -> Result<&[f32], SvdError> {
    Ok(data.as_slice().map_err(TensorReadError::from)?)
}

/// Measures the [`loss`] on a GPU, in f32, with the matrix product of this crate's kernels.
#[cfg(feature = "gpu")]
fn loss_on_device(a: &Tensor<3>, svd: &Svd) -> Result<Vec<Loss>, SvdError> {
    use crate::kernel::{Form, true_f32_product};

    let [batch, k] = svd.s.dims();
    // Over the largest singular value, so that no square overflows.
    let s: Tensor<3> = svd.s.clone().unsqueeze_dim(1);
    let largest = s.clone().narrow(2, 0, 1);
    let unit = largest.clone().mask_fill(largest.lower_elem(f32::MIN_POSITIVE), 1.0);
    let a = a.clone().without_autodiff().cast(DType::F32) / unit.clone();
    let excess_rows = |x: Tensor<3>| {
        let identity = Tensor::<2>::eye(k, &x.device()).unsqueeze();
        true_f32_product(x.clone(), x, Form::RightTransposed) - identity
    };
    let size = squares(a.clone())?;
    let error = squares(a - true_f32_product(svd.u.clone() * (s / unit), svd.vt.clone(), Form::Plain))?;
    let (u, vt) = (squares(excess_rows(svd.u.clone().swap_dims(1, 2)))?, squares(excess_rows(svd.vt.clone()))?);
    let one = |i: usize| Loss {
        relative_error: ratio(error[i].sqrt(), size[i].sqrt()),
        skew: (worst([u[i], vt[i]]) / k as f64).sqrt(),
    };
    Ok((0..batch).map(one).collect())
}

/// The sum of the squares of all entries, for each matrix of `x`, `[batch, m, n]`. Each row is summed in f32 on the
/// device, and the sums of the rows are added in f64.
#[cfg(feature = "gpu")]
fn squares(x: Tensor<3>) -> Result<Vec<f64>, SvdError> {
    let [batch, m, _] = x.dims();
    let most = crate::kernel::MAX_MATRICES;
    let rows: Vec<f64> = if batch <= most && m <= most {
        // Burn's sums are tuned for each shape that they meet, which takes seconds.
        let norms: Vec<f64> = crate::kernel::row_norms(x).try_into_vec_as()?;
        norms.into_iter().map(|norm| norm * norm).collect()
    } else {
        x.square().sum_dim(2).try_into_vec_as()?
    };
    Ok(rows.chunks(m).map(|rows| rows.iter().sum()).collect())
}

/// The spacing of f32 at one: what LAPACK's `SLAMCH('P')` returns.
const EPSILON: f64 = f32::EPSILON as f64;

/// `X Y − I`.
fn excess(x: MatRef<'_, f64>, y: MatRef<'_, f64>) -> Mat<f64> {
    x * y - Mat::<f64>::identity(x.nrows(), y.ncols())
}

/// The quotient of an error and what is allowed of it. It is zero without an error, even where none is allowed, as for
/// a matrix of zeros.
fn ratio(error: f64, allowed: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / allowed }
}

/// See [`Quality::disorder`].
fn disorder(s: &[f64]) -> f64 {
    let rises = s.windows(2).map(|pair| pair[1] - pair[0]);
    let below_zero = s.iter().map(|sigma| -sigma);
    ratio(worst(rises.chain(below_zero)), worst(s.iter().map(|sigma| sigma.abs())))
}

fn one_norm(x: MatRef<'_, f64>) -> f64 {
    worst(x.col_iter().map(|column| column.iter().map(|value| value.abs()).sum()))
}

fn frobenius_norm(x: MatRef<'_, f64>) -> f64 {
    x.col_iter().flat_map(|column| column.iter().map(|value| value * value)).sum::<f64>().sqrt()
}

/// The largest value and at least zero, but NaN if any is: `f64::max` alone would drop it.
fn worst(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |worst, value| if value > worst || value.is_nan() { value } else { worst })
}
