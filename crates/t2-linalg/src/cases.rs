//! The matrices that every solver is tested on and timed on. A new case is a line in a table.
//!
//! The values are the same on every machine; what is random in them comes from the seed that the caller passes in. To
//! have matrices of a kind in another shape, write `Case { batch, m, n, ..case }`.

use burn::prelude::*;
use burn::tensor::{DType, TensorData};

/// A named batch of matrices.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is special about the matrices, in `snake_case`.
    pub name: &'static str,
    /// Matrices in the batch.
    pub batch: usize,
    /// Rows of each matrix.
    pub m: usize,
    /// Columns of each matrix.
    pub n: usize,
    /// Writes one matrix, row-major `[m, n]`, into the slice, which holds zeros.
    pub fill: fn(&mut [f32], [usize; 2], &mut Random),
}

impl Case {
    const fn new(name: &'static str, [batch, m, n]: [usize; 3], fill: fn(&mut [f32], [usize; 2], &mut Random)) -> Self {
        Self { name, batch, m, n, fill }
    }

    /// The values of the batch, row-major `[batch, m, n]`.
    ///
    /// # Panics
    ///
    /// If the case is one of [`NOT_FINITE`] in a shape that does not reach [`SPOILED_AT`].
    pub fn values(&self, seed: u64) -> Vec<f32> {
        let mut random = Random(seed);
        let mut values = vec![0.0; self.batch * self.m * self.n];
        // Without entries there are no chunks, but their size must not be zero.
        for matrix in values.chunks_mut((self.m * self.n).max(1)) {
            (self.fill)(matrix, [self.m, self.n], &mut random);
        }
        values
    }

    /// The batch as an f32 tensor, `[batch, m, n]`.
    ///
    /// # Panics
    ///
    /// If the case is one of [`NOT_FINITE`] in a shape that does not reach [`SPOILED_AT`].
    pub fn tensor(&self, seed: u64, device: &Device) -> Tensor<3> {
        Tensor::from_data(TensorData::new(self.values(seed), [self.batch, self.m, self.n]), (device, DType::F32))
    }

    /// The shape as benches name it: `64x48`, or `5x64x48` for a batch of five.
    pub fn shape(&self) -> String {
        let Self { batch, m, n, .. } = self;
        if *batch == 1 { format!("{m}x{n}") } else { format!("{batch}x{m}x{n}") }
    }
}

/// Batches that have a decomposition.
pub const FINITE: &[Case] = &[
    Case::new("square", [5, 48, 48], gaussian),
    Case::new("tall", [3, 96, 32], gaussian),
    Case::new("wide", [3, 32, 96], gaussian),
    Case::new("very_tall", [2, 257, 3], gaussian),
    Case::new("odd_33", [3, 33, 33], gaussian),
    Case::new("odd_65x127", [2, 65, 127], gaussian),
    Case::new("odd_127x65", [2, 127, 65], gaussian),
    Case::new("power_law", [2, 96, 64], |a, dims, random| with_spectrum(a, dims, random, |i, _| (i + 1.0).powf(-0.5))),
    Case::new("graded_to_1e-6", [2, 64, 64], |a, dims, random| graded(a, dims, random, 6.0)),
    Case::new("graded_to_1e-3", [2, 65, 65], |a, dims, random| graded(a, dims, random, 3.0)),
    Case::new("graded_to_1e-10", [2, 64, 64], |a, dims, random| graded(a, dims, random, 10.0)),
    Case::new("scaled_rows", [2, 80, 64], |a, [m, n], random| {
        gaussian(a, [m, n], random);
        each_mut(a, n, |i, _, value| value * falling(6.0, i, m as f64));
    }),
    Case::new("scaled_columns", [2, 80, 64], |a, [m, n], random| {
        gaussian(a, [m, n], random);
        each_mut(a, n, |_, j, value| value * falling(6.0, j, n as f64));
    }),
    Case::new("clustered", [2, 64, 64], |a, dims, random| {
        with_spectrum(a, dims, random, |i, k| if i < k / 2.0 { 1.0 } else { 1e-3 });
    }),
    Case::new("all_equal", [2, 64, 64], all_equal),
    Case::new("rank_8", [2, 64, 48], rank_8),
    Case::new("rank_half", [2, 66, 66], |a, dims, random| {
        with_spectrum(a, dims, random, |i, k| if i < k / 2.0 { 1.0 - i / k } else { 0.0 });
    }),
    Case::new("rank_1", [2, 70, 50], rank_1),
    Case::new("zero_columns", [2, 72, 64], |a, [m, n], random| {
        gaussian(a, [m, n], random);
        each_mut(a, n, |_, j, value| if j % 7.0 == 0.0 { 0.0 } else { value });
    }),
    Case::new("zero_rows", [2, 66, 64], |a, [m, n], random| {
        gaussian(a, [m, n], random);
        each_mut(a, n, |i, _, value| if i % 7.0 == 0.0 { 0.0 } else { value });
    }),
    Case::new("zero", [2, 40, 24], |_, _, _| {}),
    Case::new("identity", [1, 40, 40], |a, [_, n], _| a.iter_mut().step_by(n + 1).for_each(|value| *value = 1.0)),
    Case::new("diagonal", [2, 50, 40], |a, [_, n], random| {
        a.iter_mut().step_by(n + 1).take(n).for_each(|value| *value = random.normal() as f32);
    }),
    Case::new("permutation", [1, 45, 45], |a, [_, n], _| {
        a.chunks_mut(n).enumerate().for_each(|(i, row)| row[(7 * i + 3) % n] = 1.0);
    }),
    Case::new("hilbert", [1, 40, 40], hilbert),
    Case::new("kahan", [1, 64, 64], kahan),
    Case::new("one_column", [2, 37, 1], gaussian),
    Case::new("one_row", [2, 1, 37], gaussian),
    Case::new("one_value", [3, 1, 1], gaussian),
    Case::new("duplicated_columns", [2, 48, 32], |a, [m, n], random| {
        gaussian(a, [m, n], random);
        a.chunks_mut(n).for_each(|row| row.copy_within(..n / 2, n / 2));
    }),
    Case::new("scale_1e-30", [2, 48, 48], |a, dims, random| scaled(a, dims, random, 1e-30)),
    Case::new("scale_1e30", [2, 48, 48], |a, dims, random| scaled(a, dims, random, 1e30)),
    Case::new("mixed_scales", [4, 33, 33], |a, dims, random| {
        let exponent = 60.0 * random.uniform() - 30.0;
        scaled(a, dims, random, 10_f64.powf(exponent) as f32);
    }),
];

