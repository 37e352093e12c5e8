//! The decomposition in f64, by the eigenvectors of `XᵀX`: accurate enough that the error of the factors is their
//! rounding to f32.
//!
//! `XᵀX = V Λ Vᵀ` and `W = X V` has columns `w_i = s_i u_i`. Squaring costs half the digits: where singular values
//! `s_i` and `s_j` are small, `w_i` and `w_j` are orthogonal only up to `ε₆₄ s_1² / (s_i s_j)`. If that is too much,
//! `W = Q R` is computed, and the columns of `Q` are `U`. The entries of `R` beside its diagonal are then below
//! `√ε₆₄ s_1`, 1.5e-8 of the largest singular value, whatever the rank.

use faer::diag::DiagMut;
use faer::dyn_stack::StackReq;
use faer::linalg::evd::{
    ComputeEigenvectors, EvdError, SelfAdjointEvdParams, self_adjoint_evd, self_adjoint_evd_scratch,
};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch as apply_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj as apply,
};
use faer::linalg::matmul::matmul;
use faer::linalg::qr::no_pivoting::factor::{QrParams, qr_in_place, qr_in_place_scratch, recommended_block_size};
use faer::{Accum, Auto, Conj, MatMut, MatRef, Par};

use super::tall::{PANEL, Scratch, Tall, add_gram};
use crate::batch::Factors;

/// If the product of two singular values, over the square of the largest, is below this, their columns of `W` are not
/// orthogonal enough: it is `ε₆₄` over the rounding of f32, with room for the rounding of sums.
const ILL_CONDITIONED: f64 = 1e-7;

/// The memory that [`decompose`] computes in, all column-major.
#[derive(Default)]
pub(super) struct Workspace {
    /// `−XᵀX`, `[k, k]`.
    gram: Vec<f64>,
    /// The eigenvalues of `−XᵀX`, `[k]`.
    eigenvalues: Vec<f64>,
    /// `V`, `[k, k]`.
    v: Vec<f64>,
    /// `W`, `[rows, k]`.
    w: Vec<f64>,
    /// Some rows of `X`, or some columns of `Q`.
    panel: Vec<f64>,
    /// The coefficients of the Householder reflections whose product is `Q`, `[block, k]`.
    coefficients: Vec<f64>,
    scratch: Scratch,
}

/// The size of a [`Workspace`] for an `X` of `[rows, k]`, in bytes.
pub(super) fn bytes([rows, k]: [usize; 2], par: Par) -> usize {
    let values = 2 * k * k + 3 * k + rows * k + rows * PANEL.min(k) + recommended_block_size::<f64>(rows, k) * k;
    size_of::<f64>() * values + scratch([rows, k], true, par).size_bytes()
}

fn scratch([rows, k]: [usize; 2], wants_vectors: bool, par: Par) -> StackReq {
    let eigen = self_adjoint_evd_scratch::<f64>(k, eigenvectors(wants_vectors), par, params().into());
    if !wants_vectors {
        return eigen;
    }
    let block = recommended_block_size::<f64>(rows, k);
    let qr = qr_in_place_scratch::<f64>(rows, k, block, par, qr_params().into());
    eigen.or(qr).or(apply_scratch::<f64>(rows, block, PANEL))
}

fn eigenvectors(wanted: bool) -> ComputeEigenvectors {
    if wanted { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No }
}

fn params() -> SelfAdjointEvdParams {
    <SelfAdjointEvdParams as Auto<f64>>::auto()
}

fn qr_params() -> QrParams {
    <QrParams as Auto<f64>>::auto()
}

