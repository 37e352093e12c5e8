//! The rounds that a panel's rows play: the rotations that make its Gram matrix diagonal, and what they come to.

use cubecl::prelude::*;

use super::UNITS;
use super::rotate::{packed, rank};
use super::seats::{games_of, meetings, next_seat, pairs, place, seat};

/// The cosine and the sine of a rotation.
type Angle = Vector<f32, Const<2>>;

/// How many pairs of games one unit turns.
const fn pair_share(block: usize) -> usize {
    pairs(block).div_ceil(UNITS)
}

/// Of how many games one unit turns the two columns of `J`, in one row.
const fn column_share(block: usize) -> usize {
    2 * block * block / UNITS
}

/// Diagonalizes `gram`, a lower triangle, row after row, by one cyclic sweep of two-sided Jacobi. What its rotations come to is
/// written to `turned`, `[2 block, 2 block + 1]`: the column that makes the longest row is the first. `gram`, and whatever is in
/// `lengths` and `ranks`, is used up.
#[cube]
pub(super) fn play(
    gram: &mut Shared<[f32]>,
    turned: &mut Shared<[f32]>,
    lengths: &mut Shared<[f32]>,
    ranks: &mut Shared<[u32]>,
    tolerance: f32,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let unit = UNIT_POS as usize;
    let mut angles = Shared::<[Angle]>::new_slice(block);
    let mut passed = Shared::<[f32]>::new_slice(comptime!(2 * UNITS));
    let mut products = Array::<f32>::new(comptime!(4 * pair_share(block)));
    let mut first = Array::<f32>::new(comptime!(column_share(block)));
    let mut second = Array::<f32>::new(comptime!(column_share(block)));
    let mut next = Array::<u32>::new(comptime!(4 * pair_share(block)));
    let met_next = take_seats(gram, turned, lengths, &mut products, &mut next, block);
    unit_columns(&mut first, &mut second, block);
    let mut met = 0.0f32;
    if unit < block {
        met = choose(&*gram, lengths, &mut angles, 0, tolerance, block);
    }
    sync_cube();
    for round in 0..width - 1 {
        turn_products(&*gram, &angles, &mut products, block);
        turn_columns(&mut first, &mut second, &angles, &mut passed, block);
        move_who_meet_next(gram, &products, &next, block);
        sync_cube();
        // The others move while some units choose the angles of the next round.
        if unit < block {
            gram[met_next] = met;
            if round + 1 < width - 1 {
                met = choose(&*gram, lengths, &mut angles, round + 1, tolerance, block);
            }
        }
        move_others(gram, &products, &next, block);
        move_columns(&mut first, &mut second, &passed, block);
        sync_cube();
    }
    rank(&*lengths, ranks, width);
    sync_cube();
    write_columns(&first, &second, &*ranks, turned, block);
}

/// Brings the products to where they belong in the first round, in which row `i` sits on the seat `i`, and finds out to where
/// those that this unit turns move after each round. Returns to where that of its game moves, if it has one.
///
/// The places go through memory, `scratch`, since compilers compute them again in every round otherwise.
#[cube]
fn take_seats(
    gram: &mut Shared<[f32]>,
    scratch: &mut Shared<[f32]>,
    lengths: &mut Shared<[f32]>,
    products: &mut Array<f32>,
    next: &mut Array<u32>,
    #[comptime] block: usize,
) -> usize {
    let unit = UNIT_POS as usize;
    let shared = comptime!(4 * pair_share(block));
    #[unroll]
    for i in 0..comptime!(pair_share(block)) {
        let pair = unit + UNITS * i;
        let (later, earlier) = games_of(pair, block);
        #[unroll]
        for n in 0..4usize {
            let (s, t) = (seat(later, comptime!(n / 2 == 1), block), seat(earlier, comptime!(n % 2 == 1), block));
            products[4 * i + n] = if pair < comptime!(pairs(block)) { gram[packed(s, t)] } else { 0.0f32 };
            scratch[unit + UNITS * (4 * i + n)] = place(next_seat(s, block), next_seat(t, block), block) as f32;
        }
    }
    let mut meeting = 0.0f32;
    if unit < block {
        let (s, t) = (seat(unit, false, block), seat(unit, true, block));
        meeting = gram[packed(s, t)];
        scratch[unit + UNITS * shared] = place(next_seat(s, block), next_seat(t, block), block) as f32;
    }
    if unit < comptime!(2 * block) {
        lengths[unit] = gram[packed(unit, unit)];
    }
    sync_cube();
    #[unroll]
    for i in 0..comptime!(pair_share(block)) {
        let pair = unit + UNITS * i;
        if pair < comptime!(pairs(block)) {
            #[unroll]
            for n in 0..4usize {
                gram[pair + comptime!(n * pairs(block))] = products[4 * i + n];
            }
        }
    }
    #[unroll]
    for n in 0..shared {
        next[n] = scratch[unit + UNITS * n] as u32;
    }
    let mut met_next = 0usize;
    if unit < block {
        gram[comptime!(meetings(block)) + unit] = meeting;
        met_next = scratch[unit + UNITS * shared] as usize;
    }
    sync_cube();
    met_next
}

