//! What a decoder computes on GPUs, one kernel each, where Burn has a chain of kernels, or one that has to be tuned for
//! every shape: launching is what a token costs there.
//!
//! A kernel is compiled for a type of numbers and for no size, so that nothing is compiled or tuned anew while a cache
//! grows. Numbers are f32, f16 or bf16 in memory and f32 in sums. No kernel needs more than WebGPU guarantees: cubes of
//! 256 units, 16 KiB that they share, no subgroups.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::CubeCount;

mod attention;
mod draw;
mod launches;
mod ops;
mod place;
mod pointwise;
mod product;

pub use launches::launched;
pub(crate) use ops::{attention, draw, exact_product, gated, placed, product, products, rms_norm};

/// Units (threads) in every cube (work group).
const UNITS: usize = 256;

/// The most cubes along a side of a grid that every GPU takes.
const MOST_CUBES: usize = 65_535;

/// The type of numbers in memory, where the kernels know it.
fn element(dtype: DType) -> Option<ElemType> {
    match dtype {
        DType::F32 => Some(ElemType::Float(FloatKind::F32)),
        DType::F16 => Some(ElemType::Float(FloatKind::F16)),
        DType::BF16 => Some(ElemType::Float(FloatKind::BF16)),
        _ => None,
    }
}

/// Whether the kernels take tensors of `dtype` on `device`, which no gradient flows through.
pub(crate) fn runs_on(device: &Device, dtype: DType) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(_)) && element(dtype).is_some()
}

/// A grid of at least `cubes` cubes; a kernel finds out by itself which of them are too many.
fn grid(cubes: usize) -> CubeCount {
    let width = cubes.clamp(1, MOST_CUBES);
    CubeCount::new_2d(width as u32, cubes.div_ceil(width).max(1) as u32)
}

/// A tensor beside `like` that is not initialised.
fn empty(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let shape = shape.into();
    let handle = like.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, dtype)
}
