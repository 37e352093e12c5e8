//! Products of a few rows with weights, which read: each cube takes some columns of a weight, its units take turns at the
//! terms of their sums, and what they have is added up in the end.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{UNITS, element, empty, grid};

/// The most rows that are multiplied at a time: there are so many sums in a unit.
pub(super) const ROWS: usize = 8;

/// Columns from which on a cube takes more of them: there are enough cubes for a GPU then.
const MANY: usize = 1 << 14;

/// How the work is cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Cut {
    /// How many rows a unit has sums for.
    rows: usize,
    /// How many columns a cube takes.
    columns: usize,
    /// Whether neighbours in memory are terms of one column, rather than columns of one term.
    by_columns: bool,
    has_biases: bool,
}

/// `x w + b`, `[rows, n]`, for each of the `weights` `[k, n]` and `biases` `[n]`, of which there may be none, in one
/// launch; `x` is `[rows, k]`, of at most [`ROWS`] rows.
pub(super) fn products<const N: usize, const B: usize>(
    x: CubeTensor,
    weights: [CubeTensor; N],
    biases: [CubeTensor; B],
) -> [CubeTensor; N] {
    let x = into_contiguous(x);
    let rows = x.meta.shape()[0];
    let widths = weights.each_ref().map(|w| w.meta.shape()[1]);
    let by_columns = weights.iter().all(|w| w.meta.strides()[0] == 1);
    let columns = if by_columns || widths.iter().sum::<usize>() < MANY { 8 } else { 32 };
    let cut = Cut { rows: rows.next_power_of_two(), columns, by_columns, has_biases: B > 0 };
    let outs = widths.map(|width| empty(&x, [rows, width], x.dtype));
    products_of::launch(
        &x.client,
        grid(widths.iter().map(|width| width.div_ceil(columns)).sum()),
        CubeDim::new_1d(UNITS as u32),
        x.clone().into_buffer_arg(),
        weights.into_iter().map(CubeTensor::into_tensor_arg).collect(),
        biases.into_iter().map(|bias| into_contiguous(bias).into_tensor_arg()).collect(),
        outs.iter().map(|out| out.clone().into_tensor_arg()).collect(),
        rows,
        cut,
        element(x.dtype).expect("the caller has asked whether the kernels take it"),
    );
    outs
}

#[cube(launch)]
fn products_of<E: Float>(
    x: &[E],
    weights: Sequence<OwnedTensor<E>>,
    biases: Sequence<OwnedTensor<E>>,
    outs: &mut Sequence<OwnedTensor<E>>,
    rows: usize,
    #[comptime] cut: Cut,
    #[define(E)] _dtype: ElemType,
) {
    let mut sums = Shared::<[f32]>::new_slice(comptime!(UNITS * cut.rows));
    let mut first = 0usize.runtime();
    #[unroll]
    for i in 0..weights.len() {
        let weight = weights.index(i);
        let width = weight.shape(1);
        let cubes = width.div_ceil(cut.columns);
        if CUBE_POS >= first && CUBE_POS < first + cubes {
            let column = (CUBE_POS - first) * cut.columns;
            add_terms::<E>(x, weight, &mut sums, column, rows, cut);
            sync_cube();
            let out = outs.index_mut(i);
            let mut at = UNIT_POS as usize;
            while at < rows * cut.columns {
                let (row, column) = (at / cut.columns, column + at % cut.columns);
                if column < width {
                    let mut sum = sum_of_units(&sums, at, cut);
                    if comptime!(cut.has_biases) {
                        sum += f32::cast_from(biases.index(i)[column]);
                    }
                    out[row * width + column] = E::cast_from(sum);
                }
                at += UNITS;
            }
        }
        first += cubes;
    }
}

/// What this unit adds to its column, for each row: every so many terms of the sum, to be found by [`sum_of_units`].
#[cube]
fn add_terms<E: Float>(
    x: &[E],
    weight: &Tensor<E>,
    sums: &mut Shared<[f32]>,
    first: usize,
    rows: usize,
    #[comptime] cut: Cut,
) {
    let unit = UNIT_POS as usize;
    let slices = comptime!(UNITS / cut.columns);
    let column = if comptime!(cut.by_columns) { unit / slices } else { unit % cut.columns };
    let slice = if comptime!(cut.by_columns) { unit % slices } else { unit / cut.columns };
    let terms = weight.shape(0);
    let mut total = Array::<f32>::new(comptime!(cut.rows));
    #[unroll]
    for row in 0..cut.rows {
        total[row] = 0.0;
    }
    if first + column < weight.shape(1) {
        let (step, base) = (weight.stride(0), (first + column) * weight.stride(1));
        let mut term = slice;
        while term < terms {
            let value = f32::cast_from(weight[base + term * step]);
            #[unroll]
            for row in 0..cut.rows {
                // Rows that there are not are the last one again.
                total[row] += value * f32::cast_from(x[row.min(rows - 1) * terms + term]);
            }
            term += slices;
        }
    }
    #[unroll]
    for row in 0..cut.rows {
        sums[(row * cut.columns + column) * slices + slice] = total[row];
    }
}

/// The sum of row and column `at`, columns first.
#[cube]
fn sum_of_units(sums: &Shared<[f32]>, at: usize, #[comptime] cut: Cut) -> f32 {
    let slices = comptime!(UNITS / cut.columns);
    let mut sum = 0.0f32;
    for slice in 0..slices {
        sum += sums[at * slices + slice];
    }
    sum
}
