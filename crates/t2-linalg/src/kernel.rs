//! The kernels of [`BlockJacobiSvd`](crate::BlockJacobiSvd) and the order they run in. docs/svd.md has the equations.
//!
//! No other part of the crate names a backend of Burn. CubeCL compiles the kernels for CUDA, Vulkan, Metal and DirectX.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use launch::{Call, Operand};
use sweep::Sweeps;

mod cholesky;
#[cfg(feature = "cusolver")]
pub(crate) mod double;
mod first_order;
mod gram;
mod launch;
mod ops;
mod product;
pub(crate) mod reduce;
mod repair;
mod rotate;
mod rounds;
mod rows;
mod seats;
mod small;
mod sweep;
mod tile;
mod turn;

pub(crate) use ops::{block_jacobi, row_norms, true_f32_product};
pub(crate) use product::Form;

/// Units (threads) in every cube (work group): as many as WebGPU guarantees.
pub(crate) const UNITS: usize = 256;

/// The largest entry of a matrix is looked for by so many cubes, each in its own chunk.
pub(crate) const CHUNKS: usize = 64;

/// Rows whose length, over that of the longest, is below this are left out of the Gram matrix.
const NEGLIGIBLE: f32 = 1e-10;

/// A row that has vanished is replaced by noise of this length over `√k`, `k` being the number of rows, and times the
/// length of the longest row: the noise of all rows together stays near the rounding of one row.
const NOISE: f32 = 3e-7;

/// When the kernels stop to sweep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The most sweeps over the triangular factor, and the most over the matrix itself.
    pub(crate) max_sweeps: usize,
    /// The largest cosine between two rows of the triangular factor that counts as orthogonal.
    pub(crate) coarse: f32,
    /// The largest cosine that the last sweep over the triangular factor may find.
    pub(crate) coarse_enough: f32,
    /// The largest cosine that the last sweep over the matrix itself may find, over `fine`.
    pub(crate) fine_enough: f32,
    /// The largest cosine between two vectors of the matrix itself that counts as orthogonal.
    pub(crate) fine: f32,
    /// How many rows there are in a block, or none to choose it by the size and the device.
    pub(crate) block: Option<usize>,
}

/// What the kernels return.
pub(crate) struct Outcome {
    /// The vectors of the longer side, `[matrices, k, max(m, n)]`.
    pub(crate) long: Tensor<3>,
    /// The singular values, `[matrices, k]`.
    pub(crate) sigma: Tensor<2>,
    /// The vectors of the shorter side, `[matrices, k, k]`.
    pub(crate) short: Tensor<3>,
    /// Four numbers for each matrix, `[matrices, STATUS]`: the largest cosine in the last sweep, the number of sweeps,
    /// the largest singular value of the scaled matrix, and what it is multiplied by to undo the scaling, NaN if the
    /// matrix is not finite.
    pub(crate) status: Tensor<2>,
}

/// The most matrices that one call takes: on every GPU the second and third side of a grid of cubes may be this long.
pub(crate) const MAX_MATRICES: usize = 65_535;

/// The most f32 values that are on the device at a time for each matrix of `[m, n]`.
///
/// With the shorter side rounded up to whole pairs of blocks, this is room for seven buffers as large as the matrix
/// (the matrix itself, its scaled copy, the rows that are being turned, the vectors of the longer side that are
/// returned, and what [`quality::loss`](crate::quality::loss) computes in), for eight squares of the shorter side (its
/// vectors, the Gram matrix, the triangular factor and the like), and for the Gram matrices and rotations of one step.
pub(crate) fn values_per_matrix([m, n]: [usize; 2]) -> usize {
    let width = 2 * rotate::BLOCKS[0];
    let (len, count) = (m.max(n), m.min(n).next_multiple_of(width));
    let pairs = count / width;
    let chunks = len.div_ceil(gram::chunk_of(len, pairs));
    count * (7 * len + 8 * count) + pairs * (chunks * gram::triangle(width) + width * width)
}

/// Whether the kernels can be compiled for `device`.
pub(crate) fn runs_on(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Cube(_))
}

/// Whether the kernels can be compiled for `device`, and it is a real GPU rather than one emulated on the CPU.
pub(crate) fn is_hardware(device: &Device) -> bool {
    #[cfg(feature = "wgpu")]
    if device.clone().without_autodiff() == Device::wgpu(burn::tensor::DeviceKind::Cpu) {
        return false;
    }
    runs_on(device)
}

