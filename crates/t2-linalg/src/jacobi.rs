//! The reference: one-sided Jacobi in f64, slow and obvious.
//!
//! Plane rotations from the right make the columns of `A` orthogonal, two at a time: `A V = U diag(s)`. The
//! norms of the columns are then the singular values (Hestenes 1958; LAPACK `dgesvj`).

use burn::prelude::*;

use crate::batch::{Factors, Matrix, Schedule, decompose_each, host_bytes};
use crate::{Attempt, Demand, SvdError, SvdSolver};

/// Two columns count as orthogonal if the cosine between them is at most this.
///
/// Convergence is quadratic, so one sweep more would reach rounding; the factors are returned in f32, whose
/// spacing is a million times this.
const ORTHOGONAL: f64 = 1e-13;

/// A column whose length, over that of the longest, is at most this counts as zero. It is nothing but rounding, and
/// columns that depend on each other would otherwise shrink without end.
const VANISHED: f64 = 1e-25;

/// Decomposes on the host in f64: what the other solvers are compared with.
///
/// It takes about ten sweeps of `O(m n²)` operations in plain loops: good for tests, too slow for the weights of a
/// model.
#[derive(Clone, Copy, Debug)]
pub struct JacobiSvd {
    /// How often all pairs of columns are made orthogonal before the solver gives up on a matrix. The default is 60;
    /// about 10 are needed.
    pub max_sweeps: usize,
}

impl Default for JacobiSvd {
    fn default() -> Self {
        Self { max_sweeps: 60 }
    }
}

impl SvdSolver for JacobiSvd {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        decompose_each("JacobiSvd", a, Schedule::AcrossBatch, |matrix, factors, (): &mut ()| {
            self.decompose(matrix, factors)
        })
    }

    fn demand(&self, [m, n]: [usize; 2], _: &Device) -> Demand {
        let k = m.min(n);
        let work = size_of::<f64>() * k * (m.max(n) + k);
        Demand { bytes_per_matrix: host_bytes([m, n]) + work, batch: rayon::current_num_threads() }
    }
}

impl JacobiSvd {
    fn decompose(&self, matrix: Matrix<'_>, factors: &mut Factors<'_>) -> Result<(), SvdError> {
        let Matrix { index, m, n, values } = matrix;
        let k = m.min(n);
        // A wide matrix is transposed, so that there are never more columns than rows.
        let entry = |row: usize, column: usize| {
            f64::from(if m >= n { values[row * n + column] } else { values[column * n + row] })
        };
        let mut left: Vec<Vec<f64>> = (0..k).map(|j| (0..m.max(n)).map(|i| entry(i, j)).collect()).collect();
        let mut right: Vec<Vec<f64>> = (0..k).map(|j| (0..k).map(|i| f64::from(u8::from(i == j))).collect()).collect();

        let residual = self.orthogonalize(&mut left, &mut right);
        if residual > ORTHOGONAL {
            return Err(SvdError::NoConvergence { index, sweeps: self.max_sweeps, residual });
        }
        let sigma = normalize_descending(&mut left, &mut right);
        if sigma[0] > f64::from(f32::MAX) {
            return Err(SvdError::Overflow { index, sigma: sigma[0] });
        }

        let (u, v) = if m >= n { (left, right) } else { (right, left) };
        for j in 0..k {
            factors.s[j] = sigma[j] as f32;
            (0..m).for_each(|i| factors.u[i * k + j] = u[j][i] as f32);
            (0..n).for_each(|i| factors.vt[j * n + i] = v[j][i] as f32);
        }
        Ok(())
    }

    /// Rotates pairs of columns of `left`, and of `right` with them, until all are orthogonal.
    ///
    /// Returns the largest cosine that the last sweep met.
    fn orthogonalize(&self, left: &mut [Vec<f64>], right: &mut [Vec<f64>]) -> f64 {
        let mut residual = f64::INFINITY;
        let vanished = vanished(left).powi(2);
        for _ in 0..self.max_sweeps {
            residual = 0.0;
            for q in 1..left.len() {
                for p in 0..q {
                    let (alpha, beta, gamma) =
                        (dot(&left[p], &left[p]), dot(&left[q], &left[q]), dot(&left[p], &left[q]));
                    // A zero column is orthogonal to all others.
                    if gamma == 0.0 || alpha <= vanished || beta <= vanished {
                        continue;
                    }
                    residual = f64::max(residual, gamma.abs() / (alpha.sqrt() * beta.sqrt()));
                    let zeta = (beta - alpha) / (2.0 * gamma);
                    let tangent = 1.0_f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
                    rotate(left, [p, q], tangent);
                    rotate(right, [p, q], tangent);
                }
            }
            if residual <= ORTHOGONAL {
                break;
            }
        }
        residual
    }
}

/// Turns the columns `p < q` by the angle whose tangent is given.
fn rotate(columns: &mut [Vec<f64>], [p, q]: [usize; 2], tangent: f64) {
    let cosine = tangent.hypot(1.0).recip();
    let sine = cosine * tangent;
    let (head, tail) = columns.split_at_mut(q);
    for (x, y) in head[p].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

/// Sorts the columns of both sides by the norms of the left ones, longest first, and divides the left ones by their
/// norms, which are returned.
fn normalize_descending(left: &mut Vec<Vec<f64>>, right: &mut Vec<Vec<f64>>) -> Vec<f64> {
    let norms: Vec<f64> = left.iter().map(|column| dot(column, column).sqrt()).collect();
    let mut order: Vec<usize> = (0..norms.len()).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));

    *right = order.iter().map(|&j| right[j].clone()).collect();
    let vanished = vanished(left);
    let mut unit: Vec<Vec<f64>> = Vec::new();
    for &j in &order {
        let column = if norms[j] > vanished {
            left[j].iter().map(|value| value / norms[j]).collect()
        } else {
            orthogonal_to(&unit, left[j].len())
        };
        unit.push(column);
    }
    *left = unit;
    order.iter().map(|&j| norms[j]).collect()
}

/// The norm up to which a column counts as zero.
fn vanished(columns: &[Vec<f64>]) -> f64 {
    VANISHED * columns.iter().map(|column| dot(column, column)).fold(0.0, f64::max).sqrt()
}

/// A unit vector of length `rows` orthogonal to all of `basis`, which must be orthonormal and fewer than `rows`.
fn orthogonal_to(basis: &[Vec<f64>], rows: usize) -> Vec<f64> {
    // The axis that the basis covers least leaves the most behind.
    let covered = |i: usize| basis.iter().map(|column| column[i] * column[i]).sum::<f64>();
    let axis = (0..rows).min_by(|&i, &j| covered(i).total_cmp(&covered(j)));
    let mut vector: Vec<f64> = (0..rows).map(|i| f64::from(u8::from(Some(i) == axis))).collect();
    // Twice is enough: the second pass removes what rounding left of the first.
    for _ in 0..2 {
        for column in basis {
            let along = dot(column, &vector);
            vector.iter_mut().zip(column).for_each(|(value, other)| *value -= along * other);
        }
        let norm = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= norm);
    }
    vector
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
