//! Products of matrices in true f32.
//!
//! Burn's own product may run on tensor cores, whose f32 is TF32: ten bits of mantissa. These units multiply and add
//! in f32 and nothing else.

use cubecl::prelude::*;

use super::UNITS;

/// The side of the square of results that one cube computes.
pub(super) const TILE: usize = 64;
/// How many terms of each sum are in shared memory at a time.
const DEPTH: usize = 16;
/// How many units there are along one side of a tile.
const SIDE: usize = 16;
/// How many rows and columns of the tile each unit computes.
const SHARE: usize = TILE / SIDE;

/// Which operand is stored transposed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Form {
    /// `A B`, of `[m, depth]` and `[depth, n]`.
    Plain,
    /// `A Bᵀ`, of `[m, depth]` and `[n, depth]`.
    RightTransposed,
    /// `Aᵀ B`, of `[depth, m]` and `[depth, n]`.
    LeftTransposed,
}

/// `out = scale A B + diagonal I`, or with `accumulate` `out += scale A B`; one cube for each tile (x: columns, y:
/// rows) and matrix (z).
///
/// For each operand, `_at` is the place of the first entry, `_row` the distance from one row to the next and `_matrix`
/// that from one matrix to the next, all in entries.
#[cube(launch)]
pub(super) fn product(
    left: &[f32],
    right: &[f32],
    out: &mut [f32],
    left_at: usize,
    left_row: usize,
    left_matrix: usize,
    right_at: usize,
    right_row: usize,
    right_matrix: usize,
    out_at: usize,
    out_row: usize,
    out_matrix: usize,
    m: usize,
    n: usize,
    depth: usize,
    scale: f32,
    diagonal: f32,
    #[comptime] form: Form,
    #[comptime] accumulate: bool,
) {
    let unit = UNIT_POS as usize;
    let matrix = CUBE_POS_Z as usize;
    let (first_row, first_column) = (CUBE_POS_Y as usize * TILE, CUBE_POS_X as usize * TILE);
    let left_base = left_at + matrix * left_matrix;
    let right_base = right_at + matrix * right_matrix;
    let out_base = out_at + matrix * out_matrix;

    let mut rows = Shared::<[f32]>::new_slice(comptime!(DEPTH * (TILE + 1)));
    let mut columns = Shared::<[f32]>::new_slice(comptime!(DEPTH * (TILE + 1)));
    let (across, down) = (unit % SIDE, unit / SIDE);
    let mut total = Array::<f32>::new(comptime!(SHARE * SHARE));
    #[unroll]
    for i in 0..SHARE * SHARE {
        total[i] = 0.0;
    }

    let tiles = depth.div_ceil(DEPTH);
    for tile in 0..tiles {
        load_tile(
            left,
            &mut rows,
            left_base,
            left_row,
            first_row,
            m,
            tile * DEPTH,
            depth,
            comptime!(matches!(form, Form::LeftTransposed)),
        );
        load_tile(
            right,
            &mut columns,
            right_base,
            right_row,
            first_column,
            n,
            tile * DEPTH,
            depth,
            comptime!(!matches!(form, Form::RightTransposed)),
        );
        sync_cube();
        add_tile(&rows, &columns, &mut total);
        sync_cube();
    }

    #[unroll]
    for i in 0..SHARE {
        #[unroll]
        for j in 0..SHARE {
            let (row, column) = (first_row + down + SIDE * i, first_column + across + SIDE * j);
            if row < m && column < n {
                let at = out_base + row * out_row + column;
                let value = scale * total[i * SHARE + j];
                if comptime!(accumulate) {
                    out[at] += value;
                } else {
                    out[at] = value + select(row == column, diagonal, 0.0f32);
                }
            }
        }
    }
}

/// Brings `DEPTH` terms of [`TILE`] lines into shared memory, zero where the operand ends.
///
/// `terms_are_rows` says that a row of memory holds one term of all lines, and not one line of all terms; either way
/// neighbouring units read neighbouring memory.
#[cube]
fn load_tile(
    operand: &[f32],
    out: &mut Shared<[f32]>,
    base: usize,
    row: usize,
    first_line: usize,
    lines: usize,
    first_term: usize,
    terms: usize,
    #[comptime] terms_are_rows: bool,
) {
    let mut i = UNIT_POS as usize;
    while i < DEPTH * TILE {
        let line = if comptime!(terms_are_rows) { i % TILE } else { i / DEPTH };
        let term = if comptime!(terms_are_rows) { i / TILE } else { i % DEPTH };
        let (line_at, term_at) = (first_line + line, first_term + term);
        let mut value = 0.0f32;
        if term_at < terms && line_at < lines {
            let at = if comptime!(terms_are_rows) { term_at * row + line_at } else { line_at * row + term_at };
            value = operand[base + at];
        }
        out[term * (TILE + 1) + line] = value;
        i += UNITS;
    }
}

/// Adds the products of a tile's terms to the entries of this unit.
#[cube]
fn add_tile(rows: &Shared<[f32]>, columns: &Shared<[f32]>, total: &mut Array<f32>) {
    let unit = UNIT_POS as usize;
    let (across, down) = (unit % SIDE, unit / SIDE);
    let mut part = Array::<f32>::new(comptime!(SHARE * SHARE));
    let mut x = Array::<f32>::new(SHARE);
    #[unroll]
    for i in 0..SHARE * SHARE {
        part[i] = 0.0;
    }
    for t in 0..DEPTH {
        #[unroll]
        for i in 0..SHARE {
            x[i] = rows[t * (TILE + 1) + down + SIDE * i];
        }
        #[unroll]
        for j in 0..SHARE {
            let y = columns[t * (TILE + 1) + across + SIDE * j];
            #[unroll]
            for i in 0..SHARE {
                part[i * SHARE + j] += x[i] * y;
            }
        }
    }
    // Summed tile by tile, so that rounding grows with the root of the number of tiles and not of `depth`.
    #[unroll]
    for i in 0..SHARE * SHARE {
        total[i] += part[i];
    }
}