/// Decomposes `x`. If `factors.u` is empty, only the singular values are computed.
pub(super) fn decompose(
    x: Tall<'_>,
    factors: &mut Factors<'_>,
    work: &mut Workspace,
    par: Par,
) -> Result<(), EvdError> {
    let Tall { rows, k, .. } = x;
    let wants_vectors = !factors.u.is_empty();
    work.gram.resize(k * k, 0.0);
    work.eigenvalues.resize(k, 0.0);
    work.panel.resize(rows * PANEL.min(k), 0.0);
    work.gram.fill(0.0);
    for start in (0..rows).step_by(PANEL) {
        // Negative, so that the eigenvalues begin with the largest singular value.
        add_gram(&mut work.gram, x.panel(start, &mut work.panel).as_ref(), -1.0, par);
    }
    work.v.resize(if wants_vectors { k * k } else { 0 }, 0.0);
    self_adjoint_evd(
        MatRef::from_column_major_slice(&work.gram, k, k),
        DiagMut::from_slice_mut(&mut work.eigenvalues),
        wants_vectors.then(|| MatMut::from_column_major_slice_mut(&mut work.v, k, k)),
        par,
        work.scratch.stack(scratch([rows, k], wants_vectors, par)),
        params().into(),
    )?;
    if wants_vectors {
        find_vectors(x, factors, work, par);
    } else {
        let sigma = work.eigenvalues.iter().map(|eigenvalue| (-eigenvalue).max(0.0).sqrt() as f32);
        factors.s.iter_mut().zip(sigma).for_each(|(s, sigma)| *s = sigma);
    }
    // Rounding may have left them out of order, by `√ε₆₄` of the largest at most.
    factors.s.sort_unstable_by(|x, y| y.total_cmp(x));
    Ok(())
}

/// Computes `W = X V`, and from it the vectors of the longer side and the singular values; stores these and `V`.
fn find_vectors(x: Tall<'_>, factors: &mut Factors<'_>, work: &mut Workspace, par: Par) {
    let Tall { rows, k, .. } = x;
    work.w.resize(rows * k, 0.0);
    let v = MatRef::from_column_major_slice(&work.v, k, k);
    let mut w = MatMut::from_column_major_slice_mut(&mut work.w, rows, k);
    for start in (0..rows).step_by(PANEL) {
        let panel = x.panel(start, &mut work.panel);
        let to = w.as_mut().subrows_mut(start, panel.nrows());
        matmul(to, Accum::Replace, panel.as_ref(), v, 1.0, par);
    }
    let mut sigma: Vec<f64> = w.as_ref().col_iter().map(|column| column.norm_l2()).collect();
    let is_well_conditioned = sigma[k.saturating_sub(2)] * sigma[k - 1] >= ILL_CONDITIONED * sigma[0] * sigma[0];
    if is_well_conditioned && sigma[0] > 0.0 {
        for (column, sigma) in work.w.chunks_mut(rows).zip(&sigma) {
            column.iter_mut().for_each(|value| *value /= sigma);
        }
        x.store_long((&work.w, rows), 0, factors, |value| value as f32);
    } else {
        sigma = store_q(x, factors, work, par);
    }
    x.store_short(&work.v, factors, |value| value as f32);
    factors.s.iter_mut().zip(sigma).for_each(|(s, sigma)| *s = sigma as f32);
}

/// Stores the `Q` of `W = Q R`, with signs for which the diagonal of `R` is positive, and returns that diagonal.
fn store_q(x: Tall<'_>, factors: &mut Factors<'_>, work: &mut Workspace, par: Par) -> Vec<f64> {
    let Tall { rows, k, .. } = x;
    let block = recommended_block_size::<f64>(rows, k);
    work.coefficients.resize(block * k, 0.0);
    let mut w = MatMut::from_column_major_slice_mut(&mut work.w, rows, k);
    let mut coefficients = MatMut::from_column_major_slice_mut(&mut work.coefficients, block, k);
    let stack = work.scratch.stack(scratch([rows, k], true, par));
    qr_in_place(w.as_mut(), coefficients.as_mut(), par, stack, qr_params().into());
    let diagonal: Vec<f64> = (0..k).map(|j| w[(j, j)]).collect();
    for start in (0..k).step_by(PANEL) {
        let count = PANEL.min(k - start);
        let panel = &mut work.panel[..rows * count];
        panel.fill(0.0);
        // A unit vector for each column of `Q`, negative where the diagonal of `R` is.
        let ones = (start..start + count).map(|j| (j - start) * rows + j);
        ones.zip(&diagonal[start..]).for_each(|(at, r)| panel[at] = 1.0_f64.copysign(*r));
        let q = MatMut::from_column_major_slice_mut(panel, rows, count);
        let stack = work.scratch.stack(scratch([rows, k], true, par));
        apply(w.as_ref(), coefficients.as_ref(), Conj::No, q, par, stack);
        x.store_long((panel, rows), start, factors, |value| value as f32);
    }
    diagonal.into_iter().map(f64::abs).collect()
}
