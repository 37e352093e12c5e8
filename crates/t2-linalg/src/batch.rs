//! A batch on the host: the way from the device, one solver call per matrix, the way back.
//!
//! What every host solver has in common lives here: finite input, the sign convention, empty matrices.

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use rayon::prelude::*;

use crate::svd::Attempt;
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

impl Factors<'_> {
    /// The factors of a matrix that has none.
    fn spoil(self) {
        [self.u, self.s, self.vt].into_iter().for_each(|factor| factor.fill(f32::NAN));
    }
}

/// How the matrices of a batch share the cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Schedule {
    /// A core per matrix.
    AcrossBatch,
    /// One matrix after another, each on every core.
    OneByOne,
}

/// Runs `decompose` on every finite matrix of `a`, `[batch, m, n]`.
///
/// `W` is memory that one matrix after another uses, of each thread its own: what a decomposition allocates is returned
/// to the system and asked for again otherwise, page by page.
pub(crate) fn decompose_each<W, F>(a: Tensor<3>, schedule: Schedule, decompose: F) -> Result<Attempt, SvdError>
where
    W: Default,
    F: Fn(Matrix<'_>, &mut Factors<'_>, &mut W) -> Result<(), SvdError> + Sync,
{
    let device = a.device();
    let [batch, m, n] = a.dims();
    let k = m.min(n);
    let mut factors = [vec![0.0; batch * m * k], vec![0.0; batch * k], vec![0.0; batch * k * n]];
    let mut failed = Vec::new();

    // Without a single value there is nothing to decompose, and the factors are empty too.
    if batch * k > 0 {
        let a: Vec<f32> = a.try_into_vec_as()?;
        let [u, s, vt] = &mut factors;
        let outputs = u.chunks_mut(m * k).zip(s.chunks_mut(k)).zip(vt.chunks_mut(k * n));
        let jobs: Vec<(Matrix<'_>, Factors<'_>)> = (a.chunks(m * n).zip(outputs).enumerate())
            .map(|(index, (values, ((u, s), vt)))| (Matrix { index, m, n, values }, Factors { u, s, vt }))
            .collect();
        let solve = |work: &mut W, (matrix, mut factors): (Matrix<'_>, Factors<'_>)| {
            let outcome = check_finite(matrix).and_then(|()| decompose(matrix, &mut factors, work));
            match outcome {
                Ok(()) => fix_signs(factors, [m, n]),
                Err(_) => factors.spoil(),
            }
            outcome.err()
        };
        let outcomes: Vec<Option<SvdError>> = match schedule {
            Schedule::AcrossBatch => jobs.into_par_iter().map_init(W::default, solve).collect(),
            Schedule::OneByOne => {
                let mut work = W::default();
                jobs.into_iter().map(|job| solve(&mut work, job)).collect()
            }
        };
        failed.extend(outcomes.into_iter().flatten());
    }

    let [u, s, vt] = factors;
    let options = (&device, DType::F32);
    let svd = Svd {
        u: Tensor::from_data(TensorData::new(u, [batch, m, k]), options),
        s: Tensor::from_data(TensorData::new(s, [batch, k]), options),
        vt: Tensor::from_data(TensorData::new(vt, [batch, k, n]), options),
    };
    Ok(Attempt { svd, failed })
}

/// Bytes that a host solver needs for each `[m, n]` of a batch beside what it computes in: the matrices where the caller
/// has them and as the solver reads them, two copies of the factors, and their product.
pub(crate) fn host_bytes([m, n]: [usize; 2]) -> usize {
    let k = m.min(n);
    size_of::<f32>() * (3 * m * n + 2 * (m + n + 1) * k)
}

/// Names the first value of a matrix that is not finite.
pub(crate) fn check_finite(Matrix { index, n, values, .. }: Matrix<'_>) -> Result<(), SvdError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(SvdError::NotFinite { index, row: at / n, column: at % n, value: values[at] }),
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
