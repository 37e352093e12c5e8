//! What this solver adds to the operations of Burn's GPU backends.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::library::Eigen;
use super::run::{Found, Run};
use super::{CusolverError, library};

type Three<T> = (T, T, T);

/// The largest singular value of each matrix, NaN where the matrix is not finite.
type Outcome = Result<Vec<f64>, CusolverError>;

/// Where to decompose, and what became of it: Burn decomposes when the factors are read, and an operation of Burn's
/// returns tensors and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// The number of the device among CUDA's.
    ordinal: usize,
    /// How eigenvectors are best computed.
    eigen: Eigen,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Report {
    pub(super) fn new(ordinal: usize, eigen: Eigen) -> Self {
        Self { ordinal, eigen, outcome: Arc::default() }
    }

    /// What became of it, once the factors have been read.
    pub(super) fn take(&self) -> Outcome {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.unwrap_or_else(|| Err(CusolverError::Device("nothing was decomposed".into())))
    }

    fn put(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// Decomposes `a`, `[matrices, m, n]`, f32 and not empty, on a CUDA device: the vectors of the longer side,
/// `[matrices, k, max(m, n)]`, the singular values, and the vectors of the shorter side, `[matrices, k, k]`. They are not
/// initialised if the report has an error.
pub(super) fn cusolver(a: Tensor<3>, report: Report) -> (Tensor<3>, Tensor<2>, Tensor<3>) {
    let (long, sigma, short) = <Dispatch as CusolverOps>::cusolver(a.into_dispatch(), report);
    (Tensor::from_dispatch(long), Tensor::from_dispatch(sigma), Tensor::from_dispatch(short))
}

/// The operation that this solver adds to Burn's GPU backends.
#[backend_extension(Cube, Fusion)]
pub(super) trait CusolverOps: Backend {
    /// See [`cusolver`].
    #[fusion(meta = factor_specs)]
    fn cusolver(a: FloatTensor<Self>, report: Report) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The shapes of the factors of `[matrices, m, n]`.
fn shapes([matrices, m, n]: [usize; 3]) -> [Vec<usize>; 3] {
    let (k, len) = (m.min(n), m.max(n));
    [vec![matrices, k, len], vec![matrices, k], vec![matrices, k, k]]
}

fn factor_specs(a: &TensorSpec, _: &Report) -> Three<TensorSpec> {
    let [long, sigma, short] = shapes(a.shape.dims()).map(|shape| TensorSpec::new(Shape::from(shape), DType::F32));
    (long, sigma, short)
}

impl CusolverOps for CubeBackend {
    fn cusolver(a: FloatTensor<Self>, report: Report) -> Three<FloatTensor<Self>> {
        let a = into_contiguous(a);
        let like = a.clone();
        match library::with(report.ordinal, |library| Run::new(library, report.eigen, a).decompose()) {
            Ok(Found { long, sigma, short, largest }) => {
                report.put(Ok(largest));
                (long, sigma, short)
            }
            Err(error) => {
                report.put(Err(error));
                let [long, sigma, short] = shapes(like.meta.shape().dims()).map(|shape| unwritten(&like, shape));
                (long, sigma, short)
            }
        }
    }
}

/// A tensor beside `like` that is not initialised.
fn unwritten(like: &CubeTensor, shape: Vec<usize>) -> CubeTensor {
    let shape = Shape::from(shape);
    let handle = like.client.empty(shape.num_elements() * DType::F32.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, DType::F32)
}
