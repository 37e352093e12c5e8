//! The rotations of one step of a sweep: those that make the rows of each pair of blocks orthogonal.
//!
//! Vectors are rows here, `[rows, stride]`. They are made orthogonal in their first `len` entries; whatever follows in
//! a row is turned along. One step works on `rows / (2 block)` disjoint pairs of blocks of `block` rows each.

use cubecl::prelude::*;

use super::UNITS;
use super::first_order::{SMALL, angle, turn_at_once};
use super::gram::{self, triangle};
use super::reduce::{max_of_cube, sum_of_cube};
use super::repair::{repair, write_repaired};
use super::rounds::play;

/// The numbers of rows that a block can have, the larger first.
pub(super) const BLOCKS: [usize; 2] = [32, 16];

/// From so many vectors on, blocks are the larger ones. With fewer, most of the time goes into rotations, whose cost
/// for each row grows with the block.
const LARGE_FROM: usize = 128;

/// The number of rows in a block for `used` vectors, on a device where cubes have `available` bytes of shared memory.
pub(super) fn block_of(used: usize, available: usize) -> usize {
    let [large, small] = BLOCKS;
    if used >= LARGE_FROM && bytes(large) <= available { large } else { small }
}

/// The shared memory that a cube needs at most for blocks of this size.
const fn bytes(block: usize) -> usize {
    let width = 2 * block;
    let rotations = 3 * triangle(width) + 3 * UNITS + 3 * width + 2 * block;
    let gram = gram::shared_values(width);
    size_of::<f32>() * if rotations > gram { rotations } else { gram }
}

/// The first player of `game` in round `round` of a round robin of `players`, in which all meet once. It is the circle
/// method: player 0 keeps its place, and the others move on by one each round.
#[cube]
pub(super) fn home(players: usize, round: usize, game: usize) -> usize {
    select(game == 0, 0, 1 + (game + round + players - 2) % (players - 1))
}

/// The second player of `game`, who meets [`home`] in round `round`.
#[cube]
pub(super) fn guest(players: usize, round: usize, game: usize) -> usize {
    1 + (players - 2 - game + round) % (players - 1)
}

/// The first rows of the two blocks of `pair`, the earlier block first.
#[cube]
pub(super) fn block_starts(blocks: usize, step: usize, pair: usize, #[comptime] block: usize) -> (usize, usize) {
    let one = home(blocks, step, pair);
    let two = guest(blocks, step, pair);
    (one.min(two) * block, one.max(two) * block)
}

/// Which row of the matrix is row `i` of the panel, which is made of the blocks that begin at the rows `low` and
/// `high`.
#[cube]
pub(super) fn panel_row(i: usize, low: usize, high: usize, #[comptime] block: usize) -> usize {
    select(i < block, low + i, high + i - block)
}

/// The place of the entry `(i, j)` of a symmetric matrix of which the lower triangle is kept, row after row: the larger of
/// the places that `(i, j)` and `(j, i)` would have if both were below the diagonal.
#[cube]
pub(super) fn packed(i: usize, j: usize) -> usize {
    (i * (i + 1) / 2 + j).max(j * (j + 1) / 2 + i)
}

/// Computes, for every pair of blocks, the orthogonal `J` for which the rows of `Jᵀ panel` are orthogonal and their
/// lengths descend.
///
/// One cube for each pair (x) and matrix (y). `grams` has the Gram matrix of each panel in `chunks` parts. It is
/// diagonalized by one cyclic sweep of two-sided Jacobi, whose rotations are accumulated in `J`, or by all of them at once
/// if they are [`SMALL`]; what that took from the orthogonality of `J` is given back by one Newton step. `cosine` takes the
/// largest `|g_ij| / √(g_ii g_jj)` that was found, `active` whether there is anything to turn.
#[cube(launch_unchecked)]
pub(super) fn rotations(
    grams: &[f32],
    rotation: &mut [f32],
    cosine: &mut [f32],
    active: &mut [u32],
    done: &[u32],
    count: usize,
    chunks: usize,
    step: usize,
    tolerance: f32,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let unit = UNIT_POS as usize;
    let matrix = CUBE_POS_Y as usize;
    let blocks = count / block;
    let pairs = blocks / 2;
    let slot = matrix * pairs + CUBE_POS_X as usize;
    let found = (matrix * (blocks - 1) + step) * pairs + CUBE_POS_X as usize;

    if done[matrix] != 0 {
        if unit == 0 {
            active[slot] = 0;
            cosine[found] = 0.0;
        }
        terminate!();
    }

    let mut gram = Shared::<[f32]>::new_slice(comptime!(triangle(width)));
    let mut turned = Shared::<[f32]>::new_slice(comptime!(width * (width + 1)));
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let mut lengths = Shared::<[f32]>::new_slice(comptime!(2 * width));
    let mut ranks = Shared::<[u32]>::new_slice(width);

    add_chunks(grams, &mut gram, slot * chunks * comptime!(triangle(width)), chunks, width);
    sync_cube();
    let (largest, unsorted, angles) = survey(&gram, &mut scratch, &mut lengths, tolerance, width);
    let work = largest > tolerance || unsorted > 0.0;
    if unit == 0 {
        cosine[found] = largest;
        active[slot] = select(work, 1u32, 0u32);
    }
    if !work {
        terminate!();
    }

    if angles < SMALL {
        turn_at_once(&gram, &mut turned, &mut lengths, &mut ranks, tolerance, width);
    } else {
        play(&mut gram, &mut turned, &mut lengths, &mut ranks, tolerance, block);
    }
    sync_cube();
    repair(&turned, &mut gram, width);
    sync_cube();
    write_repaired(&turned, &gram, rotation, slot * width * width, width);
}

