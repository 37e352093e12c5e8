//! Norms, a cube for each row, and gates, a unit for each number.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{UNITS, element, empty, grid};
use crate::kernel::reduce::sum_of_cube;
use crate::ops::Gate;

/// `x / sqrt(mean(x²) + eps) ∘ gamma` over the last dimension of `x` `[…, width]`, for `gamma` `[width]`.
pub(super) fn rms_norm(x: CubeTensor, gamma: CubeTensor, eps: f32) -> CubeTensor {
    let (x, gamma) = (into_contiguous(x), into_contiguous(gamma));
    let width = gamma.meta.num_elements();
    let rows = x.meta.num_elements() / width;
    let out = empty(&x, x.meta.shape().clone(), x.dtype);
    norm::launch(
        &x.client,
        grid(rows),
        CubeDim::new_1d(UNITS as u32),
        x.clone().into_buffer_arg(),
        gamma.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows,
        width,
        eps,
        element(x.dtype).expect("the caller has asked whether the kernels take it"),
    );
    out
}

#[cube(launch)]
fn norm<E: Float>(
    x: &[E],
    gamma: &[f32],
    out: &mut [E],
    rows: usize,
    width: usize,
    eps: f32,
    #[define(E)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row < rows {
        let mut scratch = Shared::<[f32]>::new_slice(UNITS);
        let first = row * width;
        let mut squares = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width {
            let value = f32::cast_from(x[first + i]);
            squares += value * value;
            i += UNITS;
        }
        let squares = sum_of_cube(&mut scratch, squares);
        let factor = 1.0f32 / (squares / (width as f32) + eps).sqrt();
        let mut i = UNIT_POS as usize;
        while i < width {
            out[first + i] = E::cast_from(f32::cast_from(x[first + i]) * factor * gamma[i]);
            i += UNITS;
        }
    }
}

/// `f(gate) ∘ up`, for tensors of one shape.
pub(super) fn gated(gate: CubeTensor, up: CubeTensor, f: Gate) -> CubeTensor {
    let (gate, up) = (into_contiguous(gate), into_contiguous(up));
    let out = empty(&gate, gate.meta.shape().clone(), gate.dtype);
    let numbers = gate.meta.num_elements();
    gate_each::launch(
        &gate.client,
        grid(numbers.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        gate.clone().into_buffer_arg(),
        up.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        numbers,
        f,
        element(gate.dtype).expect("the caller has asked whether the kernels take it"),
    );
    out
}

#[cube(launch)]
fn gate_each<E: Float>(
    gate: &[E],
    up: &[E],
    out: &mut [E],
    numbers: usize,
    #[comptime] f: Gate,
    #[define(E)] _dtype: ElemType,
) {
    let at = CUBE_POS * UNITS + UNIT_POS as usize;
    if at < numbers {
        let x = f32::cast_from(gate[at]);
        let mut turning = x;
        if comptime!(matches!(f, Gate::GeluTanh)) {
            // (1 + tanh(y)) / 2 = sigmoid(2 y) for y = √(2 / π) (x + 0.044715 x³)
            turning = 1.595_769f32 * (x + 0.044_715f32 * x * x * x);
        }
        out[at] = E::cast_from(x / (1.0f32 + (-turning).exp()) * f32::cast_from(up[at]));
    }
}
