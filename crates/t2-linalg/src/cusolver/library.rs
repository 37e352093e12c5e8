//! cuSOLVER and cuBLAS, as far as this crate calls them. They are opened when they are first asked for.
//!
//! Matrices are in f64, column-major, and lie in memory of the device. All calls go to the default stream of the device,
//! one after the other; none waits for the others to end, but [`Library::run`] does, which they are made in.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublas::sys as blas;
use cudarc::cusolver::sys as solver;
use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO as RATIO;

use super::CusolverError;

/// Where something lies in the memory of the device.
pub(super) type Address = u64;

/// Matrices of one shape in the memory of the device: where the first begins, how far apart columns are, and how far
/// apart matrices, in entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) at: Address,
    pub(super) column: usize,
    pub(super) matrix: usize,
}

/// Whether a factor of a product is taken as it is or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    AsItIs,
    Transposed,
}

impl From<Taken> for blas::cublasOperation_t {
    fn from(taken: Taken) -> Self {
        match taken {
            Taken::AsItIs => Self::CUBLAS_OP_N,
            Taken::Transposed => Self::CUBLAS_OP_T,
        }
    }
}

/// How the eigenvectors of several matrices are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eigen {
    /// One matrix after another: `cusolverDnXsyevd`.
    OneByOne,
    /// All at once: `cusolverDnXsyevBatched`, which cuSOLVER has since CUDA 12.6.
    Together,
}

/// Memory that eigenvectors are computed in.
#[derive(Debug)]
pub(super) struct Workspace {
    /// How many bytes of the device are needed.
    pub(super) on_device: usize,
    /// The memory of the host, which is in use until the eigenvectors have been computed.
    on_host: Vec<u8>,
}

type EigenTogether = unsafe extern "C" fn(
    solver::cusolverDnHandle_t,
    solver::cusolverDnParams_t,
    solver::cusolverEigMode_t,
    solver::cublasFillMode_t,
    i64,
    solver::cudaDataType,
    *mut c_void,
    i64,
    solver::cudaDataType,
    *mut c_void,
    solver::cudaDataType,
    *mut c_void,
    usize,
    *mut c_void,
    usize,
    *mut c_int,
    i64,
) -> c_int;

type EigenTogetherSize = unsafe extern "C" fn(
    solver::cusolverDnHandle_t,
    solver::cusolverDnParams_t,
    solver::cusolverEigMode_t,
    solver::cublasFillMode_t,
    i64,
    solver::cudaDataType,
    *const c_void,
    i64,
    solver::cudaDataType,
    *const c_void,
    solver::cudaDataType,
    *mut usize,
    *mut usize,
    i64,
) -> c_int;

const VECTORS: solver::cusolverEigMode_t = solver::cusolverEigMode_t::CUSOLVER_EIG_MODE_VECTOR;
const LOWER: solver::cublasFillMode_t = solver::cublasFillMode_t::CUBLAS_FILL_MODE_LOWER;
const F64: solver::cudaDataType = solver::cudaDataType::CUDA_R_64F;

/// Both libraries on one device.
pub(super) struct Library {
    context: Arc<CudaContext>,
    blas: blas::cublasHandle_t,
    solver: solver::cusolverDnHandle_t,
    params: solver::cusolverDnParams_t,
    together: Option<(EigenTogetherSize, EigenTogether)>,
}

// SAFETY: handles may be used by any thread, by one at a time; a `Library` is always behind a lock.
#[expect(unsafe_code, reason = "handles of the libraries are pointers")]
unsafe impl Send for Library {}

/// Whether both libraries can be opened here.
pub(super) fn is_present() -> bool {
    #[expect(unsafe_code, reason = "opening a library runs its initializers")]
    // SAFETY: the initializers of cuSOLVER and cuBLAS ask nothing of who opens them.
    unsafe {
        blas::is_culib_present() && solver::is_culib_present()
    }
}

/// How many times as fast the device `ordinal` says it computes in f32 as in f64.
pub(super) fn f32_over_f64(ordinal: usize) -> Result<usize, CusolverError> {
    let ratio = CudaContext::new(ordinal).and_then(|context| context.attribute(RATIO));
    ratio.map(|ratio| ratio.unsigned_abs() as usize).map_err(device_error)
}

/// Calls `work` with the libraries on the device `ordinal`, which no other thread uses meanwhile.
pub(super) fn with<T>(
    ordinal: usize,
    work: impl FnOnce(&Library) -> Result<T, CusolverError>,
) -> Result<T, CusolverError> {
    static OPEN: Mutex<BTreeMap<usize, Arc<Mutex<Library>>>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match open.get(&ordinal) {
        Some(library) => Arc::clone(library),
        None => {
            let library = Arc::new(Mutex::new(Library::open(ordinal)?));
            open.insert(ordinal, Arc::clone(&library));
            library
        }
    };
    drop(open);
    let library = library.lock().unwrap_or_else(PoisonError::into_inner);
    library.context.bind_to_thread().map_err(device_error)?;
    work(&library)
}

