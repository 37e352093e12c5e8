//! What is lost when factors replace a matrix, in f64.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatRef, Par};
use rayon::prelude::*;

use super::tall::{PANEL, Tall, add_gram};
use crate::batch::Matrix;
use crate::quality::Loss;

/// All cores measure one matrix together if its shorter side is at least this long; otherwise each core has its own
/// matrix.
const LARGE: usize = 512;

/// Measures the matrices `a`, `[batch, m, n]`, by their factors of rank `k`: `u` `[batch, m, k]`, `s` `[batch, k]` and
/// `vt` `[batch, k, n]`. All are row-major and none is empty.
pub(crate) fn loss_of_each(a: &[f32], [u, s, vt]: [&[f32]; 3], [m, n, k]: [usize; 3]) -> Vec<Loss> {
    let is_large = m.min(n) >= LARGE;
    let one = |index: usize| {
        let matrix = Matrix { index, m, n, values: part(a, index, m * n) };
        let factors = [part(u, index, m * k), part(s, index, k), part(vt, index, k * n)];
        loss(matrix, factors, if is_large { Par::rayon(0) } else { Par::Seq })
    };
    let batch = s.len() / k;
    if is_large { (0..batch).map(one).collect() } else { (0..batch).into_par_iter().map(one).collect() }
}

fn part(values: &[f32], index: usize, size: usize) -> &[f32] {
    &values[index * size..][..size]
}

fn loss(matrix: Matrix<'_>, [u, s, vt]: [&[f32]; 3], par: Par) -> Loss {
    let x = Tall::of(matrix);
    let Tall { rows, k: side, is_wide, unit, .. } = x;
    let k = s.len();
    let (long, short) = if is_wide { (vt, u) } else { (u, vt) };
    let long = Tall { values: long, k, unit: 1.0, ..x };
    let mut short: Vec<f64> = short.iter().copied().map(f64::from).collect();
    let mut gram = vec![0.0; k * k];
    add_gram(&mut gram, columns(&short, [side, k], is_wide), 1.0, par);
    let short_excess = excess(&gram, k);
    gram.fill(0.0);

    // From here on the short vectors are multiplied by the singular values.
    let scaled = |(value, s): (&mut f64, &f32)| *value *= f64::from(*s) / unit;
    if is_wide {
        short.chunks_mut(k).for_each(|row| row.iter_mut().zip(s).for_each(scaled));
    } else {
        short.chunks_mut(side).zip(s).for_each(|(v, s)| v.iter_mut().for_each(|value| scaled((value, s))));
    }
    let (mut panel, mut image) = (vec![0.0; PANEL.min(rows) * side], vec![0.0; PANEL.min(rows) * k]);
    let (mut error, mut size) = (0.0, 0.0);
    for start in (0..rows).step_by(PANEL) {
        let of_long = long.panel(start, &mut image);
        add_gram(&mut gram, of_long.as_ref(), 1.0, par);
        let mut of_x = x.panel(start, &mut panel);
        size += of_x.squared_norm_l2();
        matmul(of_x.as_mut(), Accum::Add, of_long, columns(&short, [side, k], is_wide).transpose(), -1.0, par);
        error += of_x.squared_norm_l2();
    }
    let skew = |excess: f64| (excess / k as f64).sqrt();
    let [long, short] = [skew(excess(&gram, k)), skew(short_excess)];
    Loss {
        relative_error: if error == 0.0 { 0.0 } else { (error / size).sqrt() },
        // Not `f64::max`, which would drop a NaN.
        skew: if long > short || long.is_nan() { long } else { short },
    }
}

/// The `k` short vectors as columns, `[side, k]`. In memory they are the columns of a row-major `U`, or the rows of
/// `Vᵀ`.
fn columns(values: &[f64], [side, k]: [usize; 2], is_row_major: bool) -> MatRef<'_, f64> {
    if is_row_major {
        MatRef::from_row_major_slice(values, side, k)
    } else {
        MatRef::from_column_major_slice(values, side, k)
    }
}

/// `‖G − I‖²` in the Frobenius norm, for a symmetric `G`, `[k, k]`, of which only the lower triangle is read.
fn excess(gram: &[f64], k: usize) -> f64 {
    let of_column = |(j, column): (usize, &[f64])| {
        let below: f64 = column[j + 1..].iter().map(|value| value * value).sum();
        (column[j] - 1.0).powi(2) + 2.0 * below
    };
    gram.chunks(k).enumerate().map(of_column).sum()
}
