//! A tensor as it lies in a file, and how it becomes a parameter.
//!
//! The values go from the mapped file to where the parameter keeps them in one step, tile by tile on every core: nothing
//! as large as the tensor is held in between.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{DType, Element, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::layout::{Layout, Rows};
use super::mapped::Mapped;
use super::quant::GgmlType;

/// Columns of a stored tensor that one thread turns at a time: whole blocks of every type.
const BAND: usize = 256;
/// Rows of a stored tensor that are turned at a time: a cache line of the result.
const TILE: usize = 16;

/// Numbers that a thread looks through at a time.
const CHUNK: usize = 1 << 16;

/// Tensors by their stored name; instead of one whose type nobody can compute with, what the type is called.
pub(crate) type Tensors<'a> = BTreeMap<String, Result<StoredTensor<'a>, String>>;

/// A tensor of a mapped file.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor<'a> {
    pub(crate) ty: GgmlType,
    /// Row-major: the last dimension is contiguous.
    pub(crate) shape: Vec<usize>,
    pub(crate) file: &'a Mapped,
    /// Where in the file the numbers are.
    pub(crate) range: Range<usize>,
}

impl<'a> StoredTensor<'a> {
    /// The stored bytes.
    pub(crate) fn data(&self) -> &'a [u8] {
        &self.file[self.range.clone()]
    }

    /// Let the system take back the memory behind the stored bytes.
    pub(crate) fn release(&self) {
        self.file.release(self.range.clone());
    }

    /// The values of `rows` of the tensor as `dtype`, turned by `layout`.
    pub(crate) fn values(&self, rows: &Rows, layout: Layout, dtype: DType) -> TensorData {
        match dtype {
            DType::F16 => self.values_as::<f16>(rows, layout),
            DType::BF16 => self.values_as::<bf16>(rows, layout),
            _ => self.values_as::<f32>(rows, layout),
        }
    }

    fn values_as<E: Number>(&self, rows: &Rows, layout: Layout) -> TensorData {
        let stored_rows = self.rows();
        let mut shape = self.shape.clone();
        let count = rows.count(stored_rows);
        if let Some(first) = shape.first_mut() {
            *first = count;
        }
        let turn = layout == Layout::Transposed && shape.len() == 2;
        let shape = layout.turn(&shape);
        let mut out = vec![E::default(); shape.iter().product()];
        match self.shape.len() {
            1 => self.fill_vector(rows, &mut out),
            _ if turn => self.fill_turned(rows, count, &mut out),
            _ => self.fill(rows, &mut out),
        }
        TensorData::new(out, shape)
    }

    /// Fill `out` with `rows` of a vector. Its rows are single numbers, which have no block to themselves: it is read as
    /// a whole.
    fn fill_vector<E: Number>(&self, rows: &Rows, out: &mut [E]) {
        let len = self.rows();
        let mut values = vec![0.0; len];
        self.ty.dequantize(self.data(), &mut values);
        E::fill(out, &rows.pick(&values, len));
    }

    /// Fill `out` row by row.
    fn fill<E: Number>(&self, rows: &Rows, out: &mut [E]) {
        let width = self.width();
        // A narrow row is no work for a thread.
        let rows_at_once = (BAND / width.max(1)).max(1);
        out.par_chunks_mut(width.max(1) * rows_at_once).enumerate().for_each(|(chunk, out)| {
            let mut line = vec![0.0; width];
            for (row, out) in out.chunks_mut(width.max(1)).enumerate() {
                self.decode(rows.stored(chunk * rows_at_once + row), 0..width, &mut line);
                E::fill(out, &line);
            }
        });
    }

    /// Fill `out`, `[width, count]`, with the transpose of `count` rows.
    fn fill_turned<E: Number>(&self, rows: &Rows, count: usize, out: &mut [E]) {
        let width = self.width();
        out.par_chunks_mut((BAND * count).max(1)).enumerate().for_each(|(band, out)| {
            let columns = band * BAND..width.min((band + 1) * BAND);
            let wide = columns.len();
            let (mut tile, mut column_of_tile) = (vec![0.0; TILE * wide], [0.0; TILE]);
            for first in (0..count).step_by(TILE) {
                let lines = tile.chunks_mut(wide).zip(first..count.min(first + TILE));
                let filled = lines.map(|(line, row)| self.decode(rows.stored(row), columns.clone(), line)).count();
                for (column, out) in out.chunks_mut(count).enumerate() {
                    for (line, value) in column_of_tile.iter_mut().enumerate() {
                        *value = tile[line * wide + column];
                    }
                    E::fill(&mut out[first..first + filled], &column_of_tile[..filled]);
                }
            }
        });
    }

    /// Read `columns` of a stored row. They begin at a block.
    fn decode(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let bytes = |values: usize| values / self.ty.block_len() * self.ty.block_bytes();
        let start = row * bytes(self.width());
        let line = start + bytes(columns.start)..start + bytes(columns.end);
        self.ty.dequantize(&self.data()[line], &mut out[..columns.len()]);
    }

    /// Length of the first dimension.
    pub(crate) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Numbers in a row.
    fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// A number that weights may be in memory.
