//! In place of the kernels for GPUs in a build without any.

use burn::tensor::{DType, Device, Tensor};

use crate::ops::{Draw, Gate, New, Placed, Seen};

pub(crate) fn runs_on(_: &Device, _: DType) -> bool {
    false
}

pub(crate) fn attention(_: &Tensor<4>, _: &Tensor<4>, _: &Tensor<4>, _: &Seen<'_>) -> Option<Tensor<3>> {
    None
}

pub(crate) fn draw(_: &Tensor<2>, _: &[Draw<'_>]) -> Option<Tensor<2>> {
    None
}

pub(crate) fn product(_: &Tensor<2>, _: &Tensor<2>) -> Option<Tensor<2>> {
    None
}

pub(crate) fn exact_product(_: &Tensor<2>, _: &Tensor<2>) -> Option<Tensor<2>> {
    None
}

pub(crate) fn products<const N: usize>(
    _: &Tensor<2>,
    _: [&Tensor<2>; N],
    _: [Option<&Tensor<1>>; N],
) -> Option<[Tensor<2>; N]> {
    None
}

pub(crate) fn rms_norm<const D: usize>(_: &Tensor<D>, _: &Tensor<1>, _: f64) -> Option<Tensor<D>> {
    None
}

pub(crate) fn gated<const D: usize>(_: &Tensor<D>, _: &Tensor<D>, _: Gate) -> Option<Tensor<D>> {
    None
}

pub(crate) fn placed(_: New<'_>) -> Placed {
    unreachable!("`runs_on` is false")
}
