//! From a stored tensor to a parameter: which of its rows, in which order, which way round.

use std::ops::Range;

/// Which way round a stored tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As in the decoder.
    Same,
    /// A linear layer: stored `[d_out, d_in]`, `[d_in, d_out]` in the decoder.
    Transposed,
}

impl Layout {
    /// The shape in the decoder of a tensor that is stored as `shape`; and the other way round.
    pub(crate) fn turn(self, shape: &[usize]) -> Vec<usize> {
        match self {
            Self::Same => shape.to_vec(),
            Self::Transposed => shape.iter().rev().copied().collect(),
        }
    }

    /// Reorder row-major `values` so that they have `shape`.
    pub(crate) fn arrange<E: Copy>(self, values: Vec<E>, shape: &[usize]) -> Vec<E> {
        match (self, shape) {
            (Self::Transposed, &[rows, cols]) => transpose(&values, rows, cols),
            _ => values,
        }
    }
}

/// Which rows of a stored tensor (its first dimension) make up a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All of them, in order.
    All,
    /// Some of them: several parameters are stored as one tensor.
    Part {
        /// The rows of this parameter.
        range: Range<usize>,
        /// How many rows the stored tensor has.
        of: usize,
    },
    /// All of them, with the two halves of every head interleaved: for `h = head_dim / 2`, the rows are stored in the
    /// order `0, h, 1, h + 1, …`, rotary pairs side by side, where the decoder has pairs half a head apart.
    Interleaved {
        /// Rows of a head.
        head_dim: usize,
    },
    /// Some of them, interleaved in the same way: a projection that is stored in one tensor with others.
    InterleavedPart {
        /// The rows of this parameter.
        range: Range<usize>,
        /// How many rows the stored tensor has.
        of: usize,
        /// Rows of a head.
        head_dim: usize,
    },
}

impl Rows {
    /// The shape of the whole stored tensor, where the rows of one parameter have `shape`.
    pub(crate) fn stored_shape(&self, mut shape: Vec<usize>) -> Vec<usize> {
        if let (Self::Part { of, .. } | Self::InterleavedPart { of, .. }, Some(rows)) = (self, shape.first_mut()) {
            *rows = *of;
        }
        shape
    }

    /// The same rows, where the whole tensor that they are of is the part `range` of one with `of` rows.
    pub(crate) fn within(self, range: Range<usize>, of: usize) -> Self {
        match self {
            Self::All => Self::Part { range, of },
            Self::Interleaved { head_dim } => Self::InterleavedPart { range, of, head_dim },
            part @ (Self::Part { .. } | Self::InterleavedPart { .. }) => part,
        }
    }

    /// The bytes of a stored tensor of `rows` rows that belong to the parameter, in the order of the file.
    pub(crate) fn bytes<'a>(&self, data: &'a [u8], rows: usize) -> &'a [u8] {
        let stride = data.len() / rows.max(1);
        let range = self.range(rows);
        &data[range.start * stride..range.end * stride]
    }

    /// How many rows of a stored tensor of `rows` rows belong to the parameter.
    pub(crate) fn count(&self, rows: usize) -> usize {
        self.range(rows).len()
    }

    /// Where in a stored tensor of `rows` rows those of the parameter are.
    fn range(&self, rows: usize) -> Range<usize> {
        match self {
            Self::Part { range, .. } | Self::InterleavedPart { range, .. } => range.clone(),
            Self::All | Self::Interleaved { .. } => 0..rows,
        }
    }

    /// The stored row that is row `row` of the parameter.
    pub(crate) fn stored(&self, row: usize) -> usize {
        match self {
            Self::All => row,
            Self::Part { range, .. } => range.start + row,
            Self::Interleaved { head_dim } => interleaved(row, *head_dim),
            Self::InterleavedPart { range, head_dim, .. } => range.start + interleaved(row, *head_dim),
        }
    }

    /// The elements of a stored tensor of `rows` rows that belong to the parameter, in the order of the decoder.
    pub(crate) fn pick<E: Copy>(&self, stored: &[E], rows: usize) -> Vec<E> {
        let stride = stored.len() / rows.max(1);
        let row = |row| &stored[self.stored(row) * stride..(self.stored(row) + 1) * stride];
        (0..self.count(rows)).flat_map(row).copied().collect()
    }

    /// Write the elements of a parameter, in the order of the decoder, to their place in the stored tensor.
    pub(crate) fn place<E: Copy>(&self, values: &[E], stored: &mut [E], rows: usize) {
        let stride = stored.len() / rows.max(1);
        for (row, values) in values.chunks(stride.max(1)).enumerate() {
            let to = self.stored(row) * stride;
            stored[to..to + stride].copy_from_slice(values);
        }
    }
}

/// Where row `row` of the decoder is stored when heads of `head_dim` rows are interleaved.
fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    let (half, index) = (at / (head_dim / 2), at % (head_dim / 2));
    head * head_dim + 2 * index + half
}

/// Row-major `[rows, cols]` from row-major `[cols, rows]`, in tiles that fit the cache.
fn transpose<E: Copy>(values: &[E], rows: usize, cols: usize) -> Vec<E> {
    const TILE: usize = 32;
    let mut out = values.to_vec();
    for row0 in (0..rows).step_by(TILE) {
        for col0 in (0..cols).step_by(TILE) {
            for row in row0..rows.min(row0 + TILE) {
                for col in col0..cols.min(col0 + TILE) {
                    out[row * cols + col] = values[col * rows + row];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_changes_nothing() {
        let values: Vec<usize> = (0..70 * 33).collect();
        let once = transpose(&values, 33, 70);
        assert_eq!(once[70], values[1]);
        assert_eq!(transpose(&once, 70, 33), values);
    }

    #[track_caller]
    fn check(rows: &Rows, expected: &[usize]) {
        // Eight rows of two elements, named by their row.
        let stored: Vec<usize> = (0..8).flat_map(|row| [row, row]).collect();
        let order: Vec<usize> = (0..rows.count(8)).map(|row| rows.stored(row)).collect();
        assert_eq!(order, expected);
        let picked = rows.pick(&stored, 8);
        assert_eq!(picked, order.iter().flat_map(|&row| [row, row]).collect::<Vec<_>>());
        let mut back = vec![99; stored.len()];
        rows.place(&picked, &mut back, 8);
        let written = back.iter().zip(&stored).filter(|(back, _)| **back != 99);
        assert!(written.clone().all(|(back, stored)| back == stored), "{back:?}");
        assert_eq!(written.count(), picked.len());
    }

    #[test]
    fn rows_are_picked_and_put_back() {
        check(&Rows::All, &[0, 1, 2, 3, 4, 5, 6, 7]);
        check(&Rows::Part { range: 2..5, of: 8 }, &[2, 3, 4]);
        check(&Rows::Interleaved { head_dim: 4 }, &[0, 2, 1, 3, 4, 6, 5, 7]);
        check(&Rows::Interleaved { head_dim: 8 }, &[0, 2, 4, 6, 1, 3, 5, 7]);
        check(&Rows::InterleavedPart { range: 2..6, of: 8, head_dim: 4 }, &[2, 4, 3, 5]);
    }
}
