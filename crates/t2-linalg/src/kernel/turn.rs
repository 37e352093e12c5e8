//! The application of the rotations that [`rotate`](super::rotate) computed.

use cubecl::prelude::*;

use super::UNITS;
use super::rotate::{block_starts, panel_row};
use super::tile::{COLUMNS, Quad, TERMS, Tile, add_terms, column_of, row_of, zero};

/// The part of a panel of `width` rows that one cube turns.
pub(super) const fn tile_of(width: usize) -> Tile {
    let across = 32;
    Tile { quads: width * across / UNITS / 4, across }
}

/// Turns all `stride` columns of the panel of every active pair: `panel ← Jᵀ panel`.
///
/// One cube for each tile of columns (x), pair (y) and matrix (z). It has read all of its columns before it writes the
/// first.
#[cube(launch_unchecked)]
pub(super) fn turn(
    rows: &mut [f32],
    rotation: &[f32],
    active: &[u32],
    count: usize,
    stride: usize,
    step: usize,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let tile = comptime!(tile_of(2 * block));
    let pair = CUBE_POS_Y as usize;
    let matrix = CUBE_POS_Z as usize;
    let blocks = count / block;
    let slot = matrix * (blocks / 2) + pair;
    if active[slot] == 0 {
        terminate!();
    }
    let first = CUBE_POS_X as usize * comptime!(tile.columns());
    let base = matrix * count * stride;
    let (low, high) = block_starts(blocks, step, pair, block);

    let mut angles = Shared::<[Quad]>::new_slice(comptime!(TERMS * tile.row_pitch()));
    let mut panel = Shared::<[f32]>::new_slice(comptime!(TERMS * tile.column_pitch()));
    let mut next = Array::<f32>::new(comptime!(tile.column_share()));
    let mut total = Array::<Quad>::new(comptime!(tile.sums()));
    zero(&mut total, comptime!(tile.sums()));
    let mut next_angles = fetch_angles(rotation, slot * width * width, width);
    fetch(&*rows, &mut next, base, low, high, stride, first, 0, block, tile);
    #[unroll]
    for part in 0..comptime!(width / TERMS) {
        keep_angles(&mut angles, next_angles, width, tile);
        keep(&mut panel, &next, tile);
        sync_cube();
        if comptime!(part + 1 < width / TERMS) {
            let top = (part + 1) * TERMS;
            next_angles = fetch_angles(rotation, slot * width * width + top * width, width);
            fetch(&*rows, &mut next, base, low, high, stride, first, top, block, tile);
        }
        add_terms(&angles, &panel, &mut total, tile);
        sync_cube();
    }
    #[unroll]
    for q in 0..tile.quads {
        #[unroll]
        for c in 0..4usize {
            let row = base + panel_row(row_of(q, tile) + c, low, high, block) * stride;
            #[unroll]
            for j in 0..COLUMNS {
                let column = first + column_of(j, tile);
                if column < stride {
                    rows[row + column] = total[j * tile.quads + q].extract(c);
                }
            }
        }
    }
}

/// Reads this unit's share of [`TERMS`] rows of the panel, from its row `top` on.
#[cube]
fn fetch(
    rows: &[f32],
    out: &mut Array<f32>,
    base: usize,
    low: usize,
    high: usize,
    stride: usize,
    first: usize,
    top: usize,
    #[comptime] block: usize,
    #[comptime] tile: Tile,
) {
    let columns = comptime!(tile.columns());
    #[unroll]
    for s in 0..comptime!(tile.column_share()) {
        let i = UNIT_POS as usize + UNITS * s;
        let (row, column) = (top + i / columns, first + i % columns);
        let mut value = 0.0f32;
        if column < stride {
            value = rows[base + panel_row(row, low, high, block) * stride + column];
        }
        out[s] = value;
    }
}

/// Brings what [`fetch`] read into shared memory.
#[cube]
fn keep(out: &mut Shared<[f32]>, values: &Array<f32>, #[comptime] tile: Tile) {
    let columns = comptime!(tile.columns());
    #[unroll]
    for s in 0..comptime!(tile.column_share()) {
        let i = UNIT_POS as usize + UNITS * s;
        out[i / columns * comptime!(tile.column_pitch()) + i % columns] = values[s];
    }
}

/// Reads this unit's share of [`TERMS`] rows of `J`, from the entry `at` on.
#[cube]
fn fetch_angles(rotation: &[f32], at: usize, #[comptime] width: usize) -> Quad {
    let unit = UNIT_POS as usize;
    let mut value = Quad::new(0.0);
    if unit < comptime!(TERMS * width / 4) {
        #[unroll]
        for c in 0..4usize {
            value.insert(c, rotation[at + 4 * unit + c]);
        }
    }
    value
}

/// Brings what [`fetch_angles`] read into shared memory.
#[cube]
fn keep_angles(out: &mut Shared<[Quad]>, value: Quad, #[comptime] width: usize, #[comptime] tile: Tile) {
    let quads = comptime!(width / 4);
    let unit = UNIT_POS as usize;
    if unit < comptime!(TERMS * width / 4) {
        out[unit / quads * comptime!(tile.row_pitch()) + unit % quads] = value;
    }
}
