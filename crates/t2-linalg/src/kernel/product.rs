//! Products of matrices in true f32.
//!
//! Burn's own product may run on tensor cores, whose f32 is TF32: ten bits of mantissa. These units multiply and add
//! in f32 and nothing else.

use cubecl::prelude::*;

use super::UNITS;
use super::tile::{COLUMNS, Quad, TERMS, Tile, add_terms, column_of, row_of, zero};

/// The rectangle of results that one cube computes.
const LARGE: Tile = Tile { quads: 2, across: 16 };
/// The same where [`LARGE`] would leave too few cubes.
const SMALL: Tile = Tile { quads: 1, across: 16 };
/// As many cubes keep a large GPU busy.
const ENOUGH_CUBES: usize = 256;

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

/// The rectangle of results for a cube to compute where `matrices` products are `[m, n]`. The sums are the same bits
/// whichever it is.
pub(super) fn tile_of(matrices: usize, m: usize, n: usize) -> Tile {
    let cubes = matrices * m.div_ceil(LARGE.rows()) * n.div_ceil(LARGE.columns());
    if m > SMALL.rows() && cubes >= ENOUGH_CUBES { LARGE } else { SMALL }
}

/// `out = scale A B + diagonal I`, or with `accumulate` `out += scale A B`; one cube for each tile (x: columns, y:
/// rows) and matrix (z).
///
/// With `symmetric` the result is known to be symmetric: tiles below the diagonal are left out. They are filled from
/// those above it, and with `accumulate` left as they are.
///
/// For each operand, `_at` is the place of the first entry, `_row` the distance from one row to the next and `_matrix`
/// that from one matrix to the next, all in entries.
#[cube(launch_unchecked)]
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
    #[comptime] symmetric: bool,
    #[comptime] tile: Tile,
) {
    let matrix = CUBE_POS_Z as usize;
    let first_row = CUBE_POS_Y as usize * comptime!(tile.rows());
    let first_column = CUBE_POS_X as usize * comptime!(tile.columns());
    if comptime!(symmetric) && first_column + comptime!(tile.columns()) <= first_row {
        terminate!();
    }
    let left_base = left_at + matrix * left_matrix;
    let right_base = right_at + matrix * right_matrix;
    let out_base = out_at + matrix * out_matrix;
    let left_by_term = comptime!(matches!(form, Form::LeftTransposed));
    let right_by_term = comptime!(!matches!(form, Form::RightTransposed));

    let mut rows = Shared::<[Quad]>::new_slice(comptime!(TERMS * tile.row_pitch()));
    let mut columns = Shared::<[f32]>::new_slice(comptime!(TERMS * tile.column_pitch()));
    let mut left_next = Array::<Quad>::new(comptime!(tile.quads));
    let mut right_next = Array::<f32>::new(comptime!(tile.column_share()));
    let mut total = Array::<Quad>::new(comptime!(tile.sums()));
    zero(&mut total, comptime!(tile.sums()));

    // What the next tile needs is on its way while the sums of this one are computed.
    fetch_rows(left, &mut left_next, left_base, left_row, first_row, m, 0, depth, left_by_term, tile);
    fetch_columns(right, &mut right_next, right_base, right_row, first_column, n, 0, depth, right_by_term, tile);
    let steps = depth.div_ceil(TERMS);
    for step in 0..steps {
        keep_rows(&mut rows, &left_next, left_by_term, tile);
        keep_columns(&mut columns, &right_next, right_by_term, tile);
        sync_cube();
        let next = (step + 1) * TERMS;
        fetch_rows(left, &mut left_next, left_base, left_row, first_row, m, next, depth, left_by_term, tile);
        fetch_columns(right, &mut right_next, right_base, right_row, first_column, n, next, depth, right_by_term, tile);
        add_terms(&rows, &columns, &mut total, tile);
        sync_cube();
    }

    write_sums(
        out,
        &total,
        out_base,
        out_row,
        first_row,
        first_column,
        m,
        n,
        scale,
        diagonal,
        accumulate,
        symmetric,
        tile,
    );
}

/// Writes the sums of this unit, times `scale`.
#[cube]
fn write_sums(
    out: &mut [f32],
    total: &Array<Quad>,
    base: usize,
    pitch: usize,
    first_row: usize,
    first_column: usize,
    m: usize,
    n: usize,
    scale: f32,
    diagonal: f32,
    #[comptime] accumulate: bool,
    #[comptime] symmetric: bool,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for q in 0..tile.quads {
        #[unroll]
        for c in 0..4usize {
            #[unroll]
            for j in 0..COLUMNS {
                let (row, column) = (first_row + row_of(q, tile) + c, first_column + column_of(j, tile));
                if row < m && column < n {
                    let value = scale * total[j * tile.quads + q].extract(c);
                    write(out, base, pitch, row, column, value, diagonal, accumulate, symmetric);
                }
            }
        }
    }
}

