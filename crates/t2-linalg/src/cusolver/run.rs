//! One batch on its way through cuSOLVER.

use std::time::Instant;

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;
use cubecl::bytes::Bytes;
use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl_cuda::CudaRuntime;
use cubecl_runtime::runtime::Runtime;

use super::CusolverError;
use super::library::{Address, Columns, Eigen, Library, Taken};
use crate::kernel::{CHUNKS, UNITS, double, largest_magnitude};

/// If the product of two singular values, over the square of the largest, is below this, their columns of `W` are not
/// orthogonal enough: it is `ε₆₄` over the rounding of f32, with room for the rounding of sums.
const ILL_CONDITIONED: f64 = 1e-7;

/// Down to this product of the two smallest singular values, over the square of the largest, columns of `W` are near enough
/// to orthogonal for Newton steps to make them so: their scalar products are at most some hundredths.
const WITHIN_NEWTON: f64 = 1e-14;

/// What cuSOLVER makes of a batch: one value for each factor, and what the host needs to know.
pub(super) struct Found {
    /// The vectors of the longer side, `[matrices, k, max(m, n)]`.
    pub(super) long: CubeTensor,
    /// The singular values, `[matrices, k]`.
    pub(super) sigma: CubeTensor,
    /// The vectors of the shorter side, `[matrices, k, k]`.
    pub(super) short: CubeTensor,
    /// The largest singular value of each matrix; NaN if the matrix is not finite.
    pub(super) largest: Vec<f64>,
}

/// One batch of matrices, `[matrices, m, n]`.
pub(super) struct Run<'a> {
    pub(super) library: &'a Library,
    eigen: Eigen,
    a: CubeTensor,
    matrices: usize,
    m: usize,
    n: usize,
    /// `min(m, n)`.
    pub(super) k: usize,
    /// `max(m, n)`.
    pub(super) len: usize,
}

/// Rows that have been computed and are to be handed out, all of them in f64.
pub(super) struct Rows {
    /// `W`, `[matrices, k, len]`: columns, as cuSOLVER calls them.
    pub(super) w: CubeTensor,
    /// `V`, `[matrices, k, k]`.
    v: CubeTensor,
    /// The lengths of the rows of `W`, `[matrices, k]`, ascending but for rounding.
    pub(super) norm: CubeTensor,
    /// What the rows of `W` are divided by to be of length one.
    pub(super) divisor: CubeTensor,
}

impl<'a> Run<'a> {
    /// A batch `a`, `[matrices, m, n]`, f32, contiguous and not empty.
    pub(super) fn new(library: &'a Library, wanted: Eigen, a: CubeTensor) -> Self {
        let [matrices, m, n] = a.meta.shape().dims();
        let eigen = library.eigen(wanted);
        Self { library, eigen, a, matrices, m, n, k: m.min(n), len: m.max(n) }
    }

    pub(super) fn decompose(self) -> Result<Found, CusolverError> {
        let start = Instant::now();
        let (rows, states) = self.vectors()?;
        let vectors = start.elapsed();
        self.make_orthogonal(&rows, &states)?;
        let orthogonal = start.elapsed() - vectors;
        tracing::debug!(self.matrices, self.m, self.n, ?vectors, ?orthogonal, "cuSOLVER");
        Ok(self.hand_out(&rows, states.into_iter().map(|state| state.largest).collect()))
    }

    /// The bit patterns of the largest magnitudes in the parts of each matrix.
    fn magnitudes(&self) -> CubeTensor {
        let found = self.tensor(&[self.matrices, CHUNKS], DType::U32);
        largest_magnitude(&self.a, &found, self.matrices, self.m * self.n);
        found
    }

