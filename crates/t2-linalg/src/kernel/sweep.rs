//! Sweeps over all pairs of rows until they are orthogonal.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{Run, UNITS, gram, rotate, rows, small, turn};

/// A row has vanished when its length is below this times that of the noise that would replace it. It must be this
/// small because noise gets shorter when it is made orthogonal to other noise: in a space of `d` dimensions, `d` rows
/// of noise get shorter by a factor of up to `d`.
const VANISHED: f32 = 1.0 / 16384.0;

/// In so many sweeps at the beginning, a row has vanished already when its length is below this times that of the
/// noise. What sweeps leave of most rows of a matrix of low rank is rounding; such rows depend on each other, and would
/// vanish one by one.
const EARLY: (usize, f32) = (3, 0.25);

/// After so many sweeps every row that is no longer than noise is replaced, once. Rounding can have any singular values,
/// and where those fall over many magnitudes, as with Kahan's matrix, its rows go on getting shorter sweep after sweep.
/// Noise does not. Most matrices need fewer sweeps.
const LATE: usize = 12;

/// The length below which a row has vanished, over that of the noise, before the sweep `sweep`.
fn vanished(sweep: usize) -> f32 {
    match sweep {
        LATE => 1.0,
        early if early < EARLY.0 => EARLY.1,
        _ => VANISHED,
    }
}

/// Rows that sweeps make orthogonal.
pub(super) struct Sweeps<'a> {
    pub(super) rows: &'a CubeTensor,
    /// The distance from one row to the next, in entries.
    pub(super) stride: usize,
    /// The rows are to be orthogonal in so many of their entries; the entries that follow are turned along.
    pub(super) len: usize,
    /// The largest cosine that counts as orthogonal.
    pub(super) tolerance: f32,
    /// The last sweep is the one that finds no larger cosine than this. It makes all rows orthogonal that are not, and
    /// the cosines that are left after it are about the squares of those it found.
    pub(super) enough: f32,
    /// The length of the noise that replaces rows that have vanished, over the longest row. With `None` no row is
    /// replaced.
    pub(super) noise: Option<f32>,
}

impl Run {
    /// Sweeps over the triangular factors, `[matrices, count, count]`, until a sweep finds no larger cosine than
    /// `enough`.
    #[expect(unsafe_code, reason = "in a checked launch every loop on WebGPU counts its rounds")]
    pub(super) fn sweep_factor(&self, factor: &CubeTensor, tolerance: f32, enough: f32) {
        let shared_memory = self.client().properties().hardware.max_shared_memory_size;
        let Some(capacity) = small::capacity(self.used, shared_memory) else {
            let (rows, count) = (factor, self.count);
            self.sweep(&Sweeps { rows, stride: count, len: count, tolerance, enough, noise: None });
            return;
        };
        // SAFETY: the kernel reads and writes the first `used` rows and columns of each factor of `[count, count]`.
        unsafe {
            small::sweep_all::launch_unchecked(
                self.client(),
                CubeCount::new_1d(self.matrices as u32),
                CubeDim::new_1d(UNITS as u32),
                factor.clone().into_buffer_arg(),
                self.used,
                self.count,
                self.options.max_sweeps,
                tolerance,
                enough,
                capacity,
            );
        }
    }