/// Writes an entry of the result, and with `symmetric` the one that is the same.
#[cube]
fn write(
    out: &mut [f32],
    base: usize,
    pitch: usize,
    row: usize,
    column: usize,
    value: f32,
    diagonal: f32,
    #[comptime] accumulate: bool,
    #[comptime] symmetric: bool,
) {
    let at = base + row * pitch + column;
    if comptime!(accumulate) {
        out[at] += value;
    } else {
        let value = value + select(row == column, diagonal, 0.0f32);
        if comptime!(symmetric) {
            if row <= column {
                out[at] = value;
                out[base + column * pitch + row] = value;
            }
        } else {
            out[at] = value;
        }
    }
}

/// The line and the term that load `i` brings, of so many lines. Neighbouring units read neighbouring memory:
/// `terms_are_rows` says that a row of memory holds one term of all lines, and not one line of all terms.
#[cube]
fn place_of(i: usize, #[comptime] lines: usize, #[comptime] terms_are_rows: bool) -> (usize, usize) {
    if comptime!(terms_are_rows) { (i % lines, i / lines) } else { (i / TERMS, i % TERMS) }
}

/// The term `term` of the line `line`, zero where the operand ends.
#[cube]
fn read(
    operand: &[f32],
    base: usize,
    row: usize,
    line: usize,
    lines: usize,
    term: usize,
    terms: usize,
    #[comptime] terms_are_rows: bool,
) -> f32 {
    let mut value = 0.0f32;
    if term < terms && line < lines {
        let at = if comptime!(terms_are_rows) { term * row + line } else { line * row + term };
        value = operand[base + at];
    }
    value
}

/// Reads this unit's share of [`TERMS`] terms, from `first_term` on, of the lines that are rows of the result.
#[cube]
fn fetch_rows(
    operand: &[f32],
    out: &mut Array<Quad>,
    base: usize,
    row: usize,
    first_line: usize,
    lines: usize,
    first_term: usize,
    terms: usize,
    #[comptime] terms_are_rows: bool,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for s in 0..tile.quads {
        let i = UNIT_POS as usize + UNITS * s;
        let (quad, term) = place_of(i, comptime!(tile.rows() / 4), terms_are_rows);
        let line = first_line + 4 * quad;
        let mut value = Quad::new(0.0);
        #[unroll]
        for c in 0..4usize {
            value.insert(c, read(operand, base, row, line + c, lines, first_term + term, terms, terms_are_rows));
        }
        out[s] = value;
    }
}

/// Brings what [`fetch_rows`] read into shared memory.
#[cube]
fn keep_rows(out: &mut Shared<[Quad]>, values: &Array<Quad>, #[comptime] terms_are_rows: bool, #[comptime] tile: Tile) {
    #[unroll]
    for s in 0..tile.quads {
        let i = UNIT_POS as usize + UNITS * s;
        let (quad, term) = place_of(i, comptime!(tile.rows() / 4), terms_are_rows);
        out[term * comptime!(tile.row_pitch()) + quad] = values[s];
    }
}

/// Reads this unit's share of [`TERMS`] terms, from `first_term` on, of the lines that are columns of the result.
#[cube]
fn fetch_columns(
    operand: &[f32],
    out: &mut Array<f32>,
    base: usize,
    row: usize,
    first_line: usize,
    lines: usize,
    first_term: usize,
    terms: usize,
    #[comptime] terms_are_rows: bool,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for s in 0..comptime!(tile.column_share()) {
        let i = UNIT_POS as usize + UNITS * s;
        let (line, term) = place_of(i, comptime!(tile.columns()), terms_are_rows);
        out[s] = read(operand, base, row, first_line + line, lines, first_term + term, terms, terms_are_rows);
    }
}

/// Brings what [`fetch_columns`] read into shared memory.
#[cube]
fn keep_columns(
    out: &mut Shared<[f32]>,
    values: &Array<f32>,
    #[comptime] terms_are_rows: bool,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for s in 0..comptime!(tile.column_share()) {
        let i = UNIT_POS as usize + UNITS * s;
        let (line, term) = place_of(i, comptime!(tile.columns()), terms_are_rows);
        out[term * comptime!(tile.column_pitch()) + line] = values[s];
    }
}
