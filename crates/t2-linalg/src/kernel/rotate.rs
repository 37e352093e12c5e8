//! One step of a sweep: the rotations that make the rows of each pair of blocks orthogonal, and their application.
//!
//! Vectors are rows here, `[rows, stride]`. They are made orthogonal in their first `len` entries; whatever follows in
//! a row is turned along. One step works on `rows / (2 block)` disjoint pairs of blocks of `block` rows each.

use cubecl::prelude::*;

use super::UNITS;
use super::gram::{GRAM_TILE, gram_matrix, largest_cosine};
use super::reduce::max_of_cube;

/// The number of columns that one cube of [`turn`] turns.
pub(super) const TURN_TILE: usize = 64;

/// The number of rows in a block. Two blocks need 13 KiB of shared memory, of the 16 that every device has.
pub(super) const BLOCK: usize = 16;

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

/// Computes, for every pair of blocks, the orthogonal `J` for which the rows of `Jᵀ panel` are orthogonal and their
/// lengths descend.
///
/// One cube for each pair (x) and matrix (y). `G = panel panelᵀ` is diagonalized by one cyclic sweep of two-sided
/// Jacobi, whose rotations are accumulated in `J`; what rounding took from the orthogonality of `J` is given back by
/// one Newton step. `cosine` takes the largest `|g_ij| / √(g_ii g_jj)` that was found, `active` whether there is
/// anything to turn.
#[cube(launch)]
pub(super) fn rotations(
    rows: &[f32],
    rotation: &mut [f32],
    cosine: &mut [f32],
    active: &mut [u32],
    done: &[u32],
    count: usize,
    stride: usize,
    len: usize,
    step: usize,
    tolerance: f32,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let pitch = comptime!(2 * block + 1);
    let unit = UNIT_POS as usize;
    let pair = CUBE_POS_X as usize;
    let matrix = CUBE_POS_Y as usize;
    let blocks = count / block;
    let pairs = blocks / 2;
    let slot = matrix * pairs + pair;

    if done[matrix] != 0 {
        if unit == 0 {
            active[slot] = 0;
            cosine[(matrix * (blocks - 1) + step) * pairs + pair] = 0.0;
        }
        terminate!();
    }

    let mut gram = Shared::<[f32]>::new_slice(comptime!(width * pitch));
    let mut turned = Shared::<[f32]>::new_slice(comptime!(width * pitch));
    let mut panel = Shared::<[f32]>::new_slice(comptime!(width * (GRAM_TILE + 1)));
    let mut cos = Shared::<[f32]>::new_slice(block);
    let mut sin = Shared::<[f32]>::new_slice(block);
    let mut first = Shared::<[u32]>::new_slice(block);
    let mut second = Shared::<[u32]>::new_slice(block);
    let mut rank = Shared::<[u32]>::new_slice(width);

    gram_matrix(rows, &mut gram, &mut panel, count, stride, len, step, block);
    let (largest, unsorted) = largest_cosine(&gram, &mut panel, width);
    let work = largest > tolerance || unsorted > 0.0;
    if unit == 0 {
        cosine[(matrix * (blocks - 1) + step) * pairs + pair] = largest;
        active[slot] = select(work, 1u32, 0u32);
    }
    if !work {
        terminate!();
    }

    let mut n = unit;
    while n < width * width {
        turned[n / width * pitch + n % width] = select(n / width == n % width, 1.0f32, 0.0f32);
        n += UNITS;
    }
    sync_cube();
    for round in 0..width - 1 {
        if unit < block {
            first[unit] = home(width, round, unit) as u32;
            second[unit] = guest(width, round, unit) as u32;
            angle(&gram, &mut cos, &mut sin, first[unit] as usize, second[unit] as usize, tolerance, block);
        }
        sync_cube();
        apply_angles(&mut gram, &mut turned, &cos, &sin, &first, &second, block);
        sync_cube();
    }
    sort_columns(&mut gram, &turned, &mut rank, width);
    sync_cube();
    repair(&gram, &mut turned, width);
    sync_cube();
    write_repaired(&gram, &turned, rotation, slot * width * width, width);
}

