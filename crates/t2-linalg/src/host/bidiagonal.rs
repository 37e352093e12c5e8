//! The decomposition in f32: bidiagonalization, then divide and conquer, both as faer implements them, and a check of
//! what comes out.

use faer::diag::DiagMut;
use faer::dyn_stack::StackReq;
use faer::linalg::svd::{ComputeSvdVectors, SvdParams, svd, svd_scratch};
use faer::{Auto, MatMut, MatRef, Par};

use super::tall::{Scratch, Tall};
use crate::batch::Factors;
use crate::cases::Random;

/// The size of a bidiagonal matrix from which it is divided and conquered rather than solved by QR iteration.
///
/// QR iteration turns every column of `U` and `V` some `2 n` times, and in f32 the roundings add up. From faer's 128
/// down to 4, the largest error of a singular value of random matrices from 33 to 1024 falls from 12e-6 to 0.3e-6 of
/// the largest one, and the time stays within noise.
const SMALLEST_DIVIDED: usize = 4;

/// The memory that [`attempt`] computes in, all column-major.
#[derive(Default)]
pub(super) struct Workspace {
    /// `X` with rows of zeros, `[padded, k]`.
    x: Vec<f32>,
    /// The singular vectors of the longer side of `X`, `[padded, k]`.
    long: Vec<f32>,
    /// The singular vectors of the shorter side of `X`, `[k, k]`.
    short: Vec<f32>,
    scratch: Scratch,
}

/// The size of a [`Workspace`] for an `X` of `[rows, k]`, in bytes.
pub(super) fn bytes([rows, k]: [usize; 2], par: Par) -> usize {
    let padded = padded(rows);
    let checked = size_of::<Pair>() * (2 * k + padded);
    size_of::<f32>() * (2 * padded * k + k * k) + checked + scratch([padded, k], par).size_bytes()
}

fn scratch([rows, k]: [usize; 2], par: Par) -> StackReq {
    svd_scratch::<f32>(rows, k, ComputeSvdVectors::Thin, ComputeSvdVectors::Thin, par, params().into())
}

fn params() -> SvdParams {
    SvdParams { recursion_threshold: SMALLEST_DIVIDED, ..<SvdParams as Auto<f32>>::auto() }
}

/// Decomposes `x`, and returns whether the factors are as good as f32 allows. If they are not, `factors` holds nothing
/// that may be used.
pub(super) fn attempt(x: Tall<'_>, factors: &mut Factors<'_>, work: &mut Workspace, par: Par) -> bool {
    let Tall { rows, k, .. } = x;
    let padded = padded(rows);
    // Padding is never written to, so it stays zero.
    work.x.resize(padded * k, 0.0);
    work.long.resize(padded * k, 0.0);
    work.short.resize(k * k, 0.0);
    x.load(&mut work.x, padded);
    let outcome = svd(
        MatRef::from_column_major_slice(&work.x, padded, k),
        DiagMut::from_slice_mut(factors.s),
        Some(MatMut::from_column_major_slice_mut(&mut work.long, padded, k)),
        Some(MatMut::from_column_major_slice_mut(&mut work.short, k, k)),
        par,
        work.scratch.stack(scratch([padded, k], par)),
        params().into(),
    );
    if outcome.is_err() || !is_sound(x, factors.s, work) {
        return false;
    }
    x.store_long((&work.long, padded), 0, factors, |value| value);
    x.store_short(&work.short, factors, |value| value);
    true
}

/// f32 is trusted only if the largest entry of the matrix, over the largest singular value and times `√k`, is at most
/// this. For Gaussian matrices that number is 2.5.
///
/// Each of `2 k` reflections adds to every entry, and what it adds to a large one is mostly rounded away: of a matrix
/// with a dominant diagonal, singular values that are far apart were 1.6e-6 of the largest off.
const LARGEST_ENTRY: f64 = 4.0;

/// Neighbouring singular values count as equal if their difference, over the largest of all, is at most this.
///
/// If rounding adds `E` to the matrix, a singular value moves by `uᵀ E v`. One of many that are equal, or zero, moves
/// by up to `‖E‖₂`, which is 6e-6 of the largest for matrices of 1024.
const CLOSE: f32 = 1e-6;