/// How many numbers each matrix has in [`Outcome::status`].
pub(crate) const STATUS: usize = 4;

/// What the kernels return: one value for each field of [`Outcome`], in the same order.
type Four<T> = (T, T, T, T);

/// Finds the bit patterns of the largest magnitudes in [`CHUNKS`] parts of each of the matrices `a`, which have `size`
/// entries: `[matrices, CHUNKS]`.
pub(crate) fn largest_magnitude(a: &CubeTensor, found: &CubeTensor, matrices: usize, size: usize) {
    rows::largest_magnitude::launch(
        &a.client,
        CubeCount::new_2d(CHUNKS as u32, matrices as u32),
        CubeDim::new_1d(UNITS as u32),
        a.clone().into_buffer_arg(),
        found.clone().into_buffer_arg(),
        size,
        CHUNKS,
    );
}

/// One batch on its way through the kernels.
struct Run {
    a: CubeTensor,
    options: Options,
    matrices: usize,
    m: usize,
    n: usize,
    /// How many rows there are in a block.
    block: usize,
    /// The number of vectors of each matrix, `min(m, n)`, each of which is a row.
    used: usize,
    /// The number of rows in a buffer: `used`, rounded up to whole pairs of blocks. The rows from `used` on are zero.
    count: usize,
    /// The length of each vector, `max(m, n)`.
    len: usize,
}

impl Run {
    fn new(a: CubeTensor, [matrices, m, n]: [usize; 3], options: Options) -> Self {
        let (used, len) = (m.min(n), m.max(n));
        let shared_memory = a.client.properties().hardware.max_shared_memory_size;
        let block = options.block.unwrap_or_else(|| rotate::block_of(used, shared_memory));
        assert!(rotate::BLOCKS.contains(&block), "blocks are of {:?} rows, not {block}", rotate::BLOCKS);
        Self { a, options, matrices, m, n, block, used, count: used.next_multiple_of(2 * block), len }
    }

    fn decompose(self) -> Four<CubeTensor> {
        let (scale, unscale) = self.scales();
        let vectors = self.load(&scale);
        let v = self.right_vectors(&vectors);
        let (rows, status) = self.refresh(&vectors, &v);
        self.hand_out(&rows, &unscale, status)
    }

    /// The powers of two that bring the largest entry of each matrix near one, and those that undo it.
    ///
    /// A matrix that is not finite is decomposed as zeros and made NaN at the end.
    fn scales(&self) -> (Vec<f32>, Vec<f32>) {
        let found = self.integers(self.matrices * CHUNKS);
        largest_magnitude(&self.a, &found, self.matrices, self.m * self.n);
        let bytes = self.client().read_one_unchecked(found.handle);
        let largest = u32::from_bytes(&bytes).chunks(CHUNKS).map(|chunk| chunk.iter().copied().max().unwrap_or(0));
        largest.map(|bits| scale_of(f32::from_bits(bits))).unzip()
    }

    /// The vectors of each matrix as rows, scaled, `[matrices, count, len]`: the columns of a tall matrix, the rows of
    /// a wide one.
    fn load(&self, scale: &[f32]) -> CubeTensor {
        let vectors = self.floats(self.matrices * self.count * self.len);
        let (row_step, entry_step) = if self.m >= self.n { (1, self.n) } else { (self.n, 1) };
        self.elementwise(vectors.meta.num_elements(), |cubes, units| {
            rows::load::launch(
                self.client(),
                cubes,
                units,
                self.a.clone().into_buffer_arg(),
                self.upload(scale).into_buffer_arg(),
                vectors.clone().into_buffer_arg(),
                self.m * self.n,
                self.used,
                self.count,
                self.len,
                row_step,
                entry_step,
            );
        });
        vectors
    }

