//! The rotations of one step of a sweep: those that make the rows of each pair of blocks orthogonal.
//!
//! Vectors are rows here, `[rows, stride]`. They are made orthogonal in their first `len` entries; whatever follows in
//! a row is turned along. One step works on `rows / (2 block)` disjoint pairs of blocks of `block` rows each.

use cubecl::prelude::*;

use super::UNITS;
use super::gram::{self, triangle};
use super::reduce::max_of_cube;
use super::repair::{repair, write_repaired};

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
    let rotations = 3 * triangle(width) + UNITS + 8 * block + width;
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
/// diagonalized by one cyclic sweep of two-sided Jacobi, whose rotations are accumulated in `J`; what rounding took
/// from the orthogonality of `J` is given back by one Newton step. `cosine` takes the largest `|g_ij| / √(g_ii g_jj)`
/// that was found, `active` whether there is anything to turn.
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
    let mut angles = Shared::<[f32]>::new_slice(comptime!(4 * block));
    let mut rows = Shared::<[u32]>::new_slice(comptime!(4 * block));
    let mut order = Shared::<[u32]>::new_slice(width);

    add_chunks(grams, &mut gram, slot * chunks * comptime!(triangle(width)), chunks, width);
    sync_cube();
    let (largest, unsorted) = largest_cosine(&gram, &mut scratch, width);
    let work = largest > tolerance || unsorted > 0.0;
    if unit == 0 {
        cosine[found] = largest;
        active[slot] = select(work, 1u32, 0u32);
    }
    if !work {
        terminate!();
    }

    let mut n = unit;
    while n < width * width {
        turned[n / width * (width + 1) + n % width] = select(n / width == n % width, 1.0f32, 0.0f32);
        n += UNITS;
    }
    sync_cube();
    for round in 0..width {
        // Some units choose the angles of a round while the others accumulate those of the round before.
        if unit < block {
            if round < width - 1 {
                choose(&mut gram, &mut angles, &mut rows, round, tolerance, block);
            }
        } else if round > 0 {
            accumulate(&mut turned, &angles, &rows, round - 1, block);
        }
        sync_cube();
        if round < width - 1 {
            turn_others(&mut gram, &angles, &rows, round, block);
        }
        sync_cube();
    }
    descending(&gram, &mut order, width);
    sync_cube();
    repair(&turned, &order, &mut gram, width);
    sync_cube();
    write_repaired(&turned, &order, &gram, rotation, slot * width * width, width);
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

/// The largest `|g_ij| / √(g_ii g_jj)`, and one if some row is clearly longer than a row before it, else zero.
#[cube]
fn largest_cosine(gram: &Shared<[f32]>, scratch: &mut Shared<[f32]>, #[comptime] width: usize) -> (f32, f32) {
    let unit = UNIT_POS as usize;
    if unit < width {
        scratch[unit] = gram[packed(unit, unit)].max(0.0).sqrt();
    }
    sync_cube();
    let mut largest = 0.0f32;
    let mut unsorted = 0.0f32;
    let mut n = unit;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        if row > column {
            let norms = scratch[row] * scratch[column];
            if norms > 0.0 {
                largest = largest.max(gram[row * (row + 1) / 2 + column].abs() / norms);
            }
            if gram[packed(row, row)] > gram[packed(column, column)] * 1.00001 {
                unsorted = 1.0;
            }
        }
        n += UNITS;
    }
    sync_cube();
    (max_of_cube(scratch, largest), max_of_cube(scratch, unsorted))
}

/// Chooses the rotation that makes the two rows of this unit's game orthogonal, and applies it to their own products.
///
/// `angles` has the cosines of a round, then its sines, and `rows` the first row of each game, then the second. Odd
/// rounds have the second half of both.
#[cube]
fn choose(
    gram: &mut Shared<[f32]>,
    angles: &mut Shared<[f32]>,
    rows: &mut Shared<[u32]>,
    round: usize,
    tolerance: f32,
    #[comptime] block: usize,
) {
    let game = UNIT_POS as usize;
    let (i, j) = (home(2 * block, round, game), guest(2 * block, round, game));
    let (ii, jj, ij) = (packed(i, i), packed(j, j), packed(i, j));
    let (g_ii, g_jj, g_ij) = (gram[ii], gram[jj], gram[ij]);
    let (c, s) = cos_and_sin(g_ii, g_jj, g_ij, tolerance);
    let at = round % 2 * 2 * block + game;
    angles[at] = c;
    angles[at + block] = s;
    rows[at] = i as u32;
    rows[at + block] = j as u32;
    if s != 0.0 {
        gram[ii] = c * (c * g_ii - s * g_ij) - s * (c * g_ij - s * g_jj);
        gram[jj] = s * (s * g_ii + c * g_ij) + c * (s * g_ij + c * g_jj);
        gram[ij] = 0.0;
    }
}