fn device_error(error: cudarc::driver::DriverError) -> CusolverError {
    CusolverError::Device(error.to_string())
}

/// What a call of cuSOLVER returned, as an error unless all is well.
fn solved(call: &'static str, status: c_int) -> Result<(), CusolverError> {
    if status == 0 { Ok(()) } else { Err(CusolverError::Call { call, status }) }
}

/// As [`solved`], for cuBLAS.
fn multiplied(call: &'static str, status: blas::cublasStatus_t) -> Result<(), CusolverError> {
    solved(call, status as c_int)
}

fn int(size: usize) -> Result<c_int, CusolverError> {
    c_int::try_from(size).map_err(|_| CusolverError::TooLarge { size })
}

#[expect(unsafe_code, reason = "the libraries are C")]
impl Library {
    fn open(ordinal: usize) -> Result<Self, CusolverError> {
        if !is_present() {
            return Err(CusolverError::Absent);
        }
        let context = CudaContext::new(ordinal).map_err(device_error)?;
        let (mut blas, mut solver, mut params) = (null_mut(), null_mut(), null_mut());
        // SAFETY: each function writes one handle to where it is told, in the context that was just bound.
        unsafe {
            multiplied("cublasCreate", blas::cublasCreate_v2(&raw mut blas))?;
            solved("cusolverDnCreate", solver::cusolverDnCreate(&raw mut solver) as c_int)?;
            solved("cusolverDnCreateParams", solver::cusolverDnCreateParams(&raw mut params) as c_int)?;
        }
        // SAFETY: these are the signatures of the functions in NVIDIA's headers.
        let together = unsafe {
            let library = solver::culib();
            let size = library.get::<EigenTogetherSize>(b"cusolverDnXsyevBatched_bufferSize\0");
            let all = library.get::<EigenTogether>(b"cusolverDnXsyevBatched\0");
            size.ok().zip(all.ok()).map(|(size, all)| (*size, *all))
        };
        Ok(Self { context, blas, solver, params, together })
    }

    /// Makes `calls` and waits until everything has been computed, if one of them fails too: those before it use the
    /// memory that they were given until then.
    pub(super) fn run(&self, calls: impl FnOnce() -> Result<(), CusolverError>) -> Result<(), CusolverError> {
        let called = calls();
        self.context.synchronize().map_err(device_error)?;
        called
    }

    /// Computes `out = left right`, `[m, n]` sums of `depth` products, for each of `matrices`.
    pub(super) fn product(
        &self,
        matrices: usize,
        [m, n, depth]: [usize; 3],
        [(left, left_taken), (right, right_taken)]: [(Columns, Taken); 2],
        out: Columns,
    ) -> Result<(), CusolverError> {
        let (one, zero) = (1.0_f64, 0.0_f64);
        // SAFETY: the caller's matrices are as large as their sizes say, and the factors of the product on the host live
        // until the call returns, which is when they have been read.
        let status = unsafe {
            blas::cublasDgemmStridedBatched(
                self.blas,
                left_taken.into(),
                right_taken.into(),
                int(m)?,
                int(n)?,
                int(depth)?,
                &raw const one,
                left.at as *const f64,
                int(left.column)?,
                left.matrix as i64,
                right.at as *const f64,
                int(right.column)?,
                right.matrix as i64,
                &raw const zero,
                out.at as *mut f64,
                int(out.column)?,
                out.matrix as i64,
                int(matrices)?,
            )
        };
        multiplied("cublasDgemmStridedBatched", status)
    }

    /// How eigenvectors can be computed, if `wanted` is what would be best.
    pub(super) fn eigen(&self, wanted: Eigen) -> Eigen {
        if self.together.is_some() { wanted } else { Eigen::OneByOne }
    }

    /// What [`eigenvectors`](Self::eigenvectors) needs for so many matrices of `[k, k]`.
    pub(super) fn eigen_workspace(&self, eigen: Eigen, matrices: usize, k: usize) -> Result<Workspace, CusolverError> {
        let (mut on_device, mut on_host) = (0, 0);
        let (device, host) = (&raw mut on_device, &raw mut on_host);
        let (handle, params, nowhere, side) = (self.solver, self.params, std::ptr::null(), k as i64);
        // SAFETY: no matrix is read to find out the sizes, which are written to where they belong.
        unsafe {
            match (eigen, self.together) {
                (Eigen::Together, Some((size, _))) => {
                    let matrices = matrices as i64;
                    let status = size(
                        handle, params, VECTORS, LOWER, side, F64, nowhere, side, F64, nowhere, F64, device, host,
                        matrices,
                    );
                    solved("cusolverDnXsyevBatched_bufferSize", status)?;
                }
                _ => {
                    let status = solver::cusolverDnXsyevd_bufferSize(
                        handle, params, VECTORS, LOWER, side, F64, nowhere, side, F64, nowhere, F64, device, host,
                    );
                    solved("cusolverDnXsyevd_bufferSize", status as c_int)?;
                }
            }
        }
        Ok(Workspace { on_device, on_host: vec![0; on_host.max(1)] })
    }