    /// Sweeps until the rows of every matrix are orthogonal. Returns, for each matrix, the largest cosine in its last
    /// sweep and the number of its sweeps.
    pub(super) fn sweep(&self, sweeps: &Sweeps<'_>) -> Vec<[f32; 2]> {
        let (matrices, block) = (self.matrices, self.block);
        let (steps, pairs) = (self.count / block - 1, self.count / block / 2);
        let chunks = sweeps.len.div_ceil(gram::chunk_of(sweeps.len, pairs));
        let grams = self.floats(matrices * pairs * chunks * gram::triangle(2 * block));
        let rotation = self.floats(matrices * pairs * 4 * block * block);
        let active = self.integers(matrices * pairs);
        let cosines = self.floats(matrices * steps * pairs);
        let largest = self.floats(matrices);
        let mut status = vec![[f32::INFINITY, 0.0]; matrices];
        for sweep in 0..self.options.max_sweeps {
            let done: Vec<u32> = status.iter().map(|[cosine, _]| u32::from(*cosine <= sweeps.enough)).collect();
            if !done.contains(&0) {
                break;
            }
            let is_done = self.upload(&done);
            if let Some(noise) = sweeps.noise {
                self.replace_vanished(sweeps, &is_done, noise, sweep);
            }
            let scratch = [&grams, &rotation, &cosines, &active, &is_done];
            (0..steps).for_each(|step| self.step(sweeps, step, scratch));
            rotate::sweep_cosine::launch(
                self.client(),
                CubeCount::new_1d(matrices as u32),
                CubeDim::new_1d(UNITS as u32),
                cosines.clone().into_buffer_arg(),
                largest.clone().into_buffer_arg(),
                steps * pairs,
            );
            let bytes = self.client().read_one_unchecked(largest.handle.clone());
            for ((status, found), done) in status.iter_mut().zip(f32::from_bytes(&bytes)).zip(done) {
                if done == 0 {
                    *status = [*found, status[1] + 1.0];
                }
            }
        }
        status
    }

    /// Makes the rows of disjoint pairs of blocks orthogonal. The last argument is memory for the Gram matrices of each
    /// pair, its rotation, its largest cosine, and whether it is turned, and a flag for each matrix that needs no more
    /// sweeps.
    #[expect(unsafe_code, reason = "in a checked launch every loop on WebGPU counts its rounds")]
    fn step(&self, sweeps: &Sweeps<'_>, step: usize, [grams, rotation, cosines, active, done]: [&CubeTensor; 5]) {
        let (matrices, pairs) = (self.matrices as u32, (self.count / self.block / 2) as u32);
        let chunk = gram::chunk_of(sweeps.len, pairs as usize);
        let chunks = sweeps.len.div_ceil(chunk);
        // SAFETY: there are as many pairs as the blocks of `count` rows make, entries from `len` and `stride` on are left out,
        // and the other buffers are as large as `sweep` makes them, by the same numbers.
        unsafe {
            gram::gram::launch_unchecked(
                self.client(),
                CubeCount::new_3d(chunks as u32, pairs, matrices),
                CubeDim::new_1d(UNITS as u32),
                sweeps.rows.clone().into_buffer_arg(),
                grams.clone().into_buffer_arg(),
                done.clone().into_buffer_arg(),
                self.count,
                sweeps.stride,
                sweeps.len,
                step,
                chunk,
                self.block,
            );
            rotate::rotations::launch_unchecked(
                self.client(),
                CubeCount::new_2d(pairs, matrices),
                CubeDim::new_1d(UNITS as u32),
                grams.clone().into_buffer_arg(),
                rotation.clone().into_buffer_arg(),
                cosines.clone().into_buffer_arg(),
                active.clone().into_buffer_arg(),
                done.clone().into_buffer_arg(),
                self.count,
                chunks,
                step,
                sweeps.tolerance,
                self.block,
            );
            turn::turn::launch_unchecked(
                self.client(),
                CubeCount::new_3d(
                    sweeps.stride.div_ceil(turn::tile_of(2 * self.block).columns()) as u32,
                    pairs,
                    matrices,
                ),
                CubeDim::new_1d(UNITS as u32),
                sweeps.rows.clone().into_buffer_arg(),
                rotation.clone().into_buffer_arg(),
                active.clone().into_buffer_arg(),
                self.count,
                sweeps.stride,
                step,
                self.block,
            );
        }
    }

    fn replace_vanished(&self, sweeps: &Sweeps<'_>, done: &CubeTensor, noise: f32, sweep: usize) {
        let &Sweeps { rows, stride, len, .. } = sweeps;
        let norm = self.norms(rows, stride, len);
        rows::replace_vanished::launch(
            self.client(),
            CubeCount::new_2d(self.count as u32, self.matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            rows.clone().into_buffer_arg(),
            norm.into_buffer_arg(),
            done.clone().into_buffer_arg(),
            self.count,
            stride,
            len,
            vanished(sweep) * noise,
            noise,
            sweep as u32,
        );
    }
}