/// Larger batches, for benches and one test: shapes of real weight matrices, and matrices that go wrong at this size
/// only. [`JacobiSvd`](crate::JacobiSvd) would take too long over them.
pub const LARGE: &[Case] = &[
    Case::new("square_256", [1, 256, 256], gaussian),
    Case::new("batch_of_256", [8, 256, 256], gaussian),
    Case::new("rank_1_of_512", [1, 512, 512], rank_1),
    Case::new("rank_8_of_512", [1, 512, 512], rank_8),
    Case::new("all_equal_512", [1, 512, 512], all_equal),
    Case::new("hadamard_512", [1, 512, 512], |a, [_, n], _| {
        each(a, n, |i, j| 1.0 - 2.0 * f64::from((i as u32 & j as u32).count_ones() % 2));
    }),
    Case::new("hilbert_512", [1, 512, 512], hilbert),
    Case::new("kahan_400", [1, 400, 400], kahan),
    Case::new("tall_512", [2, 512, 64], gaussian),
    Case::new("wide_512", [2, 300, 512], gaussian),
    Case::new("odd_1000", [1, 1000, 1000], gaussian),
    Case::new("square_1024", [1, 1024, 1024], gaussian),
    Case::new("tall_1536x576", [1, 1536, 576], gaussian),
];

/// One singular value and zeros.
fn rank_1(a: &mut [f32], dims: [usize; 2], random: &mut Random) {
    with_spectrum(a, dims, random, |i, _| if i < 1.0 { 1.0 } else { 0.0 });
}

/// Eight equal singular values and zeros.
fn rank_8(a: &mut [f32], dims: [usize; 2], random: &mut Random) {
    with_spectrum(a, dims, random, |i, _| if i < 8.0 { 1.0 } else { 0.0 });
}

/// Batches in which a matrix has no decomposition: every solver must answer with
/// [`SvdError::NotFinite`](crate::SvdError::NotFinite).
pub const NOT_FINITE: &[Case] = &[
    Case::new("nan", [1, 24, 24], |a, dims, random| spoiled(a, dims, random, f32::NAN)),
    Case::new("infinity", [2, 24, 16], |a, dims, random| spoiled(a, dims, random, f32::INFINITY)),
    Case::new("negative_infinity", [2, 16, 24], |a, dims, random| spoiled(a, dims, random, f32::NEG_INFINITY)),
];

/// Where the matrices of [`NOT_FINITE`] are spoiled, as row and column.
pub const SPOILED_AT: [usize; 2] = [7, 11];

/// A small generator (`SplitMix64`, Steele, Lea and Flood 2014), so that a case is the same wherever it runs.
#[derive(Clone, Debug)]
pub struct Random(pub(crate) u64);

