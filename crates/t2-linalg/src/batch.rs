//! A batch on the host: the way from the device, one solver call per matrix, the way back.
//!
//! What every host solver has in common lives here: finite input, the sign convention, empty matrices.

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use rayon::prelude::*;

use crate::{Svd, SvdError};

/// One matrix of the batch.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Its place in the batch.
    pub(crate) index: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    /// Row-major `[m, n]`, finite.
    pub(crate) values: &'a [f32],
}

/// Where the factors of one matrix go, all row-major.
pub(crate) struct Factors<'a> {
    /// `[m, k]`, of any sign.
    pub(crate) u: &'a mut [f32],
    /// `[k]`, descending.
    pub(crate) s: &'a mut [f32],
    /// `[k, n]`, of the same signs as `u`.
    pub(crate) vt: &'a mut [f32],
}

/// How the matrices of a batch share the cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Schedule {
    /// A core per matrix.
    AcrossBatch,
    /// One matrix after another, each on every core.
    OneByOne,
}

/// Runs `decompose` on every matrix of `a`, `[batch, m, n]`.
pub(crate) fn decompose_each<F>(a: Tensor<3>, schedule: Schedule, decompose: F) -> Result<Svd, SvdError>
where
    F: Fn(Matrix<'_>, &mut Factors<'_>) -> Result<(), SvdError> + Sync,
{
    let device = a.device();
    let [batch, m, n] = a.dims();
    let k = m.min(n);
    let mut factors = [vec![0.0; batch * m * k], vec![0.0; batch * k], vec![0.0; batch * k * n]];

    // Without a single value there is nothing to decompose, and the factors are empty too.
    if batch * k > 0 {
        let a: Vec<f32> = a.try_into_vec_as()?;
        check_finite(&a, [m, n])?;

        let [u, s, vt] = &mut factors;
        let outputs = u.chunks_mut(m * k).zip(s.chunks_mut(k)).zip(vt.chunks_mut(k * n));
        let jobs: Vec<(Matrix<'_>, Factors<'_>)> = (a.chunks(m * n).zip(outputs).enumerate())
            .map(|(index, (values, ((u, s), vt)))| (Matrix { index, m, n, values }, Factors { u, s, vt }))
            .collect();
        let solve = |(matrix, mut factors): (Matrix<'_>, Factors<'_>)| {
            decompose(matrix, &mut factors)?;
            fix_signs(factors, [m, n]);
            Ok(())
        };
        let outcomes: Vec<Result<(), SvdError>> = match schedule {
            Schedule::AcrossBatch => jobs.into_par_iter().map(solve).collect(),
            Schedule::OneByOne => jobs.into_iter().map(solve).collect(),
        };
        // Collected before it is searched, so that the error is the first in the batch and not the first in time.
        outcomes.into_iter().collect::<Result<(), _>>()?;
    }

    let [u, s, vt] = factors;
    let options = (&device, DType::F32);
    Ok(Svd {
        u: Tensor::from_data(TensorData::new(u, [batch, m, k]), options),
        s: Tensor::from_data(TensorData::new(s, [batch, k]), options),
        vt: Tensor::from_data(TensorData::new(vt, [batch, k, n]), options),
    })
}

/// Names the first value of `a`, `[batch, m, n]`, that is not finite.
fn check_finite(a: &[f32], [m, n]: [usize; 2]) -> Result<(), SvdError> {
    match a.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(SvdError::NotFinite { index: at / (m * n), row: at / n % m, column: at % n, value: a[at] }),
    }
}

/// Makes the entry of largest magnitude in each column of `u`, `[m, k]`, positive.
fn fix_signs(factors: Factors<'_>, [m, n]: [usize; 2]) {
    let Factors { u, vt, .. } = factors;
    let k = m.min(n);
    // Row by row, because that is how `u` lies in memory.
    let mut largest = vec![0.0_f32; k];
    for row in u.chunks(k) {
        for (largest, &value) in largest.iter_mut().zip(row) {
            if value.abs() > largest.abs() {
                *largest = value;
            }
        }
    }
    for row in u.chunks_mut(k) {
        for (value, largest) in row.iter_mut().zip(&largest) {
            *value *= largest.signum();
        }
    }
    for (row, largest) in vt.chunks_mut(n).zip(&largest) {
        row.iter_mut().for_each(|value| *value *= largest.signum());
    }
}
