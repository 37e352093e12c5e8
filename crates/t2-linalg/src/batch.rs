//! A batch on the host: matrices are read from their device, decomposed one by one, and the factors written back.
//!
//! What every solver on the host has in common lives here: input that is not finite is refused, matrices without
//! entries get factors without entries, and signs follow the convention of the crate.

use std::sync::{Mutex, PoisonError};

use burn::prelude::*;
use burn::tensor::{DType, TensorData, TensorReadError};
use rayon::prelude::*;

use crate::svd::Attempt;
use crate::{Svd, SvdError};

/// One matrix of the batch.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// The place of the matrix in the batch.
    pub(crate) index: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    /// Row-major `[m, n]`, finite.
    pub(crate) values: &'a [f32],
}

/// Where the solver of one matrix writes the factors, all row-major.
pub(crate) struct Factors<'a> {
    /// `[m, k]`. The solver may return `−u_i` for `u_i` if it returns `−v_i` for `v_i`; the sign is chosen afterwards.
    pub(crate) u: &'a mut [f32],
    /// `[k]`, descending.
    pub(crate) s: &'a mut [f32],
    /// `[k, n]`.
    pub(crate) vt: &'a mut [f32],
}

impl Factors<'_> {
    /// Makes the factors NaN, because the matrix could not be decomposed.
    fn spoil(self) {
        [self.u, self.s, self.vt].into_iter().for_each(|factor| factor.fill(f32::NAN));
    }
}

/// How the matrices of a batch share the cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Schedule {
    /// Each core has a matrix to itself.
    AcrossBatch,
    /// One matrix after another, each by all cores together.
    OneByOne,
}

/// Runs `decompose`, which belongs to `solver`, on every finite matrix of `a`, `[batch, m, n]`.
///
/// `W` is the memory that `decompose` computes in. There is one for each core, which is used for one matrix after
/// another: allocated anew for each, it would go back to the system and be asked for again, page by page.
pub(crate) fn decompose_each<W, F>(
    solver: &'static str,
    a: Tensor<3>,
    schedule: Schedule,
    decompose: F,
) -> Result<Attempt, SvdError>
where
    W: Default + Send,
    F: Fn(Matrix<'_>, &mut Factors<'_>, &mut W) -> Result<(), SvdError> + Sync,
{
    let (device, [batch, m, n]) = (a.device(), a.dims());
    let k = m.min(n);
    let ([u, s, vt], failed) = solve(a, schedule, [m * k, k, k * n], decompose)?;
    let options = (&device, DType::F32);
    let svd = Svd {
        u: Tensor::from_data(TensorData::new(u, [batch, m, k]), options),
        s: Tensor::from_data(TensorData::new(s, [batch, k]), options),
        vt: Tensor::from_data(TensorData::new(vt, [batch, k, n]), options),
    };
    Ok(Attempt { svd, failed, solver })
}

/// Runs `decompose` on every finite matrix of `a`, `[batch, m, n]`, for the singular values alone, `[batch, k]`: the
/// `u` and `vt` of the [`Factors`] that it is given are empty. The first matrix that fails is the error.
pub(crate) fn values_of_each<W, F>(a: Tensor<3>, schedule: Schedule, decompose: F) -> Result<Tensor<2>, SvdError>
where
    W: Default + Send,
    F: Fn(Matrix<'_>, &mut Factors<'_>, &mut W) -> Result<(), SvdError> + Sync,
{
    let (device, [batch, m, n]) = (a.device(), a.dims());
    let k = m.min(n);
    let ([_, s, _], failed) = solve(a, schedule, [0, k, 0], decompose)?;
    let s = Tensor::from_data(TensorData::new(s, [batch, k]), (&device, DType::F32));
    failed.into_iter().next().map_or(Ok(s), Err)
}