impl Random {
    /// Uniform in `(0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * 2_f64.powi(-53) + 2_f64.powi(-54)
    }

    /// Normal with mean zero and variance one (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (core::f64::consts::TAU * self.uniform()).cos()
    }
}

fn gaussian(a: &mut [f32], _: [usize; 2], random: &mut Random) {
    a.iter_mut().for_each(|value| *value = random.normal() as f32);
}

/// Number `i` of a geometric sequence of `count` numbers from one down to `10^-decades`.
fn falling(decades: f64, i: f64, count: f64) -> f64 {
    10_f64.powf(-decades * i / (count - 1.0).max(1.0))
}

/// Singular values in a geometric sequence from one down to `10^-decades`.
fn graded(a: &mut [f32], dims: [usize; 2], random: &mut Random, decades: f64) {
    with_spectrum(a, dims, random, |i, k| falling(decades, i, k));
}

fn scaled(a: &mut [f32], dims: [usize; 2], random: &mut Random, scale: f32) {
    gaussian(a, dims, random);
    a.iter_mut().for_each(|value| *value *= scale);
}

fn spoiled(a: &mut [f32], [m, n]: [usize; 2], random: &mut Random, value: f32) {
    gaussian(a, [m, n], random);
    let [row, column] = SPOILED_AT;
    assert!(m > row && n > column, "a matrix of {m} x {n} has no entry at {row}, {column} to spoil");
    a[row * n + column] = value;
}

/// Every singular value is one.
fn all_equal(a: &mut [f32], dims: [usize; 2], random: &mut Random) {
    with_spectrum(a, dims, random, |_, _| 1.0);
}

/// Hilbert's matrix, whose singular values fall off until they are below rounding.
fn hilbert(a: &mut [f32], [_, n]: [usize; 2], _: &mut Random) {
    each(a, n, |i, j| 1.0 / (i + j + 1.0));
}

/// Kahan's triangle (1966), whose small singular values hide from QR: `diag(1, σ, σ², …)` times ones on the diagonal
/// and `−cos θ` above it, with `σ = sin θ` and `θ = 1.2`.
fn kahan(a: &mut [f32], [_, n]: [usize; 2], _: &mut Random) {
    let (sine, cosine) = 1.2_f64.sin_cos();
    each(a, n, |i, j| {
        let above = if j > i { -cosine } else { 0.0 };
        sine.powf(i) * if i == j { 1.0 } else { above }
    });
}

/// Writes `entry(row, column)` everywhere.
fn each(a: &mut [f32], n: usize, entry: impl Fn(f64, f64) -> f64) {
    for (i, row) in a.chunks_mut(n).enumerate() {
        row.iter_mut().enumerate().for_each(|(j, value)| *value = entry(i as f64, j as f64) as f32);
    }
}

/// Replaces every value by `entry(row, column, value)`.
fn each_mut(a: &mut [f32], n: usize, entry: impl Fn(f64, f64, f64) -> f64) {
    for (i, row) in a.chunks_mut(n).enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            *value = entry(i as f64, j as f64, f64::from(*value)) as f32;
        }
    }
}

/// A dense matrix with the singular values `sigma(i, k)`, `i < k = min(m, n)`, rounded to f32 at the end.
fn with_spectrum(a: &mut [f32], [m, n]: [usize; 2], random: &mut Random, sigma: impl Fn(f64, f64) -> f64) {
    let k = m.min(n);
    let mut rows = vec![vec![0.0_f64; n]; m];
    (0..k).for_each(|i| rows[i][i] = sigma(i as f64, k as f64));
    // Reflections on both sides keep the singular values; the second of each pair leaves no structure.
    for _ in 0..2 {
        let mirror: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        rows.iter_mut().for_each(|row| reflect(row, &mirror));
    }
    for _ in 0..2 {
        let mirror: Vec<f64> = (0..m).map(|_| random.normal()).collect();
        for j in 0..n {
            let mut column: Vec<f64> = rows.iter().map(|row| row[j]).collect();
            reflect(&mut column, &mirror);
            rows.iter_mut().zip(column).for_each(|(row, value)| row[j] = value);
        }
    }
    a.iter_mut().zip(rows.concat()).for_each(|(value, exact)| *value = exact as f32);
}

/// Householder: `x − 2 h (h·x) / (h·h)`.
fn reflect(x: &mut [f64], mirror: &[f64]) {
    let dot = |y: &[f64]| y.iter().zip(mirror).map(|(y, h)| y * h).sum::<f64>();
    let factor = 2.0 * dot(x) / dot(mirror);
    x.iter_mut().zip(mirror).for_each(|(x, h)| *x -= factor * h);
}
