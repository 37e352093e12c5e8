//! Launches that more than one step of [`Run`] makes, and the buffers they work on.

use burn::tensor::{DType, Shape};
use burn_cubecl::element::CubeElement as Element;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::prelude::*;

use super::product::Form;
use super::{Run, UNITS, cholesky, product, rows};

impl Run {
    /// Computes `out = scale rows rowsᵀ + diagonal I`, `[matrices, count, count]`, for rows of length `len`.
    pub(super) fn row_product(&self, rows: &CubeTensor, len: usize, out: &CubeTensor, call: Call) {
        let count = self.count;
        self.product(
            [
                Operand { buffer: rows, at: 0, row: len, matrix: count * len },
                Operand { buffer: rows, at: 0, row: len, matrix: count * len },
                Operand { buffer: out, at: 0, row: count, matrix: count * count },
            ],
            [count, count, len],
            Call { symmetric: true, ..call },
        );
    }

    /// Multiplies the first two operands of each matrix into the third: `[m, n]` sums of `depth` products.
    pub(super) fn product(&self, operands: [Operand<'_>; 3], sizes: [usize; 3], call: Call) {
        product(self.matrices, operands, sizes, call);
    }

    /// Computes the upper triangular Cholesky factor of each `gram`, which is overwritten. A pivot at or below `floor`
    /// counts as `floor`.
    #[expect(unsafe_code, reason = "in a checked launch every loop on WebGPU counts its rounds")]
    pub(super) fn cholesky(&self, gram: &CubeTensor, factor: &CubeTensor, floor: f32) {
        let count = self.count;
        for start in (0..count).step_by(cholesky::PANEL) {
            // SAFETY: `count` is a multiple of the rows of a panel, and columns from `count` on are left out.
            unsafe {
                cholesky::cholesky_panel::launch_unchecked(
                    self.client(),
                    CubeCount::new_2d(count.div_ceil(UNITS) as u32, self.matrices as u32),
                    CubeDim::new_1d(UNITS as u32),
                    gram.clone().into_buffer_arg(),
                    factor.clone().into_buffer_arg(),
                    count,
                    start,
                    floor,
                );
            }
            let next = start + cholesky::PANEL;
            if next < count {
                let panel = Operand { buffer: factor, at: start * count + next, row: count, matrix: count * count };
                self.product(
                    [panel, panel, Operand { buffer: gram, at: next * count + next, ..panel }],
                    [count - next, count - next, cholesky::PANEL],
                    Call { scale: -1.0, accumulate: true, symmetric: true, ..Call::of(Form::LeftTransposed) },
                );
            }
        }
    }

    /// The norms of the first `len` entries of all rows, which begin `stride` entries apart: `[matrices, count]`.
    pub(super) fn norms(&self, rows: &CubeTensor, stride: usize, len: usize) -> CubeTensor {
        let norm = self.floats(self.matrices * self.count);
        norms(rows, &norm, [self.matrices, self.count, stride, len]);
        norm
    }

    /// For each matrix the indices of its rows, the longest row first, `[matrices, count]`.
    pub(super) fn descending(&self, norm: &CubeTensor) -> CubeTensor {
        let order = self.integers(self.matrices * self.count);
        self.elementwise(self.matrices * self.count, |cubes, units| {
            rows::descending::launch(
                self.client(),
                cubes,
                units,
                norm.clone().into_buffer_arg(),
                order.clone().into_buffer_arg(),
                self.count,
            );
        });
        order
    }

    /// Calls `launch` with a grid that has one unit for each of `elements`.
    pub(super) fn elementwise(&self, elements: usize, launch: impl FnOnce(CubeCount, CubeDim)) {
        let units = CubeDim::new_1d(UNITS as u32);
        launch(cubecl::calculate_cube_count_elemwise(self.client(), elements, units), units);
    }

    pub(super) fn floats(&self, elements: usize) -> CubeTensor {
        self.tensor(vec![elements], DType::F32)
    }

    pub(super) fn integers(&self, elements: usize) -> CubeTensor {
        self.tensor(vec![elements], DType::U32)
    }

    /// A tensor that is not initialized.
    pub(super) fn tensor(&self, shape: Vec<usize>, dtype: DType) -> CubeTensor {
        let shape = Shape::from(shape);
        let handle = self.client().empty(shape.num_elements() * dtype.size());
        CubeTensor::new_contiguous(self.client().clone(), self.a.device.clone(), shape, handle, dtype)
    }

    pub(super) fn upload<E: Element>(&self, data: &[E]) -> CubeTensor {
        self.upload_as(data, vec![data.len()])
    }

    pub(super) fn upload_as<E: Element>(&self, data: &[E], shape: Vec<usize>) -> CubeTensor {
        let handle = self.client().create_from_slice(E::as_bytes(data));
        let (client, device) = (self.client().clone(), self.a.device.clone());
        CubeTensor::new_contiguous(client, device, Shape::from(shape), handle, E::dtype())
    }

    pub(super) fn client(&self) -> &Client {
        &self.a.client
    }
}

/// Multiplies, for each of `matrices`, the first two operands into the third: `[m, n]` sums of `depth` products.
#[expect(unsafe_code, reason = "in a checked launch every loop on WebGPU counts its rounds")]
pub(super) fn product(matrices: usize, [left, right, out]: [Operand<'_>; 3], [m, n, depth]: [usize; 3], call: Call) {
    let tile = product::tile_of(matrices, m, n);
    // SAFETY: entries from `m`, `n` and `depth` on are left out, and operands are as large as their `Operand` says.
    unsafe {
        product::product::launch_unchecked(
            &left.buffer.client,
            CubeCount::new_3d(n.div_ceil(tile.columns()) as u32, m.div_ceil(tile.rows()) as u32, matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            left.buffer.clone().into_buffer_arg(),
            right.buffer.clone().into_buffer_arg(),
            out.buffer.clone().into_buffer_arg(),
            left.at,
            left.row,
            left.matrix,
            right.at,
            right.row,
            right.matrix,
            out.at,
            out.row,
            out.matrix,
            m,
            n,
            depth,
            call.scale,
            call.diagonal,
            call.form,
            call.accumulate,
            call.symmetric,
            tile,
        );
    }
}

/// Computes the norms of the first `len` entries of each of `count` rows, which begin `stride` entries apart, of each of
/// `matrices`: `[matrices, count]`.
pub(super) fn norms(rows: &CubeTensor, norm: &CubeTensor, [matrices, count, stride, len]: [usize; 4]) {
    rows::norms::launch(
        &rows.client,
        CubeCount::new_2d(count as u32, matrices as u32),
        CubeDim::new_1d(UNITS as u32),
        rows.clone().into_buffer_arg(),
        norm.clone().into_buffer_arg(),
        count,
        stride,
        len,
    );
}

/// A rectangular block in each matrix of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) buffer: &'a CubeTensor,
    /// Where the first entry of the block is, in the first matrix.
    pub(super) at: usize,
    /// The distance from one row to the next, in entries.
    pub(super) row: usize,
    /// The distance from one matrix to the next, in entries.
    pub(super) matrix: usize,
}

/// Which product is computed: `out = scale A B + diagonal I`, or with `accumulate` `out += scale A B`.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) form: Form,
    pub(super) scale: f32,
    pub(super) diagonal: f32,
    pub(super) accumulate: bool,
    /// The result is known to be symmetric, so only its upper triangle is computed. The rest is filled from it, unless
    /// the product is accumulated.
    pub(super) symmetric: bool,
}

impl Call {
    /// The plain product: `scale` is one, and nothing is added.
    pub(super) fn of(form: Form) -> Self {
        Self { form, scale: 1.0, diagonal: 0.0, accumulate: false, symmetric: false }
    }
}
