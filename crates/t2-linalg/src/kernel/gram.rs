//! The Gram matrix of a panel of rows, in the shared memory of one cube, and how far from diagonal it is.

use cubecl::prelude::*;

use super::UNITS;
use super::reduce::max_of_cube;
use super::rotate::{block_starts, panel_row};

/// The number of entries of each row that are in shared memory at a time while the Gram matrix is summed.
pub(super) const GRAM_TILE: usize = 32;
/// The side of the square of entries of the Gram matrix that one unit sums.
const SHARE: usize = 4;

/// `gram = panel panelᵀ`.
///
/// The units of a cube form groups, each of which sums its own part of every tile, and each unit sums a square of
/// [`SHARE`] by [`SHARE`] entries. Each tile and each group has a sum of its own, and the sums are added at the end, so
/// that rounding grows with the root of their number.
#[cube]
pub(super) fn gram_matrix(
    rows: &[f32],
    gram: &mut Shared<[f32]>,
    panel: &mut Shared<[f32]>,
    count: usize,
    stride: usize,
    len: usize,
    step: usize,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let pitch = comptime!(2 * block + 1);
    let side = comptime!(2 * block / SHARE);
    let groups = comptime!(UNITS / (2 * block / SHARE) / (2 * block / SHARE));
    let unit = UNIT_POS as usize;
    let base = CUBE_POS_Y as usize * count * stride;
    let (low, high) = block_starts(count / block, step, CUBE_POS_X as usize, block);
    let (group, down, across) = (unit / (side * side), unit / side % side, unit % side);
    let mut total = Array::<f32>::new(comptime!(SHARE * SHARE));
    #[unroll]
    for i in 0..SHARE * SHARE {
        total[i] = 0.0;
    }
    let tiles = len.div_ceil(GRAM_TILE);
    for tile in 0..tiles {
        let mut i = unit;
        while i < width * GRAM_TILE {
            let (row, column) = (i / GRAM_TILE, i % GRAM_TILE);
            let at = tile * GRAM_TILE + column;
            let mut value = 0.0f32;
            if at < len {
                value = rows[base + panel_row(row, low, high, block) * stride + at];
            }
            panel[row * (GRAM_TILE + 1) + column] = value;
            i += UNITS;
        }
        sync_cube();
        add_terms(&*panel, &mut total, group * (GRAM_TILE / groups), comptime!(GRAM_TILE / groups), side);
        sync_cube();
    }
    for turn in 0..groups {
        if turn == group {
            #[unroll]
            for i in 0..SHARE {
                #[unroll]
                for j in 0..SHARE {
                    let at = (down + side * i) * pitch + across + side * j;
                    let before = select(turn == 0, 0.0f32, gram[at]);
                    gram[at] = before + total[i * SHARE + j];
                }
            }
        }
        sync_cube();
    }
}

/// Adds the products of `terms` entries, from the entry `first` of each row of the panel on, to this unit's square.
#[cube]
fn add_terms(
    panel: &Shared<[f32]>,
    total: &mut Array<f32>,
    first: usize,
    #[comptime] terms: usize,
    #[comptime] side: usize,
) {
    let unit = UNIT_POS as usize;
    let (down, across) = (unit / side % side, unit % side);
    let mut part = Array::<f32>::new(comptime!(SHARE * SHARE));
    let mut x = Array::<f32>::new(SHARE);
    #[unroll]
    for i in 0..SHARE * SHARE {
        part[i] = 0.0;
    }
    for term in 0..terms {
        let t = first + term;
        #[unroll]
        for i in 0..SHARE {
            x[i] = panel[(down + side * i) * (GRAM_TILE + 1) + t];
        }
        #[unroll]
        for j in 0..SHARE {
            let y = panel[(across + side * j) * (GRAM_TILE + 1) + t];
            #[unroll]
            for i in 0..SHARE {
                part[i * SHARE + j] += x[i] * y;
            }
        }
    }
    #[unroll]
    for i in 0..SHARE * SHARE {
        total[i] += part[i];
    }
}

/// The largest `|g_ij| / √(g_ii g_jj)`, and one if some row is clearly longer than a row before it, else zero.
#[cube]
pub(super) fn largest_cosine(
    gram: &Shared<[f32]>,
    scratch: &mut Shared<[f32]>,
    #[comptime] width: usize,
) -> (f32, f32) {
    let pitch = comptime!(width + 1);
    let unit = UNIT_POS as usize;
    let mut largest = 0.0f32;
    let mut unsorted = 0.0f32;
    let mut i = unit;
    while i < width * width {
        let (row, column) = (i / width, i % width);
        if row < column {
            let norms = gram[row * pitch + row].sqrt() * gram[column * pitch + column].sqrt();
            if norms > 0.0 {
                largest = largest.max(gram[row * pitch + column].abs() / norms);
            }
            if gram[column * pitch + column] > gram[row * pitch + row] * 1.00001 {
                unsorted = 1.0;
            }
        }
        i += UNITS;
    }
    (max_of_cube(scratch, largest), max_of_cube(scratch, unsorted))
}