/// The rotation that makes the rows `i` and `j`, this unit's game, orthogonal.
#[cube]
fn angle(
    gram: &Shared<[f32]>,
    cos: &mut Shared<[f32]>,
    sin: &mut Shared<[f32]>,
    i: usize,
    j: usize,
    tolerance: f32,
    #[comptime] block: usize,
) {
    let pitch = comptime!(2 * block + 1);
    let unit = UNIT_POS as usize;
    let (c, s) = cos_and_sin(gram[i * pitch + i], gram[j * pitch + j], gram[i * pitch + j], tolerance);
    cos[unit] = c;
    sin[unit] = s;
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

/// Applies the rotations `R` of all games: `gram ← Rᵀ gram R` and `turned ← turned R`. The two-by-two block of `gram`
/// in the rows of one game and the columns of another is turned by one unit.
#[cube]
fn apply_angles(
    gram: &mut Shared<[f32]>,
    turned: &mut Shared<[f32]>,
    cos: &Shared<[f32]>,
    sin: &Shared<[f32]>,
    first: &Shared<[u32]>,
    second: &Shared<[u32]>,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let pitch = comptime!(2 * block + 1);
    let games = block;
    let unit = UNIT_POS as usize;
    let mut n = unit;
    while n < games * games {
        let (a, b) = (n / games, n % games);
        let (i, j) = (first[a] as usize * pitch, second[a] as usize * pitch);
        let (k, l) = (first[b] as usize, second[b] as usize);
        let (c, s) = (cos[b], sin[b]);
        let (ik, jk) = (c * gram[i + k] - s * gram[i + l], c * gram[j + k] - s * gram[j + l]);
        let (il, jl) = (s * gram[i + k] + c * gram[i + l], s * gram[j + k] + c * gram[j + l]);
        let (c, s) = (cos[a], sin[a]);
        gram[i + k] = c * ik - s * jk;
        gram[j + l] = s * il + c * jl;
        if a == b && s != 0.0 {
            gram[i + l] = 0.0;
            gram[j + k] = 0.0;
        } else {
            gram[i + l] = c * il - s * jl;
            gram[j + k] = s * ik + c * jk;
        }
        n += UNITS;
    }
    let mut n = unit;
    while n < width * games {
        let (row, game) = (n / games * pitch, n % games);
        let (k, l) = (row + first[game] as usize, row + second[game] as usize);
        let (x, y) = (turned[k], turned[l]);
        turned[k] = cos[game] * x - sin[game] * y;
        turned[l] = sin[game] * x + cos[game] * y;
        n += UNITS;
    }
}

/// Copies the columns of `turned` into `gram`, in the order in which they make the longest row come first. The squares
/// of the lengths are the diagonal of `gram`, which is overwritten.
#[cube]
fn sort_columns(gram: &mut Shared<[f32]>, turned: &Shared<[f32]>, rank: &mut Shared<[u32]>, #[comptime] width: usize) {
    let pitch = comptime!(width + 1);
    let unit = UNIT_POS as usize;
    if unit < width {
        let own = gram[unit * pitch + unit];
        let mut place = 0u32;
        for other in 0..width {
            let its = gram[other * pitch + other];
            if its > own || (its == own && other < unit) {
                place += 1;
            }
        }
        rank[unit] = place;
    }
    sync_cube();
    let mut n = unit;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        gram[row * pitch + rank[column] as usize] = turned[row * pitch + column];
        n += UNITS;
    }
}

/// Computes the lower triangle `L` of `JᵀJ − I = L + Lᵀ`, for the correction `J ← J (I − L)`.
///
/// A column that belongs to a longer row is corrected by those of shorter rows and never the other way round, which
/// would add to a short row rounding of the size of a long one.
#[cube]
fn repair(sorted: &Shared<[f32]>, lower: &mut Shared<[f32]>, #[comptime] width: usize) {
    let pitch = comptime!(width + 1);
    let unit = UNIT_POS as usize;
    let mut n = unit;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        if row >= column {
            let mut dot = 0.0f32;
            for t in 0..width {
                dot += sorted[t * pitch + row] * sorted[t * pitch + column];
            }
            lower[row * pitch + column] = select(row == column, 0.5 * (dot - 1.0), dot);
        }
        n += UNITS;
    }
}

/// Writes `J (I − L)` to `rotation`, row by row from entry `at` on.
#[cube]
fn write_repaired(
    sorted: &Shared<[f32]>,
    lower: &Shared<[f32]>,
    rotation: &mut [f32],
    at: usize,
    #[comptime] width: usize,
) {
    let pitch = comptime!(width + 1);
    let mut n = UNIT_POS as usize;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        let mut correction = 0.0f32;
        for t in column..width {
            correction += sorted[row * pitch + t] * lower[t * pitch + column];
        }
        rotation[at + n] = sorted[row * pitch + column] - correction;
        n += UNITS;
    }
}

/// Turns all `stride` columns of the panel of every active pair: `panel ← Jᵀ panel`.
///
/// One cube for each [`TURN_TILE`] columns (x), pair (y) and matrix (z).
#[cube(launch)]
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
    let unit = UNIT_POS as usize;
    let pair = CUBE_POS_Y as usize;
    let matrix = CUBE_POS_Z as usize;
    let blocks = count / block;
    let slot = matrix * (blocks / 2) + pair;
    if active[slot] == 0 {
        terminate!();
    }

    let mut panel = Shared::<[f32]>::new_slice(comptime!(width * TURN_TILE));
    let mut turned = Shared::<[f32]>::new_slice(comptime!(width * width));
    let first = CUBE_POS_X as usize * TURN_TILE;
    let base = matrix * count * stride;
    let (low, high) = block_starts(blocks, step, pair, block);
    let mut n = unit;
    while n < width * width {
        turned[n] = rotation[slot * width * width + n];
        n += UNITS;
    }
    let mut n = unit;
    while n < width * TURN_TILE {
        let (row, column) = (n / TURN_TILE, n % TURN_TILE);
        let mut value = 0.0f32;
        if first + column < stride {
            value = rows[base + panel_row(row, low, high, block) * stride + first + column];
        }
        panel[n] = value;
        n += UNITS;
    }
    sync_cube();

    let lanes = comptime!(TURN_TILE / 2);
    let share = comptime!(width * TURN_TILE / 2 / UNITS);
    let (lane, group) = (unit % lanes, unit / lanes);
    let mut left = Array::<f32>::new(share);
    let mut right = Array::<f32>::new(share);
    #[unroll]
    for i in 0..share {
        left[i] = 0.0;
        right[i] = 0.0;
    }
    for t in 0..width {
        let x = panel[t * TURN_TILE + lane];
        let y = panel[t * TURN_TILE + lane + lanes];
        #[unroll]
        for i in 0..share {
            let j = turned[t * width + group * share + i];
            left[i] += j * x;
            right[i] += j * y;
        }
    }
    #[unroll]
    for i in 0..share {
        let row = base + panel_row(group * share + i, low, high, block) * stride + first;
        if first + lane < stride {
            rows[row + lane] = left[i];
        }
        if first + lane + lanes < stride {
            rows[row + lane + lanes] = right[i];
        }
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