/// Chooses the rotation that makes the two rows of this unit's game orthogonal, and applies it to their own products, of which
/// it returns that of the one with the other.
///
/// `lengths` has the squares of the rows' lengths, in odd rounds in its second half.
#[cube]
fn choose(
    gram: &Shared<[f32]>,
    lengths: &mut Shared<[f32]>,
    angles: &mut Shared<[Angle]>,
    round: usize,
    tolerance: f32,
    #[comptime] block: usize,
) -> f32 {
    let width = comptime!(2 * block);
    let game = UNIT_POS as usize;
    let (i, j) = (seat(game, false, block), seat(game, true, block));
    let now = round % 2 * width;
    let (g_ii, g_jj, g_ij) = (lengths[now + i], lengths[now + j], gram[comptime!(meetings(block)) + game]);
    let (c, s) = cos_and_sin(g_ii, g_jj, g_ij, tolerance);
    let mut angle = Angle::new(c);
    angle.insert(1usize, s);
    angles[game] = angle;
    let mut ii = g_ii;
    let mut jj = g_jj;
    let mut ij = g_ij;
    if s != 0.0 {
        ii = c * (c * g_ii - s * g_ij) - s * (c * g_ij - s * g_jj);
        jj = s * (s * g_ii + c * g_ij) + c * (s * g_ij + c * g_jj);
        ij = 0.0;
    }
    let then = width - now;
    lengths[then + next_seat(i, block)] = ii;
    lengths[then + next_seat(j, block)] = jj;
    ij
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

/// Applies the rotations `R` of a round to what its games did not apply to themselves, `Rᵀ gram R`: the four products of the
/// rows of one game with those of another are turned by one unit.
#[cube]
fn turn_products(gram: &Shared<[f32]>, angles: &Shared<[Angle]>, products: &mut Array<f32>, #[comptime] block: usize) {
    let apart = comptime!(pairs(block));
    #[unroll]
    for i in 0..comptime!(pair_share(block)) {
        let pair = UNIT_POS as usize + UNITS * i;
        if pair < apart {
            let (later, earlier) = games_of(pair, block);
            let (g_ik, g_il) = (gram[pair], gram[pair + apart]);
            let (g_jk, g_jl) = (gram[pair + 2 * apart], gram[pair + 3 * apart]);
            let angle = angles[earlier];
            let (c, s) = (angle.extract(0usize), angle.extract(1usize));
            let (ik, jk) = (c * g_ik - s * g_il, c * g_jk - s * g_jl);
            let (il, jl) = (s * g_ik + c * g_il, s * g_jk + c * g_jl);
            let angle = angles[later];
            let (c, s) = (angle.extract(0usize), angle.extract(1usize));
            products[4 * i] = c * ik - s * jk;
            products[4 * i + 1] = c * il - s * jl;
            products[4 * i + 2] = s * ik + c * jk;
            products[4 * i + 3] = s * il + c * jl;
        }
    }
}

/// Brings the products of rows that meet in the next round to where their angles are chosen.
#[cube]
fn move_who_meet_next(gram: &mut Shared<[f32]>, products: &Array<f32>, next: &Array<u32>, #[comptime] block: usize) {
    // They belong to games that are two apart at most, which are among the first pairs of the units.
    if UNIT_POS < comptime!(2 * block as u32) {
        #[unroll]
        for n in 0..4usize {
            let to = next[n] as usize;
            if to >= comptime!(meetings(block)) {
                gram[to] = products[n];
            }
        }
    }
}

/// Brings the other products to where they belong in the next round.
#[cube]
fn move_others(gram: &mut Shared<[f32]>, products: &Array<f32>, next: &Array<u32>, #[comptime] block: usize) {
    #[unroll]
    for i in 0..comptime!(pair_share(block)) {
        if UNIT_POS as usize + UNITS * i < comptime!(pairs(block)) {
            #[unroll]
            for n in 0..4usize {
                let to = next[4 * i + n] as usize;
                if comptime!(i > 0) || to < comptime!(meetings(block)) {
                    gram[to] = products[4 * i + n];
                }
            }
        }
    }
}

/// The columns of the unit matrix that this unit has: those of as many games as [`column_share`] says, in one row.
#[cube]
fn unit_columns(first: &mut Array<f32>, second: &mut Array<f32>, #[comptime] block: usize) {
    let (row, game) = columns_of(block);
    #[unroll]
    for i in 0..comptime!(column_share(block)) {
        first[i] = select(row == seat(game + i, false, block), 1.0f32, 0.0f32);
        second[i] = select(row == seat(game + i, true, block), 1.0f32, 0.0f32);
    }
}

/// The row of `J` of which this unit has columns, and the first of its games. Units with neighbouring rows are neighbours.
#[cube]
fn columns_of(#[comptime] block: usize) -> (usize, usize) {
    let width = comptime!(2 * block);
    (UNIT_POS as usize % width, UNIT_POS as usize / width * comptime!(column_share(block)))
}

/// Applies the rotations `R` of a round to what they have come to so far, `J ← J R`, and shows the columns that move on to
/// another unit.
#[cube]
fn turn_columns(
    first: &mut Array<f32>,
    second: &mut Array<f32>,
    angles: &Shared<[Angle]>,
    passed: &mut Shared<[f32]>,
    #[comptime] block: usize,
) {
    let share = comptime!(column_share(block));
    let (_, game) = columns_of(block);
    #[unroll]
    for i in 0..share {
        let angle = angles[game + i];
        let (c, s) = (angle.extract(0usize), angle.extract(1usize));
        let (x, y) = (first[i], second[i]);
        first[i] = c * x - s * y;
        second[i] = s * x + c * y;
    }
    passed[UNIT_POS as usize] = first[0];
    passed[UNITS + UNIT_POS as usize] = second[share - 1];
}

/// Moves the columns on to the seats of the next round.
#[cube]
fn move_columns(first: &mut Array<f32>, second: &mut Array<f32>, passed: &Shared<[f32]>, #[comptime] block: usize) {
    let (share, width) = comptime!((column_share(block), 2 * block));
    let unit = UNIT_POS as usize;
    let (is_first, is_last) = (unit < width, unit >= comptime!(UNITS - width));
    let from_above = select(is_last, second[share - 1], passed[(unit + width) % UNITS]);
    let from_below = select(is_first, first[1], passed[UNITS + (unit + UNITS - width) % UNITS]);
    let stays = first[0];
    #[unroll]
    for i in 1..share {
        first[i - 1] = first[i];
        second[share - i] = second[share - i - 1];
    }
    first[share - 1] = from_above;
    second[0] = from_below;
    if is_first {
        first[0] = stays;
    }
}

/// Brings the columns to shared memory, `[2 block, 2 block + 1]`, in the order of their ranks.
#[cube]
fn write_columns(
    first: &Array<f32>,
    second: &Array<f32>,
    ranks: &Shared<[u32]>,
    turned: &mut Shared<[f32]>,
    #[comptime] block: usize,
) {
    let (row, game) = columns_of(block);
    let at = row * comptime!(2 * block + 1);
    #[unroll]
    for i in 0..comptime!(column_share(block)) {
        turned[at + ranks[seat(game + i, false, block)] as usize] = first[i];
        turned[at + ranks[seat(game + i, true, block)] as usize] = second[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::rotate::BLOCKS;

    #[test]
    fn places_fit_where_the_rotations_come_to() {
        for block in BLOCKS {
            assert!(4 * pair_share(block) * UNITS + block <= 2 * block * (2 * block + 1), "blocks of {block}");
        }
    }
}