    /// The singular vectors of the shorter side as rows, `[matrices, count, count]`, orthogonal to rounding. They are
    /// those of the triangular factor of the Gram matrix.
    fn right_vectors(&self, vectors: &CubeTensor) -> CubeTensor {
        let count = self.count;
        let square = self.matrices * count * count;
        let (gram, equilibrated, factor) = (self.floats(square), self.floats(square), self.floats(square));
        self.row_product(vectors, self.len, &gram, Call::of(Form::RightTransposed));
        let norm = self.norms(vectors, self.len, self.len);
        let order = self.descending(&norm);

        // Rounding of a sum of `len` squares, with room to spare.
        let shift = 2.0 * f32::EPSILON * (self.used as f32).sqrt();
        self.elementwise(square, |cubes, units| {
            rows::equilibrate::launch(
                self.client(),
                cubes,
                units,
                gram.clone().into_buffer_arg(),
                norm.clone().into_buffer_arg(),
                order.clone().into_buffer_arg(),
                equilibrated.clone().into_buffer_arg(),
                count,
                NEGLIGIBLE,
                shift,
            );
        });
        self.cholesky(&equilibrated, &factor, shift);
        self.elementwise(square, |cubes, units| {
            rows::restore_norms::launch(
                self.client(),
                cubes,
                units,
                factor.clone().into_buffer_arg(),
                norm.clone().into_buffer_arg(),
                order.clone().into_buffer_arg(),
                self.used,
                count,
                NEGLIGIBLE,
            );
        });

        self.sweep_factor(&factor, self.options.coarse, self.options.coarse_enough);
        let factor_norm = self.norms(&factor, count, count);
        let factor_order = self.descending(&factor_norm);
        let v = self.floats(square);
        self.elementwise(square, |cubes, units| {
            rows::unit_rows::launch(
                self.client(),
                cubes,
                units,
                factor.clone().into_buffer_arg(),
                factor_norm.clone().into_buffer_arg(),
                factor_order.clone().into_buffer_arg(),
                order.clone().into_buffer_arg(),
                v.clone().into_buffer_arg(),
                count,
            );
        });
        // Newton-Schulz, V ← (1.5 I − 0.5 V Vᵀ) V: each step squares what is missing.
        let once = self.newton_schulz(&v, &gram, equilibrated);
        let twice = self.newton_schulz(&once, &gram, v);
        self.newton_schulz(&twice, &gram, once)
    }

    fn newton_schulz(&self, v: &CubeTensor, gram: &CubeTensor, out: CubeTensor) -> CubeTensor {
        let count = self.count;
        self.row_product(v, count, gram, Call { scale: -0.5, diagonal: 1.5, ..Call::of(Form::RightTransposed) });
        self.product(
            [
                Operand { buffer: gram, at: 0, row: count, matrix: count * count },
                Operand { buffer: v, at: 0, row: count, matrix: count * count },
                Operand { buffer: &out, at: 0, row: count, matrix: count * count },
            ],
            [count, count, count],
            Call::of(Form::Plain),
        );
        out
    }

    /// Computes `B = V P`, `P` being the `vectors`, puts `V` beside it, and sweeps over both until the rows of `B` are
    /// orthogonal to the last digits. Returns both, `[matrices, count, len + count]`, and the last cosine and the
    /// number of sweeps for each matrix.
    fn refresh(&self, vectors: &CubeTensor, v: &CubeTensor) -> (CubeTensor, Vec<[f32; 2]>) {
        let (count, len, stride) = (self.count, self.len, self.len + self.count);
        let rows = self.floats(self.matrices * count * stride);
        self.place(v, &rows);
        self.product(
            [
                Operand { buffer: v, at: 0, row: count, matrix: count * count },
                Operand { buffer: vectors, at: 0, row: len, matrix: count * len },
                Operand { buffer: &rows, at: 0, row: stride, matrix: count * stride },
            ],
            [count, len, count],
            Call::of(Form::Plain),
        );
        let noise = NOISE / (self.used as f32).sqrt();
        let (tolerance, enough) = (self.options.fine, self.options.fine * self.options.fine_enough);
        let sweeps = Sweeps { rows: &rows, stride, len, tolerance, enough, noise: Some(noise) };
        let status = self.sweep(&sweeps);
        self.straighten(&rows, 2.0 * noise);
        (rows, status)
    }

