//! What is lost when factors replace a matrix, in f64.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatRef, Par};
use rayon::prelude::*;

use super::tall::{PANEL, Tall, add_gram};
use crate::batch::Matrix;
use crate::quality::Loss;

/// The size from which all cores measure one matrix.
const LARGE: usize = 512;

/// Measures a batch, `[batch, m, n]`, by its `u`, `s` and `vt`, all row-major.
pub(crate) fn loss_of_each(a: &[f32], [u, s, vt]: [&[f32]; 3], [m, n]: [usize; 2]) -> Vec<Loss> {
    let k = m.min(n);
    let one = |index: usize| {
        let matrix = Matrix { index, m, n, values: part(a, index, m * n) };
        let factors = [part(u, index, m * k), part(s, index, k), part(vt, index, k * n)];
        loss(matrix, factors, if k < LARGE { Par::Seq } else { Par::rayon(0) })
    };
    let batch = s.len() / k;
    if k < LARGE { (0..batch).into_par_iter().map(one).collect() } else { (0..batch).map(one).collect() }
}

fn part(values: &[f32], index: usize, size: usize) -> &[f32] {
    &values[index * size..][..size]
}

fn loss(matrix: Matrix<'_>, [u, s, vt]: [&[f32]; 3], par: Par) -> Loss {
    let x = Tall::of(matrix);
    let Tall { rows, k, is_wide, unit, .. } = x;
    let (long, short) = if is_wide { (vt, u) } else { (u, vt) };
    let long = Tall { values: long, unit: 1.0, ..x };
    let mut short: Vec<f64> = short.iter().copied().map(f64::from).collect();
    let mut gram = vec![0.0; k * k];
    add_gram(&mut gram, columns(&short, k, is_wide), 1.0, par);
    let short_excess = excess(&gram, k);
    gram.fill(0.0);

    // From here on times the singular values.
    if is_wide {
        short.chunks_mut(k).for_each(|row| row.iter_mut().zip(s).for_each(|(value, s)| *value *= f64::from(*s) / unit));
    } else {
        short.chunks_mut(k).zip(s).for_each(|(v, s)| v.iter_mut().for_each(|value| *value *= f64::from(*s) / unit));
    }
    let (mut panel, mut image) = (vec![0.0; PANEL.min(rows) * k], vec![0.0; PANEL.min(rows) * k]);
    let (mut error, mut size) = (0.0, 0.0);
    for start in (0..rows).step_by(PANEL) {
        let of_long = long.panel(start, &mut image);
        add_gram(&mut gram, of_long.as_ref(), 1.0, par);
        let mut of_x = x.panel(start, &mut panel);
        size += of_x.squared_norm_l2();
        matmul(of_x.as_mut(), Accum::Add, of_long, columns(&short, k, is_wide).transpose(), -1.0, par);
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

/// The short vectors as columns, `[k, k]`: those of `U` are row-major, those of `Vᵀ` rows.
fn columns(values: &[f64], k: usize, is_row_major: bool) -> MatRef<'_, f64> {
    let columns = MatRef::from_column_major_slice(values, k, k);
    if is_row_major { columns.transpose() } else { columns }
}

/// `‖G − I‖²` (Frobenius), by the lower triangle of `gram`.
fn excess(gram: &[f64], k: usize) -> f64 {
    let of_column = |(j, column): (usize, &[f64])| {
        let below: f64 = column[j + 1..].iter().map(|value| value * value).sum();
        (column[j] - 1.0).powi(2) + 2.0 * below
    };
    gram.chunks(k).enumerate().map(of_column).sum()
}