/// The sum of the `chunks` parts of a Gram matrix, the first of which begins at the entry `first`.
#[cube]
fn add_chunks(grams: &[f32], gram: &mut Shared<[f32]>, first: usize, chunks: usize, #[comptime] width: usize) {
    let entries = comptime!(triangle(width));
    let share = comptime!(triangle(width).div_ceil(UNITS));
    let unit = UNIT_POS as usize;
    let mut sums = Array::<f32>::new(share);
    #[unroll]
    for i in 0..share {
        sums[i] = 0.0;
    }
    for chunk in 0..chunks {
        #[unroll]
        for i in 0..share {
            let entry = unit + UNITS * i;
            if entry < entries {
                sums[i] += grams[first + chunk * entries + entry];
            }
        }
    }
    #[unroll]
    for i in 0..share {
        let entry = unit + UNITS * i;
        if entry < entries {
            gram[entry] = sums[i];
        }
    }
}

/// The largest `|g_ij| / √(g_ii g_jj)`; one if some row is clearly longer than a row before it, else zero; and the sum of the
/// squares of all [`angle`]s, or one for small blocks, whose rounds take little longer than what could replace them. The lengths of
/// the rows come to `lengths`.
#[cube]
fn survey(
    gram: &Shared<[f32]>,
    scratch: &mut Shared<[f32]>,
    lengths: &mut Shared<[f32]>,
    tolerance: f32,
    #[comptime] width: usize,
) -> (f32, f32, f32) {
    let unit = UNIT_POS as usize;
    if unit < width {
        lengths[unit] = gram[packed(unit, unit)].max(0.0).sqrt();
    }
    sync_cube();
    let mut largest = 0.0f32;
    let mut unsorted = 0.0f32;
    let weighs_angles = comptime!(width == 2 * BLOCKS[0]);
    let mut angles = 0.0f32;
    let mut n = unit;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        if row > column {
            let norms = lengths[row] * lengths[column];
            let (g_ii, g_jj) = (gram[packed(row, row)], gram[packed(column, column)]);
            let g_ij = gram[row * (row + 1) / 2 + column];
            if norms > 0.0 {
                largest = largest.max(g_ij.abs() / norms);
            }
            if g_ii > g_jj * 1.00001 {
                unsorted = 1.0;
            }
            if comptime!(weighs_angles) {
                let angle = angle(g_ii, g_jj, g_ij, norms, tolerance);
                angles += 2.0 * angle * angle;
            }
        }
        n += UNITS;
    }
    let angles = if comptime!(weighs_angles) { sum_of_cube(scratch, angles) } else { 1.0f32.runtime() };
    (max_of_cube(scratch, largest), max_of_cube(scratch, unsorted), angles)
}

/// The places of the rows if the longest is the first; the second half of `lengths` has the squares of their lengths.
#[cube]
pub(super) fn rank(lengths: &Shared<[f32]>, ranks: &mut Shared<[u32]>, #[comptime] width: usize) {
    let unit = UNIT_POS as usize;
    if unit < width {
        let own = lengths[width + unit];
        let mut rank = 0u32;
        for other in 0..width {
            let its = lengths[width + other];
            if its > own || (its == own && other < unit) {
                rank += 1;
            }
        }
        ranks[unit] = rank;
    }
}

/// The largest of the `slots` cosines that a sweep found in each matrix: how far from orthogonal the rows were. One
/// cube for each matrix.
#[cube(launch)]
pub(super) fn sweep_cosine(cosine: &[f32], out: &mut [f32], slots: usize) {
    let matrix = CUBE_POS_X as usize;
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let mut largest = 0.0f32;
    let mut n = UNIT_POS as usize;
    while n < slots {
        largest = largest.max(cosine[matrix * slots + n]);
        n += UNITS;
    }
    let largest = max_of_cube(&mut scratch, largest);
    if UNIT_POS == 0 {
        out[matrix] = largest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_large_where_they_fit_and_pay() {
        const KIB: usize = 1024;
        let cases = [(64, 48), (4096, 16), (4096, 32), (4096, 48)];
        let found = cases.map(|(used, available)| block_of(used, available * KIB));
        assert_eq!(found, [16, 16, 32, 32]);
        assert!(bytes(16) <= 16 * KIB, "{}", bytes(16));
    }
}