/// Runs `decompose` on every finite matrix of `a`, `[batch, m, n]`. Returns `u`, `s` and `vt` of the whole batch, of
/// which each matrix has as many values as `sizes` says, and the errors of the matrices that failed.
fn solve<W, F>(
    a: Tensor<3>,
    schedule: Schedule,
    sizes: [usize; 3],
    decompose: F,
) -> Result<([Vec<f32>; 3], Vec<SvdError>), SvdError>
where
    W: Default + Send,
    F: Fn(Matrix<'_>, &mut Factors<'_>, &mut W) -> Result<(), SvdError> + Sync,
{
    let [batch, m, n] = a.dims();
    let mut factors = sizes.map(|size| vec![0.0; batch * size]);
    // Without a single value there is nothing to decompose, and the factors are empty too.
    if batch * m * n == 0 {
        return Ok((factors, Vec::new()));
    }
    let a = a.try_into_data_as::<f32>()?;
    let a = a.as_slice::<f32>().map_err(TensorReadError::from)?;
    let mut left = factors.each_mut().map(Vec::as_mut_slice);
    let jobs: Vec<(Matrix<'_>, Factors<'_>)> = (a.chunks(m * n).enumerate())
        .map(|(index, values)| {
            let mut of_one = left.iter_mut().zip(sizes).map(|(left, size)| take(left, size));
            let [u, s, vt] = std::array::from_fn(|_| of_one.next().unwrap_or_default());
            (Matrix { index, m, n, values }, Factors { u, s, vt })
        })
        .collect();
    let spare: Mutex<Vec<W>> = Mutex::new(Vec::new());
    let solve = |(matrix, mut factors): (Matrix<'_>, Factors<'_>)| {
        let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = lock().pop().unwrap_or_default();
        let outcome = check_finite(matrix).and_then(|()| decompose(matrix, &mut factors, &mut work));
        lock().push(work);
        match outcome {
            Ok(()) => fix_signs(factors, [m, n]),
            Err(_) => factors.spoil(),
        }
        outcome.err()
    };
    let outcomes: Vec<Option<SvdError>> = match schedule {
        Schedule::AcrossBatch => jobs.into_par_iter().map(solve).collect(),
        Schedule::OneByOne => jobs.into_iter().map(solve).collect(),
    };
    Ok((factors, outcomes.into_iter().flatten().collect()))
}

/// Takes the first `size` values from `left`.
fn take<'a>(left: &mut &'a mut [f32], size: usize) -> &'a mut [f32] {
    let (taken, others) = std::mem::take(left).split_at_mut(size);
    *left = others;
    taken
}

/// Bytes that each matrix of `[m, n]` takes on the host beside the memory that the solver computes in: the caller's
/// matrix and the solver's copy of it, two copies of the factors, and the product of the factors where it is measured.
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

/// The factors of matrices without entries.
#[cfg(feature = "gpu")]
pub(crate) fn empty_factors([batch, m, n]: [usize; 3], device: &Device) -> Svd {
    let k = m.min(n);
    let zeros = |shape| Tensor::zeros(shape, device);
    Svd { u: zeros([batch, m, k]), s: Tensor::zeros([batch, k], device), vt: zeros([batch, k, n]) }
}

/// Makes the factors of the matrices that `failed` NaN. Errors count from the matrix `first` on.
#[cfg(feature = "gpu")]
pub(crate) fn spoil(mut svd: Svd, failed: &[SvdError], first: usize) -> Svd {
    for offset in failed.iter().filter_map(SvdError::index).map(|index| index - first) {
        let matrix = offset..offset + 1;
        svd.u = svd.u.slice_fill([matrix.clone()], f32::NAN);
        svd.s = svd.s.slice_fill([matrix.clone()], f32::NAN);
        svd.vt = svd.vt.slice_fill([matrix], f32::NAN);
    }
    svd
}

/// Decomposes `a`, `[batch, m, n]` and not empty, `at_once` matrices at a time. `attempt` is given a part of the batch and
/// the place of its first matrix. The factors are on the device of `a`.
#[cfg(feature = "gpu")]
pub(crate) fn in_parts(
    a: Tensor<3>,
    at_once: usize,
    attempt: impl Fn(Tensor<3>, usize) -> Result<Attempt, SvdError>,
) -> Result<Attempt, SvdError> {
    let (device, [batch, ..]) = (a.device(), a.dims());
    let a = a.without_autodiff().cast(DType::F32);
    let Attempt { svd: Svd { u, s, vt }, failed, solver } = if batch <= at_once {
        attempt(a, 0)?
    } else {
        let starts = (0..batch).step_by(at_once);
        let parts = starts.map(|first| attempt(a.clone().narrow(0, first, at_once.min(batch - first)), first));
        join(parts.collect::<Result<_, _>>()?)
    };
    // Back on the device of the caller, which may differentiate other things.
    let svd = Svd { u: u.to_device(&device), s: s.to_device(&device), vt: vt.to_device(&device) };
    Ok(Attempt { svd, failed, solver })
}

/// Joins the parts of a batch, of which there is at least one, which were decomposed one after another.
#[cfg(feature = "gpu")]
fn join(mut parts: Vec<Attempt>) -> Attempt {
    let solver = parts[0].solver;
    let failed = parts.iter_mut().flat_map(|part| part.failed.drain(..)).collect();
    let parts: Vec<Svd> = parts.into_iter().map(|part| part.svd).collect();
    let svd = Svd {
        u: Tensor::cat(parts.iter().map(|svd| svd.u.clone()).collect(), 0),
        s: Tensor::cat(parts.iter().map(|svd| svd.s.clone()).collect(), 0),
        vt: Tensor::cat(parts.iter().map(|svd| svd.vt.clone()).collect(), 0),
    };
    Attempt { svd, failed, solver }
}