    /// Makes those rows of `V` orthogonal again whose singular value is nothing but noise: sweeps turn them more often
    /// than others, and each turn rounds.
    ///
    /// It is one Newton step, triangular like that of [`rotate`]. Only rows whose singular value is below `noise` times
    /// the largest change, so the product of the factors does not. Most matrices have no such row.
    fn straighten(&self, rows: &CubeTensor, noise: f32) {
        let (count, len, stride) = (self.count, self.len, self.len + self.count);
        let norm = self.norms(rows, stride, len);
        let bytes = self.client().read_one_unchecked(norm.handle.clone());
        let mut has_noise = false;
        let limit_of = |norms: &[f32]| {
            let limit = noise * norms.iter().copied().fold(0.0, f32::max);
            // Beyond the vectors of the matrix there are `count - used` zeros.
            has_noise |= norms.iter().filter(|norm| **norm < limit).count() > count - self.used;
            limit
        };
        let limits: Vec<f32> = f32::from_bytes(&bytes).chunks(count).map(limit_of).collect();
        if !has_noise {
            return;
        }
        let square = self.matrices * count * count;
        let (gram, correction, v) = (self.floats(square), self.floats(square), self.floats(square));
        let old = Operand { buffer: rows, at: len, row: stride, matrix: count * stride };
        let square_of = |buffer| Operand { buffer, at: 0, row: count, matrix: count * count };
        let form = Call { symmetric: true, ..Call::of(Form::RightTransposed) };
        self.product([old, old, square_of(&gram)], [count, count, count], form);
        self.elementwise(square, |cubes, units| {
            rows::correct_short::launch(
                self.client(),
                cubes,
                units,
                gram.clone().into_buffer_arg(),
                norm.clone().into_buffer_arg(),
                self.upload(&limits).into_buffer_arg(),
                correction.clone().into_buffer_arg(),
                count,
            );
        });
        let sizes = [count, count, count];
        self.product([square_of(&correction), old, square_of(&v)], sizes, Call::of(Form::Plain));
        self.place(&v, rows);
    }

    /// Copies `V`, `[matrices, count, count]`, to the end of the `rows`, `[matrices, count, len + count]`.
    fn place(&self, v: &CubeTensor, rows: &CubeTensor) {
        self.elementwise(v.meta.num_elements(), |cubes, units| {
            rows::place::launch(
                self.client(),
                cubes,
                units,
                v.clone().into_buffer_arg(),
                rows.clone().into_buffer_arg(),
                self.count,
                self.len + self.count,
                self.len,
            );
        });
    }

    /// Makes the factors of the `rows` that sweeps have made orthogonal, the largest singular value first.
    fn hand_out(&self, rows: &CubeTensor, unscale: &[f32], status: Vec<[f32; 2]>) -> Four<CubeTensor> {
        let (matrices, used, len, stride) = (self.matrices, self.used, self.len, self.len + self.count);
        let norm = self.norms(rows, stride, len);
        let order = self.descending(&norm);
        let long = self.tensor(vec![matrices, used, len], DType::F32);
        let sigma = self.tensor(vec![matrices, used], DType::F32);
        let short = self.tensor(vec![matrices, used, used], DType::F32);
        rows::hand_out::launch(
            self.client(),
            CubeCount::new_2d(used as u32, matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            rows.clone().into_buffer_arg(),
            norm.clone().into_buffer_arg(),
            order.into_buffer_arg(),
            self.upload(unscale).into_buffer_arg(),
            long.clone().into_buffer_arg(),
            sigma.clone().into_buffer_arg(),
            short.clone().into_buffer_arg(),
            used,
            self.count,
            stride,
            len,
            self.m >= self.n,
        );
        let bytes = self.client().read_one_unchecked(norm.handle);
        let longest = f32::from_bytes(&bytes).chunks(self.count).map(|norms| norms.iter().copied().fold(0.0, f32::max));
        let status: Vec<f32> = (status.into_iter().zip(longest).zip(unscale))
            .flat_map(|(([cosine, sweeps], longest), unscale)| [cosine, sweeps, longest, *unscale])
            .collect();
        let status = self.upload_as(&status, vec![matrices, STATUS]);
        (long, sigma, short, status)
    }
}

/// The power of two that a magnitude is multiplied by to be in `[1, 4)`, and its inverse; `(0, 0)` for zero and
/// `(0, NaN)` for what is not finite. Neither of the two is ever subnormal, which a GPU may take for zero.
fn scale_of(magnitude: f32) -> (f32, f32) {
    if !magnitude.is_finite() {
        return (0.0, f32::NAN);
    }
    if magnitude < f32::MIN_POSITIVE {
        return (0.0, 0.0);
    }
    let power = f32::from_bits(magnitude.to_bits() & f32::INFINITY.to_bits());
    let unscale = power.min(1.0 / f32::MIN_POSITIVE);
    (1.0 / unscale, unscale)
}