/// f32 is trusted only if at most one singular value in so many is equal to the next. On the space of so few vectors
/// `‖E‖₂`, as in [`CLOSE`], is estimated to be 5e-7.
const FEW: usize = 100;

/// Whether the decomposition in `work` is as good as that of a Gaussian matrix would be.
///
/// Divide and conquer in faer fails on some matrices whose singular values fall off at once: of Hilbert's of 512, `s`
/// was found to 5e-6 and the matrix to 3e-3. So the residual is estimated: for two vectors `z` of signs, the mean of
/// `‖(X − U diag(s) Vᵀ) z‖²` is that of `‖X − U diag(s) Vᵀ‖²`. It must be below `ε √k ‖X‖`; Gaussian matrices have 0.7
/// of that.
fn is_sound(x: Tall<'_>, s: &[f32], work: &Workspace) -> bool {
    let (k, padded) = (s.len(), work.x.len() / s.len());
    let root = (k as f64).sqrt();
    let mut random = Random(2501);
    let mut sign = || if random.uniform() < 0.5 { -1.0 } else { 1.0 };
    let z: Vec<Pair> = (0..k).map(|_| [sign(), sign()]).collect();
    let along = |(v, s): (&[f32], &f32)| dots(v, &z).map(|along| -f64::from(*s) * along);
    let turned: Vec<Pair> = work.short.chunks(k).zip(s).map(along).collect();
    let mut difference = vec![[0.0; 2]; padded];
    for (columns, weights) in [(&work.x, &z), (&work.long, &turned)] {
        for (column, weight) in columns.chunks(padded).zip(weights) {
            add_scaled(&mut difference, column, *weight);
        }
    }
    let error: f64 = difference.iter().flatten().map(|value| value * value).sum();
    let size: f64 = s.iter().map(|s| f64::from(*s).powi(2)).sum();
    let is_flat = f64::from(x.largest) / x.unit * root <= LARGEST_ENTRY * f64::from(s[0]);
    let close = s.windows(2).filter(|pair| pair[0] - pair[1] <= CLOSE * s[0]).count();
    is_flat && close * FEW <= k && (error / 2.0).sqrt() <= f64::from(f32::EPSILON) * root * size.sqrt()
}

/// An entry of each of two vectors, which are multiplied by the same matrix: it is read once for both.
type Pair = [f64; 2];

/// The dot products of `x` with both vectors, added up in lanes that do not wait for each other.
fn dots(x: &[f32], z: &[Pair]) -> Pair {
    const LANES: usize = 4;
    let mut sums = [[0.0; 2]; LANES];
    for (x, z) in x.chunks(LANES).zip(z.chunks(LANES)) {
        for ((sum, x), z) in sums.iter_mut().zip(x).zip(z) {
            *sum = [sum[0] + f64::from(*x) * z[0], sum[1] + f64::from(*x) * z[1]];
        }
    }
    sums.iter().fold([0.0; 2], |total, sum| [total[0] + sum[0], total[1] + sum[1]])
}

/// Adds `x` to both vectors `y`, times one weight each.
fn add_scaled(y: &mut [Pair], x: &[f32], weight: Pair) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = [y[0] + weight[0] * f64::from(*x), y[1] + weight[1] * f64::from(*x)];
    }
}

/// The number of rows that a matrix of `rows` rows gets before it is decomposed, the added ones of zeros.
///
/// Bidiagonalization walks along the rows of a column-major matrix. Where columns begin a multiple of 2 KiB apart, the
/// values of a row share a few sets of the caches and drive each other out, so these columns get a cache line more.
/// Zero rows leave `S` and `V` as they are and add zero rows to `U`. Measured on an AMD Zen 5: 0.73 of the time at
/// 2048, 0.82 at 1024, 0.9 at 512, 1536 and 3072; without effect at 768, 896 and 1280.
fn padded(rows: usize) -> usize {
    const CONFLICT: usize = 2048 / size_of::<f32>();
    const CACHE_LINE: usize = 64 / size_of::<f32>();
    if rows.is_multiple_of(CONFLICT) { rows + CACHE_LINE } else { rows }
}