    /// `XᵀX = V Λ Vᵀ` and `W = X V`, `X` having the longer side as rows.
    fn vectors(&self) -> Result<(Rows, Vec<State>), CusolverError> {
        let &Self { matrices, m, n, k, len, .. } = self;
        let magnitudes = self.magnitudes();
        let x = self.doubles(&[matrices, m * n]);
        self.elementwise(matrices * m * n, |cubes, units| {
            double::widen::launch(
                self.client(),
                cubes,
                units,
                self.a.clone().into_buffer_arg(),
                magnitudes.clone().into_buffer_arg(),
                x.clone().into_buffer_arg(),
                m * n,
                CHUNKS,
            );
        });
        let (v, w) = (self.doubles(&[matrices, k, k]), self.doubles(&[matrices, k, len]));
        let info = self.tensor(&[matrices], DType::U32);
        self.multiply_and_solve([&x, &v, &w, &info])?;

        let (norm, divisor) = (self.doubles(&[matrices, k]), self.doubles(&[matrices, k]));
        double::norms::launch(
            self.client(),
            CubeCount::new_2d(k as u32, matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            w.clone().into_buffer_arg(),
            norm.clone().into_buffer_arg(),
            divisor.clone().into_buffer_arg(),
            k,
            len,
        );
        let [norms, info, magnitudes] = self.read([&norm, &info, &magnitudes])?;
        if let Some(matrix) = u32::from_bytes(&info).iter().position(|info| *info != 0) {
            return Err(CusolverError::NotConverged { matrix });
        }
        let magnitudes = u32::from_bytes(&magnitudes).chunks(CHUNKS);
        let states = f64::from_bytes(&norms).chunks(k).zip(magnitudes).map(|(norms, bits)| State::of(norms, bits));
        Ok((Rows { w, v, norm, divisor }, states.collect()))
    }

    /// What the libraries have to do: from `x`, the matrices in f64, the eigenvectors `v`, in ascending order of the
    /// eigenvalues, the products `w`, and in `info` what became of each matrix.
    fn multiply_and_solve(&self, [x, v, w, info]: [&CubeTensor; 4]) -> Result<(), CusolverError> {
        let &Self { library, eigen, matrices, m, n, k, len, .. } = self;
        let mut space = library.eigen_workspace(eigen, matrices, k)?;
        let values = self.doubles(&[matrices, k]);
        let work = self.doubles(&[space.on_device.div_ceil(size_of::<f64>()).max(1)]);
        // In memory a row-major matrix is the column-major transpose: `X` itself if it is wide, `Xᵀ` if it is tall.
        let x = Columns { at: self.address(x)?, column: n, matrix: m * n };
        let (as_is, transposed) =
            if m < n { (Taken::AsItIs, Taken::Transposed) } else { (Taken::Transposed, Taken::AsItIs) };
        let of_v = Columns { at: self.address(v)?, column: k, matrix: k * k };
        let of_w = Columns { at: self.address(w)?, column: len, matrix: k * len };
        let addresses = [of_v.at, self.address(&values)?, self.address(info)?];
        let work = self.address(&work)?;
        self.finish()?;
        library.run(|| {
            library.product(matrices, [k, k, len], [(x, transposed), (x, as_is)], of_v)?;
            library.eigenvectors(eigen, [matrices, k], addresses, (work, &mut space))?;
            library.product(matrices, [len, k, k], [(x, as_is), (of_v, Taken::AsItIs)], of_w)
        })
    }

    /// Makes rows of `W` orthogonal that rounding of the Gram matrix has left too far from it: those of short vectors.
    fn make_orthogonal(&self, rows: &Rows, states: &[State]) -> Result<(), CusolverError> {
        let with = |is: fn(&State) -> bool| (0..).zip(states).filter(move |(_, state)| is(state)).map(|(at, _)| at);
        let mut without_digits: Vec<u32> = with(|state| state.needs_qr).collect();
        let chosen: Vec<u32> = with(|state| state.short > 0).collect();
        let some = states.iter().map(|state| state.short).max().unwrap_or(0);
        if some > 0 {
            without_digits.extend(self.newton(rows, &chosen, some)?);
        }
        without_digits.into_iter().try_for_each(|matrix| self.triangular(rows, matrix as usize))
    }

    /// Replaces the rows of one matrix by the columns of the `Q` of `W = Q R`, the longest first, and their lengths by the
    /// diagonal of `R`: whatever the rank, the columns of `Q` are orthogonal.
    fn triangular(&self, rows: &Rows, matrix: usize) -> Result<(), CusolverError> {
        let &Self { library, k, len, .. } = self;
        let order = self.descending(&rows.norm);
        let w = self.in_order(&rows.w, &order, [matrix, len]);
        self.put_matrix_back(&self.in_order(&rows.v, &order, [matrix, k]), &rows.v, matrix);
        let size = library.qr_workspace(len, k)?;
        let (coefficients, work) = (self.doubles(&[k]), self.doubles(&[size.max(1)]));
        let info = self.tensor(&[1], DType::U32);
        let addresses = [self.address(&w)?, self.address(&coefficients)?, self.address(&info)?];
        let work = (self.address(&work)?, size);
        self.finish()?;
        library.run(|| library.qr([len, k], addresses, work))?;
        self.elementwise(k, |cubes, units| {
            double::lengths_of_factor::launch(
                self.client(),
                cubes,
                units,
                w.clone().into_buffer_arg(),
                rows.norm.clone().into_buffer_arg(),
                rows.divisor.clone().into_buffer_arg(),
                matrix,
                k,
                len,
            );
        });
        self.finish()?;
        library.run(|| library.q([len, k], addresses, work))?;
        self.put_matrix_back(&w, &rows.w, matrix);
        Ok(())
    }

    /// The rows of one matrix of `rows`, `[matrices, k, len]`, in the given order: `[k, len]`.
    fn in_order(&self, rows: &CubeTensor, order: &CubeTensor, [matrix, len]: [usize; 2]) -> CubeTensor {
        let sorted = self.doubles(&[self.k, len]);
        self.elementwise(self.k * len, |cubes, units| {
            let (rows, order) = (rows.clone().into_buffer_arg(), order.clone().into_buffer_arg());
            let out = sorted.clone().into_buffer_arg();
            double::in_order::launch(self.client(), cubes, units, rows, order, out, matrix, self.k, len);
        });
        sorted
    }

    fn put_matrix_back(&self, from: &CubeTensor, rows: &CubeTensor, matrix: usize) {
        self.elementwise(from.meta.num_elements(), |cubes, units| {
            let (from, rows) = (from.clone().into_buffer_arg(), rows.clone().into_buffer_arg());
            double::put_matrix_back::launch(self.client(), cubes, units, from, rows, matrix);
        });
    }

    fn descending(&self, norm: &CubeTensor) -> CubeTensor {
        let order = self.tensor(&[self.matrices, self.k], DType::U32);
        self.elementwise(self.matrices * self.k, |cubes, units| {
            let (norm, order) = (norm.clone().into_buffer_arg(), order.clone().into_buffer_arg());
            double::descending::launch(self.client(), cubes, units, norm, order, self.k);
        });
        order
    }

    fn hand_out(&self, rows: &Rows, largest: Vec<f64>) -> Found {
        let &Self { matrices, k, len, .. } = self;
        let order = self.descending(&rows.norm);
        let long = self.tensor(&[matrices, k, len], DType::F32);
        let sigma = self.tensor(&[matrices, k], DType::F32);
        let short = self.tensor(&[matrices, k, k], DType::F32);
        double::hand_out::launch(
            self.client(),
            CubeCount::new_2d(k as u32, matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            rows.w.clone().into_buffer_arg(),
            rows.v.clone().into_buffer_arg(),
            rows.norm.clone().into_buffer_arg(),
            rows.divisor.clone().into_buffer_arg(),
            order.into_buffer_arg(),
            long.clone().into_buffer_arg(),
            sigma.clone().into_buffer_arg(),
            short.clone().into_buffer_arg(),
            k,
            len,
            self.m >= self.n,
        );
        Found { long, sigma, short, largest }
    }

    /// Waits for the kernels of this crate, which are on another stream than the libraries.
    pub(super) fn finish(&self) -> Result<(), CusolverError> {
        cubecl::future::block_on(self.client().sync()).map_err(|error| CusolverError::Device(format!("{error:?}")))
    }

    pub(super) fn address(&self, buffer: &CubeTensor) -> Result<Address, CusolverError> {
        let found = self.client().get_resource::<<CudaRuntime as Runtime>::Server>(buffer.handle.clone());
        let found = found.map_err(|error| CusolverError::Device(format!("{error:?}")))?;
        Ok(found.resource().ptr)
    }

    /// Reads buffers once the kernels of this crate that were launched before have written them.
    pub(super) fn read<const N: usize>(&self, buffers: [&CubeTensor; N]) -> Result<[Bytes; N], CusolverError> {
        let read = self.client().read(buffers.map(|buffer| buffer.handle.clone()).into());
        let bytes = read.map_err(|error| CusolverError::Device(format!("{error:?}")))?;
        bytes.try_into().map_err(|_| CusolverError::Device("a buffer was not read".into()))
    }

    pub(super) fn elementwise(&self, elements: usize, launch: impl FnOnce(CubeCount, CubeDim)) {
        let units = CubeDim::new_1d(UNITS as u32);
        launch(cubecl::calculate_cube_count_elemwise(self.client(), elements, units), units);
    }

    pub(super) fn doubles(&self, shape: &[usize]) -> CubeTensor {
        self.tensor(shape, DType::F64)
    }

    fn tensor(&self, shape: &[usize], dtype: DType) -> CubeTensor {
        let shape = Shape::from(shape.to_vec());
        let handle = self.client().empty(shape.num_elements() * dtype.size());
        CubeTensor::new_contiguous(self.client().clone(), self.a.device.clone(), shape, handle, dtype)
    }

    pub(super) fn upload(&self, data: &[u32]) -> CubeTensor {
        let handle = self.client().create_from_slice(u32::as_bytes(data));
        let shape = Shape::from(vec![data.len()]);
        CubeTensor::new_contiguous(self.client().clone(), self.a.device.clone(), shape, handle, DType::U32)
    }

    pub(super) fn client(&self) -> &Client {
        &self.a.client
    }
}

/// What the lengths of its columns of `W` say of a matrix.
struct State {
    /// The longest, NaN if the matrix is not finite.
    largest: f64,
    /// How many of the first columns, the shortest, may not be orthogonal and can be made so by Newton steps.
    short: usize,
    /// Whether columns are so short that only a triangular factorization tells them apart.
    needs_qr: bool,
}

impl State {
    /// The lengths are ascending, but for rounding. `magnitudes` are the bit patterns of the largest in each part of the
    /// matrix.
    fn of(norms: &[f64], magnitudes: &[u32]) -> Self {
        let (mut smallest, mut second, mut largest) = (f64::INFINITY, f64::INFINITY, 0.0);
        for &norm in norms {
            (smallest, second) = if norm < smallest { (norm, smallest) } else { (smallest, second.min(norm)) };
            largest = norm.max(largest);
        }
        // A single column is the second smallest too.
        let needs_qr = smallest * second.min(largest) <= WITHIN_NEWTON * largest * largest;
        let short = norms.iter().rposition(|norm| norm * smallest < ILL_CONDITIONED * largest * largest);
        let short = short.map_or(0, |last| last + 1);
        let is_finite = magnitudes.iter().all(|bits| *bits < 0x7f80_0000);
        Self {
            largest: if is_finite { largest } else { f64::NAN },
            short: if needs_qr || short < 2 { 0 } else { short },
            needs_qr,
        }
    }
}

/// The number of the device, if it is one of CUDA's.
pub(super) fn ordinal(device: &CubeDevice) -> Option<usize> {
    match device {
        CubeDevice::Cuda(device) => Some(device.index),
        _ => None,
    }
}
