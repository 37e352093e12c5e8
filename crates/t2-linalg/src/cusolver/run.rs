//! One batch on its way through cuSOLVER.

use std::time::Instant;

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;
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

/// The largest scalar product of two columns of `U` that Newton steps may leave.
const ORTHOGONAL: f64 = 1e-9;

/// Newton steps double the digits: this many are always needed, and what more do not mend is past mending.
const LEAST_STEPS: usize = 2;
const MOST_STEPS: usize = 5;

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
    library: &'a Library,
    eigen: Eigen,
    a: CubeTensor,
    matrices: usize,
    m: usize,
    n: usize,
    /// `min(m, n)`.
    k: usize,
    /// `max(m, n)`.
    len: usize,
}

/// Rows that have been computed and are to be handed out, all of them in f64.
struct Rows {
    /// `W`, `[matrices, k, len]`: columns, as cuSOLVER calls them.
    w: CubeTensor,
    /// `V`, `[matrices, k, k]`.
    v: CubeTensor,
    /// The lengths of the rows of `W`, `[matrices, k]`, ascending but for rounding.
    norm: CubeTensor,
    /// What the rows of `W` are divided by to be of length one.
    divisor: CubeTensor,
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
        let magnitudes = self.magnitudes();
        let rows = self.vectors(&magnitudes)?;
        let norms = f64s(&self.read(&rows.norm));
        let vectors = start.elapsed();
        self.make_orthogonal(&rows, &norms)?;
        self.finish()?;
        let orthogonal = start.elapsed() - vectors;
        tracing::debug!(self.matrices, self.m, self.n, ?vectors, ?orthogonal, "cuSOLVER");
        let bits = self.read(&magnitudes);
        let is_finite = u32::from_bytes(&bits).chunks(CHUNKS).map(|bits| bits.iter().all(|bits| *bits < 0x7f80_0000));
        let largest = norms.chunks(self.k).map(|norms| norms.iter().copied().fold(0.0, f64::max));
        let largest = largest.zip(is_finite).map(|(norm, is_finite)| if is_finite { norm } else { f64::NAN }).collect();
        Ok(self.hand_out(&rows, largest))
    }

    /// The bit patterns of the largest magnitudes in the parts of each matrix.
    fn magnitudes(&self) -> CubeTensor {
        let found = self.tensor(&[self.matrices, CHUNKS], DType::U32);
        largest_magnitude(&self.a, &found, self.matrices, self.m * self.n);
        found
    }

    /// `XᵀX = V Λ Vᵀ` and `W = X V`, `X` having the longer side as rows.
    fn vectors(&self, magnitudes: &CubeTensor) -> Result<Rows, CusolverError> {
        let &Self { library, matrices, m, n, k, len, .. } = self;
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
        let v = self.doubles(&[matrices, k, k]);
        let w = self.doubles(&[matrices, k, len]);
        self.finish()?;
        // In memory a row-major matrix is the column-major transpose: `X` itself if it is wide, `Xᵀ` if it is tall.
        let x = Columns { at: self.address(&x)?, column: n, matrix: m * n };
        let (as_is, transposed) =
            if m < n { (Taken::AsItIs, Taken::Transposed) } else { (Taken::Transposed, Taken::AsItIs) };
        let of_v = Columns { at: self.address(&v)?, column: k, matrix: k * k };
        let of_w = Columns { at: self.address(&w)?, column: len, matrix: k * len };
        let start = Instant::now();
        library.product(matrices, [k, k, len], [(x, transposed), (x, as_is)], of_v)?;
        library.wait()?;
        let gram = start.elapsed();
        self.eigenvectors(&v)?;
        let eigenvectors = start.elapsed() - gram;
        library.product(matrices, [len, k, k], [(x, as_is), (of_v, Taken::AsItIs)], of_w)?;
        library.wait()?;
        tracing::debug!(?gram, ?eigenvectors, all = ?start.elapsed(), "cuSOLVER and cuBLAS");

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
        Ok(Rows { w, v, norm, divisor })
    }

    /// Replaces Gram matrices by their eigenvectors, in ascending order of the eigenvalues.
    fn eigenvectors(&self, gram: &CubeTensor) -> Result<(), CusolverError> {
        let &Self { library, eigen, matrices, k, .. } = self;
        let space = library.eigen_workspace(eigen, matrices, k)?;
        let (values, info) = (self.doubles(&[matrices, k]), self.tensor(&[matrices], DType::U32));
        let work = self.tensor(&[space.on_device.div_ceil(size_of::<f64>()).max(1)], DType::F64);
        self.finish()?;
        let addresses = [self.address(gram)?, self.address(&values)?, self.address(&info)?];
        library.eigenvectors(eigen, [matrices, k], addresses, (self.address(&work)?, space))?;
        let info = self.read(&info);
        match u32::from_bytes(&info).iter().position(|info| *info != 0) {
            None => Ok(()),
            Some(matrix) => Err(CusolverError::NotConverged { matrix }),
        }
    }

    /// Makes rows of `W` orthogonal that rounding of the Gram matrix has left too far from it: those of short vectors.
    fn make_orthogonal(&self, rows: &Rows, norms: &[f64]) -> Result<(), CusolverError> {
        let states: Vec<State> = norms.chunks(self.k).map(State::of).collect();
        let with = |is: fn(&State) -> bool| (0..).zip(&states).filter(move |(_, state)| is(state)).map(|(at, _)| at);
        let mut without_digits: Vec<u32> = with(|state| state.needs_qr).collect();
        let chosen: Vec<u32> = with(|state| state.short > 0).collect();
        let some = states.iter().map(|state| state.short).max().unwrap_or(0);
        if some > 0 {
            without_digits.extend(self.newton(rows, &chosen, some)?);
        }
        without_digits.into_iter().try_for_each(|matrix| self.triangular(rows, matrix as usize))
    }

    /// Makes the first `some` rows of the `chosen` matrices, the shortest, orthogonal by Newton steps: each row is
    /// corrected by the longer ones, whose errors are smaller. Returns the matrices where that failed, whose rows are left
    /// as they were.
    fn newton(&self, rows: &Rows, chosen: &[u32], some: usize) -> Result<Vec<u32>, CusolverError> {
        let &Self { library, k, len, .. } = self;
        let matrices = chosen.len();
        let mut unit = self.doubles(&[matrices, some, len]);
        let mut next = self.doubles(&[matrices, some, len]);
        let (gram, correction) = (self.doubles(&[matrices, some, some]), self.doubles(&[matrices, some, some]));
        let places = self.upload(chosen);
        self.elementwise(matrices * some * len, |cubes, units| {
            let (w, norm) = (rows.w.clone().into_buffer_arg(), rows.norm.clone().into_buffer_arg());
            let (places, out) = (places.clone().into_buffer_arg(), unit.clone().into_buffer_arg());
            double::unit_rows::launch(self.client(), cubes, units, w, norm, places, out, k, some, len);
        });
        let square =
            |buffer: &CubeTensor| self.address(buffer).map(|at| Columns { at, column: some, matrix: some * some });
        let of_rows =
            |buffer: &CubeTensor| self.address(buffer).map(|at| Columns { at, column: len, matrix: some * len });
        let mut excess = Vec::new();
        for step in 0..=MOST_STEPS {
            self.finish()?;
            let now = of_rows(&unit)?;
            let factors = [(now, Taken::Transposed), (now, Taken::AsItIs)];
            library.product(matrices, [some, some, len], factors, square(&gram)?)?;
            library.wait()?;
            // The first steps are always needed.
            if step >= LEAST_STEPS {
                excess = self.largest_excess(&gram, [matrices, some]);
                if excess.iter().all(|excess| *excess <= ORTHOGONAL) {
                    break;
                }
            }
            self.elementwise(matrices * some * some, |cubes, units| {
                let (gram, out) = (gram.clone().into_buffer_arg(), correction.clone().into_buffer_arg());
                double::correction::launch(self.client(), cubes, units, gram, out, some);
            });
            self.finish()?;
            let factors = [(now, Taken::AsItIs), (square(&correction)?, Taken::AsItIs)];
            library.product(matrices, [len, some, some], factors, of_rows(&next)?)?;
            library.wait()?;
            std::mem::swap(&mut unit, &mut next);
        }
        // A NaN is not good.
        let is_good: Vec<u32> = excess.iter().map(|excess| u32::from(*excess <= ORTHOGONAL)).collect();
        let good = self.upload(&is_good);
        self.elementwise(matrices * some * len, |cubes, units| {
            double::put_back::launch(
                self.client(),
                cubes,
                units,
                unit.clone().into_buffer_arg(),
                places.clone().into_buffer_arg(),
                good.clone().into_buffer_arg(),
                rows.w.clone().into_buffer_arg(),
                rows.divisor.clone().into_buffer_arg(),
                k,
                some,
                len,
            );
        });
        Ok(chosen.iter().zip(is_good).filter(|(_, is_good)| *is_good == 0).map(|(matrix, _)| *matrix).collect())
    }

    /// The largest difference of each of `gram`, `[matrices, some, some]`, from the identity.
    fn largest_excess(&self, gram: &CubeTensor, [matrices, some]: [usize; 2]) -> Vec<f64> {
        let largest = self.doubles(&[matrices]);
        double::largest_excess::launch(
            self.client(),
            CubeCount::new_1d(matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            gram.clone().into_buffer_arg(),
            largest.clone().into_buffer_arg(),
            some,
        );
        f64s(&self.read(&largest))
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
        self.finish()?;
        let addresses = [self.address(&w)?, self.address(&coefficients)?, self.address(&info)?];
        let work = (self.address(&work)?, size);
        library.qr([len, k], addresses, work)?;
        library.wait()?;
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
        library.q([len, k], addresses, work)?;
        library.wait()?;
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
    fn finish(&self) -> Result<(), CusolverError> {
        cubecl::future::block_on(self.client().sync()).map_err(|error| CusolverError::Device(format!("{error:?}")))
    }

    fn address(&self, buffer: &CubeTensor) -> Result<Address, CusolverError> {
        let found = self.client().get_resource::<<CudaRuntime as Runtime>::Server>(buffer.handle.clone());
        let found = found.map_err(|error| CusolverError::Device(format!("{error:?}")))?;
        Ok(found.resource().ptr)
    }

    fn read(&self, buffer: &CubeTensor) -> cubecl::bytes::Bytes {
        self.client().read_one_unchecked(buffer.handle.clone())
    }

    fn elementwise(&self, elements: usize, launch: impl FnOnce(CubeCount, CubeDim)) {
        let units = CubeDim::new_1d(UNITS as u32);
        launch(cubecl::calculate_cube_count_elemwise(self.client(), elements, units), units);
    }

    fn doubles(&self, shape: &[usize]) -> CubeTensor {
        self.tensor(shape, DType::F64)
    }

    fn tensor(&self, shape: &[usize], dtype: DType) -> CubeTensor {
        let shape = Shape::from(shape.to_vec());
        let handle = self.client().empty(shape.num_elements() * dtype.size());
        CubeTensor::new_contiguous(self.client().clone(), self.a.device.clone(), shape, handle, dtype)
    }

    fn upload(&self, data: &[u32]) -> CubeTensor {
        let handle = self.client().create_from_slice(u32::as_bytes(data));
        let shape = Shape::from(vec![data.len()]);
        CubeTensor::new_contiguous(self.client().clone(), self.a.device.clone(), shape, handle, DType::U32)
    }

    fn client(&self) -> &Client {
        &self.a.client
    }
}

fn f64s(bytes: &[u8]) -> Vec<f64> {
    f64::from_bytes(bytes).to_vec()
}

/// What the lengths of its columns of `W` say of a matrix.
struct State {
    /// How many of the first columns, the shortest, may not be orthogonal and can be made so by Newton steps.
    short: usize,
    /// Whether columns are so short that only a triangular factorization tells them apart.
    needs_qr: bool,
}

impl State {
    /// The lengths are ascending, but for rounding.
    fn of(norms: &[f64]) -> Self {
        let largest = norms.iter().copied().fold(0.0, f64::max);
        let mut ascending = norms.to_vec();
        ascending.sort_unstable_by(f64::total_cmp);
        let (smallest, second) = (ascending[0], ascending[1.min(norms.len() - 1)]);
        let square = largest * largest;
        let needs_qr = smallest * second <= WITHIN_NEWTON * square;
        let short = norms.iter().rposition(|norm| norm * smallest < ILL_CONDITIONED * square);
        let short = short.map_or(0, |last| last + 1);
        Self { short: if needs_qr || short < 2 { 0 } else { short }, needs_qr }
    }
}

/// The number of the device, if it is one of CUDA's.
pub(super) fn ordinal(device: &CubeDevice) -> Option<usize> {
    match device {
        CubeDevice::Cuda(device) => Some(device.index),
        _ => None,
    }
}
