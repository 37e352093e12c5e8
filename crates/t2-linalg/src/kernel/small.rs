//! All sweeps over a small triangular factor in one launch: a cube for each, with its rows in shared memory.
//!
//! Rows are turned two at a time, with a rounding each time, where the block pairs of [`rotate`](super::rotate) are
//! turned once for all their rows. The factor can bear it: what comes of it is made orthogonal again. The last sweeps,
//! over the matrix itself, cannot.

use cubecl::prelude::*;

use super::UNITS;
use super::reduce::max_of_cube;
use super::rotate::{guest, home};
use super::rounds::cos_and_sin;

/// The numbers of rows that shared memory can be laid out for: the smaller needs 8 KiB, the larger 20.
const CAPACITIES: [usize; 2] = [32, 64];

/// The number of rows that shared memory is laid out for to hold `used` rows, or none if `available` bytes do not
/// suffice.
pub(super) fn capacity(used: usize, available: usize) -> Option<usize> {
    let bytes = |capacity: usize| size_of::<f32>() * (capacity * (capacity + 1) + 3 * UNITS + 2 * capacity);
    CAPACITIES.into_iter().find(|capacity| used <= *capacity && bytes(*capacity) <= available)
}

/// Sweeps over the first `used` of `count` rows and columns of each matrix, until a sweep finds no larger cosine than
/// `enough`.
///
/// Pairs of rows meet as in a round robin. Each game turns its two rows to be orthogonal and puts the longer one first.
/// One cube for each matrix.
#[cube(launch_unchecked)]
pub(super) fn sweep_all(
    rows: &mut [f32],
    used: usize,
    count: usize,
    max_sweeps: usize,
    tolerance: f32,
    enough: f32,
    #[comptime] capacity: usize,
) {
    // An odd distance, so that a column is in as many banks as it has rows.
    let pitch = comptime!(capacity + 1);
    let unit = UNIT_POS as usize;
    let base = CUBE_POS_X as usize * count * count;
    let mut panel = Shared::<[f32]>::new_slice(comptime!(capacity * (capacity + 1)));
    let mut dots = Shared::<[f32]>::new_slice(comptime!(3 * UNITS));
    let mut cos = Shared::<[f32]>::new_slice(capacity);
    let mut sin = Shared::<[f32]>::new_slice(capacity);

    let mut n = unit;
    while n < used * used {
        panel[n / used * pitch + n % used] = rows[base + n / used * count + n % used];
        n += UNITS;
    }
    sync_cube();
    // An odd number of rows has an empty place at the table.
    let players = used + used % 2;
    let mut sweep = 0usize.runtime();
    let mut cosine = 2.0f32.runtime();
    while sweep < max_sweeps && cosine > enough {
        let mut largest = 0.0f32;
        for round in 0..players - 1 {
            add_products(&panel, &mut dots, players, round, used, capacity);
            sync_cube();
            largest = largest.max(choose_angles(&dots, &mut cos, &mut sin, players, tolerance, capacity));
            sync_cube();
            turn(&mut panel, &cos, &sin, players, round, used, capacity);
            sync_cube();
        }
        cosine = max_of_cube(&mut dots, largest);
        sweep += 1;
    }
    let mut n = unit;
    while n < used * used {
        rows[base + n / used * count + n % used] = panel[n / used * pitch + n % used];
        n += UNITS;
    }
}

/// Computes this unit's share of the scalar products `x·x`, `y·y` and `x·y` of the two rows of its game.
#[cube]
fn add_products(
    panel: &Shared<[f32]>,
    dots: &mut Shared<[f32]>,
    players: usize,
    round: usize,
    used: usize,
    #[comptime] capacity: usize,
) {
    let (pitch, lanes) = (comptime!(capacity + 1), comptime!(2 * UNITS / capacity));
    let unit = UNIT_POS as usize;
    let game = unit / lanes;
    let mut xx = 0.0f32;
    let mut yy = 0.0f32;
    let mut xy = 0.0f32;
    if game < players / 2 {
        let (one, two) = (home(players, round, game), guest(players, round, game));
        let (i, j) = (one.min(two), one.max(two));
        if j < used {
            let mut n = unit % lanes;
            while n < used {
                let (x, y) = (panel[i * pitch + n], panel[j * pitch + n]);
                xx += x * x;
                yy += y * y;
                xy += x * y;
                n += lanes;
            }
        }
    }
    dots[unit] = xx;
    dots[UNITS + unit] = yy;
    dots[2 * UNITS + unit] = xy;
}

/// Computes the rotation of every game. Returns the cosine between the two rows of this unit's game, zero if it has
/// none.
///
/// The second half of `cos` is one for games that exchange their rows, so that the longer one comes first, and zero for
/// others.
#[cube]
fn choose_angles(
    dots: &Shared<[f32]>,
    cos: &mut Shared<[f32]>,
    sin: &mut Shared<[f32]>,
    players: usize,
    tolerance: f32,
    #[comptime] capacity: usize,
) -> f32 {
    let lanes = comptime!(2 * UNITS / capacity);
    let game = UNIT_POS as usize;
    let mut cosine = 0.0f32;
    if game < players / 2 {
        let mut xx = 0.0f32;
        let mut yy = 0.0f32;
        let mut xy = 0.0f32;
        for lane in 0..lanes {
            xx += dots[game * lanes + lane];
            yy += dots[UNITS + game * lanes + lane];
            xy += dots[2 * UNITS + game * lanes + lane];
        }
        let norms = xx.sqrt() * yy.sqrt();
        if norms > 0.0 {
            cosine = xy.abs() / norms;
        }
        let (c, s) = cos_and_sin(xx, yy, xy, tolerance);
        let shift = s / c * xy;
        cos[game] = c;
        sin[game] = s;
        cos[game + comptime!(capacity / 2)] = select(xx - shift < yy + shift, 1.0f32, 0.0f32);
    }
    cosine
}

/// Turns the two rows of every game by its rotation.
#[cube]
fn turn(
    panel: &mut Shared<[f32]>,
    cos: &Shared<[f32]>,
    sin: &Shared<[f32]>,
    players: usize,
    round: usize,
    used: usize,
    #[comptime] capacity: usize,
) {
    let (pitch, lanes) = (comptime!(capacity + 1), comptime!(2 * UNITS / capacity));
    let unit = UNIT_POS as usize;
    let game = unit / lanes;
    if game < players / 2 {
        let (one, two) = (home(players, round, game), guest(players, round, game));
        let (i, j) = (one.min(two), one.max(two));
        let (c, s) = (cos[game], sin[game]);
        let exchange = cos[game + comptime!(capacity / 2)] > 0.0;
        if j < used && (s != 0.0 || exchange) {
            let mut n = unit % lanes;
            while n < used {
                let (x, y) = (panel[i * pitch + n], panel[j * pitch + n]);
                let (first, second) = (c * x - s * y, s * x + c * y);
                panel[i * pitch + n] = select(exchange, second, first);
                panel[j * pitch + n] = select(exchange, first, second);
                n += lanes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_taken_where_it_fits() {
        const KIB: usize = 1024;
        let taken = [(1, 16), (32, 16), (33, 16), (33, 20), (64, 32), (65, 228)];
        let found = taken.map(|(used, available)| capacity(used, available * KIB));
        assert_eq!(found, [Some(32), Some(32), None, Some(64), Some(64), None]);
    }
}