    /// Replaces each symmetric matrix of `[k, k]`, of which the lower triangle is read, by its eigenvectors as columns,
    /// in the ascending order of the eigenvalues, which go to `values`, `[matrices, k]`. What becomes of each matrix goes
    /// to `info`, `[matrices]`: zero if all is well.
    pub(super) fn eigenvectors(
        &self,
        eigen: Eigen,
        [matrices, k]: [usize; 2],
        [at, values, info]: [Address; 3],
        (work, space): (Address, &mut Workspace),
    ) -> Result<(), CusolverError> {
        let (handle, params, side) = (self.solver, self.params, k as i64);
        let (work, size) = (work as *mut c_void, space.on_device);
        let (host, host_size) = (space.on_host.as_mut_ptr().cast::<c_void>(), space.on_host.len());
        if let (Eigen::Together, Some((_, all))) = (eigen, self.together) {
            let (at, values, info) = (at as *mut c_void, values as *mut c_void, info as *mut c_int);
            // SAFETY: the caller's memory is as large as the sizes say; that on the host lives until all is computed.
            let status = unsafe {
                all(
                    handle,
                    params,
                    VECTORS,
                    LOWER,
                    side,
                    F64,
                    at,
                    side,
                    F64,
                    values,
                    F64,
                    work,
                    size,
                    host,
                    host_size,
                    info,
                    matrices as i64,
                )
            };
            solved("cusolverDnXsyevBatched", status)?;
        } else {
            for matrix in 0..matrices {
                let at = (at as *mut f64).wrapping_add(matrix * k * k).cast::<c_void>();
                let values = (values as *mut f64).wrapping_add(matrix * k).cast::<c_void>();
                let info = (info as *mut c_int).wrapping_add(matrix);
                // SAFETY: as above, for one matrix after another.
                let status = unsafe {
                    solver::cusolverDnXsyevd(
                        handle, params, VECTORS, LOWER, side, F64, at, side, F64, values, F64, work, size, host,
                        host_size, info,
                    )
                };
                solved("cusolverDnXsyevd", status as c_int)?;
            }
        }
        Ok(())
    }

    /// How much memory [`qr`](Self::qr) and [`q`](Self::q) need for a matrix of `[rows, k]`, in f64 values.
    pub(super) fn qr_workspace(&self, rows: usize, k: usize) -> Result<usize, CusolverError> {
        let (mut factor, mut q) = (0, 0);
        let (rows, k, nowhere) = (int(rows)?, int(k)?, null_mut());
        // SAFETY: no matrix is read to find out the sizes, which are written to where they belong.
        unsafe {
            let status = solver::cusolverDnDgeqrf_bufferSize(self.solver, rows, k, nowhere, rows, &raw mut factor);
            solved("cusolverDnDgeqrf_bufferSize", status as c_int)?;
            let status =
                solver::cusolverDnDorgqr_bufferSize(self.solver, rows, k, k, nowhere, rows, nowhere, &raw mut q);
            solved("cusolverDnDorgqr_bufferSize", status as c_int)?;
        }
        Ok(factor.max(q).unsigned_abs() as usize)
    }

    /// Replaces the matrix at `at`, `[rows, k]` with `rows >= k`, by its Householder reflections below the diagonal and
    /// `R` on and above it. The coefficients of the reflections go to `coefficients`, `[k]`.
    pub(super) fn qr(
        &self,
        [rows, k]: [usize; 2],
        [at, coefficients, info]: [Address; 3],
        (work, size): (Address, usize),
    ) -> Result<(), CusolverError> {
        let (work, coefficients, at, info) =
            (work as *mut f64, coefficients as *mut f64, at as *mut f64, info as *mut c_int);
        let (rows, k) = (int(rows)?, int(k)?);
        // SAFETY: the caller's memory is as large as the sizes say.
        let status =
            unsafe { solver::cusolverDnDgeqrf(self.solver, rows, k, at, rows, coefficients, work, int(size)?, info) };
        solved("cusolverDnDgeqrf", status as c_int)
    }

    /// Replaces the reflections that [`qr`](Self::qr) made by the columns of `Q`.
    pub(super) fn q(
        &self,
        [rows, k]: [usize; 2],
        [at, coefficients, info]: [Address; 3],
        (work, size): (Address, usize),
    ) -> Result<(), CusolverError> {
        let (work, coefficients, at, info) =
            (work as *mut f64, coefficients as *mut f64, at as *mut f64, info as *mut c_int);
        let (rows, k) = (int(rows)?, int(k)?);
        // SAFETY: as in `qr`, which left what this reads.
        let status = unsafe {
            solver::cusolverDnDorgqr(self.solver, rows, k, k, at, rows, coefficients, work, int(size)?, info)
        };
        solved("cusolverDnDorgqr", status as c_int)
    }
}