/// The cosine `c` and sine `s` for which `c x - s y` and `s x + c y` are orthogonal, given `x·x`, `y·y` and `x·y`;
/// `(1, 0)` if the cosine between `x` and `y` is at most `tolerance`.
#[cube]
pub(super) fn cos_and_sin(g_ii: f32, g_jj: f32, g_ij: f32, tolerance: f32) -> (f32, f32) {
    let mut c = 1.0f32;
    let mut s = 0.0f32;
    if g_ij.abs() > tolerance * g_ii.max(0.0).sqrt() * g_jj.max(0.0).sqrt() {
        let zeta = (g_jj - g_ii) / (2.0 * g_ij);
        let magnitude = zeta.abs();
        let mut tangent = 1.0 / (magnitude + (1.0 + magnitude * magnitude).sqrt());
        if magnitude > 1e9 {
            // In `1 + zeta²` the one would be lost, and for a larger `zeta` the square would overflow.
            tangent = 0.5 / magnitude;
        }
        if zeta < 0.0 {
            tangent = -tangent;
        }
        c = 1.0 / (1.0 + tangent * tangent).sqrt();
        s = c * tangent;
    }
    (c, s)
}

/// Applies the rotations `R` of a round to what its games did not apply to themselves: `gram ← Rᵀ gram R`. The four
/// products of the rows of one game with those of another are turned by one unit.
///
/// The games stand in a circle, and a unit takes one of them and those that follow it at certain distances, up to half the way
/// around. There two games would meet twice, so only the first half of them looks for the other.
#[cube]
fn turn_others(
    gram: &mut Shared<[f32]>,
    angles: &Shared<[f32]>,
    rows: &Shared<[u32]>,
    round: usize,
    #[comptime] block: usize,
) {
    let games = block;
    let first = round % 2 * 2 * block;
    let game = UNIT_POS as usize % games;
    let mut distance = UNIT_POS as usize / games + 1;
    while distance < games / 2 || (distance == games / 2 && game < games / 2) {
        let other = (game + distance) % games;
        let (a, b) = (first + game.max(other), first + game.min(other));
        let (i, j) = (rows[a] as usize, rows[a + block] as usize);
        let (k, l) = (rows[b] as usize, rows[b + block] as usize);
        let (at_ik, at_il, at_jk, at_jl) = (packed(i, k), packed(i, l), packed(j, k), packed(j, l));
        let (g_ik, g_il, g_jk, g_jl) = (gram[at_ik], gram[at_il], gram[at_jk], gram[at_jl]);
        let (c, s) = (angles[b], angles[b + block]);
        let (ik, jk) = (c * g_ik - s * g_il, c * g_jk - s * g_jl);
        let (il, jl) = (s * g_ik + c * g_il, s * g_jk + c * g_jl);
        let (c, s) = (angles[a], angles[a + block]);
        gram[at_ik] = c * ik - s * jk;
        gram[at_jk] = s * ik + c * jk;
        gram[at_il] = c * il - s * jl;
        gram[at_jl] = s * il + c * jl;
        distance += comptime!(UNITS / block);
    }
}

/// Applies the rotations `R` of a round to what they have come to so far, `turned ← turned R`, by the units that choose
/// no angles.
#[cube]
fn accumulate(
    turned: &mut Shared<[f32]>,
    angles: &Shared<[f32]>,
    rows: &Shared<[u32]>,
    round: usize,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let helper = UNIT_POS as usize - block;
    let game = round % 2 * 2 * block + helper % block;
    let (k, l) = (rows[game] as usize, rows[game + block] as usize);
    let (c, s) = (angles[game], angles[game + block]);
    let mut row = helper / block;
    while row < width {
        let at = row * (width + 1);
        let (x, y) = (turned[at + k], turned[at + l]);
        turned[at + k] = c * x - s * y;
        turned[at + l] = s * x + c * y;
        row += comptime!(UNITS / block - 1);
    }
}

/// The order in which the rows become shorter; the squares of their lengths are the diagonal of `gram`.
#[cube]
fn descending(gram: &Shared<[f32]>, order: &mut Shared<[u32]>, #[comptime] width: usize) {
    let unit = UNIT_POS as usize;
    if unit < width {
        let own = gram[packed(unit, unit)];
        let mut place = 0usize;
        for other in 0..width {
            let its = gram[packed(other, other)];
            if its > own || (its == own && other < unit) {
                place += 1;
            }
        }
        order[place] = unit as u32;
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