trait Number: Element + Default + Copy {
    /// Write `values` to `out`, which is as long.
    fn fill(out: &mut [Self], values: &[f32]);
}

impl Number for f32 {
    fn fill(out: &mut [Self], values: &[f32]) {
        out.copy_from_slice(values);
    }
}

impl Number for f16 {
    fn fill(out: &mut [Self], values: &[f32]) {
        out.convert_from_f32_slice(values);
    }
}

impl Number for bf16 {
    fn fill(out: &mut [Self], values: &[f32]) {
        out.convert_from_f32_slice(values);
    }
}

/// The first value that is not a finite number.
pub(crate) fn first_not_finite(values: &TensorData) -> Option<f32> {
    fn first<E: Copy + Send + Sync>(
        values: Option<&[E]>,
        is_finite: fn(E) -> bool,
        to_f32: fn(E) -> f32,
    ) -> Option<f32> {
        let first_of = |chunk: &[E]| chunk.iter().copied().find(|&value| !is_finite(value));
        values?.par_chunks(CHUNK).find_map_first(first_of).map(to_f32)
    }
    match values.dtype() {
        DType::F16 => first(values.as_slice().ok(), f16::is_finite, f16::to_f32),
        DType::BF16 => first(values.as_slice().ok(), bf16::is_finite, bf16::to_f32),
        _ => first(values.as_slice().ok(), f32::is_finite, |value| value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the vector: whole blocks of every type.
    const LEN: usize = 512;

    /// Expect that `rows` of a vector are the numbers at `places` of it, whatever it is stored as.
    #[track_caller]
    fn check_vector(rows: &Rows, places: &[usize]) {
        let dir = tempfile::tempdir().unwrap();
        for ty in GgmlType::ALL {
            let bytes: Vec<u8> = (0..ty.bytes_of(LEN).unwrap()).map(|at| (at * 7 % 61) as u8).collect();
            let mut values = [0.0; LEN];
            ty.dequantize(&bytes, &mut values);
            let path = dir.path().join(ty.name());
            std::fs::write(&path, &bytes).unwrap();
            let file = Mapped::open(&path).unwrap();
            let tensor = StoredTensor { ty, shape: vec![LEN], file: &file, range: 0..bytes.len() };
            let read = tensor.values(rows, Layout::Same, DType::F32);
            let expected: Vec<f32> = places.iter().map(|&place| values[place]).collect();
            assert_eq!(read.as_slice::<f32>().unwrap(), expected, "{ty}");
        }
    }

    #[test]
    fn a_vector_of_any_type_is_read() {
        check_vector(&Rows::All, &(0..LEN).collect::<Vec<_>>());
        check_vector(&Rows::Part { range: 30..35, of: LEN }, &[30, 31, 32, 33, 34]);
        let pairs = (0..LEN / 4).flat_map(|head| [0, 2, 1, 3].map(|at| 4 * head + at));
        check_vector(&Rows::Interleaved { head_dim: 4 }, &pairs.collect::<Vec<_>>());
    }
}
