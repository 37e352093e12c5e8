//! What rounding took from the orthogonality of the rotations of a panel, given back.

use cubecl::prelude::*;

/// How many units there are along one side of a square matrix that the units of a cube share.
const SIDE: usize = 16;

/// Computes the lower triangle `L` of `JᵀJ − I = L + Lᵀ`, for the correction `J ← J (I − L)`. The columns of `J` are
/// those of `turned`, those of longer rows first; `L` is kept row after row.
///
/// A column that belongs to a longer row is corrected by those of shorter rows and never the other way round, which
/// would add to a short row rounding of the size of a long one.
#[cube]
pub(super) fn repair(turned: &Shared<[f32]>, lower: &mut Shared<[f32]>, #[comptime] width: usize) {
    let share = comptime!(width / SIDE);
    let (down, across) = (UNIT_POS as usize / SIDE, UNIT_POS as usize % SIDE);
    let mut x = Array::<f32>::new(share);
    let mut y = Array::<f32>::new(share);
    let mut dots = Array::<f32>::new(comptime!(share * share));
    #[unroll]
    for i in 0..comptime!(share * share) {
        dots[i] = 0.0;
    }
    for t in 0..width {
        let row = t * (width + 1);
        #[unroll]
        for i in 0..share {
            x[i] = turned[row + down + SIDE * i];
            y[i] = turned[row + across + SIDE * i];
        }
        #[unroll]
        for i in 0..share {
            #[unroll]
            for j in 0..comptime!(i + 1) {
                dots[i * share + j] += x[i] * y[j];
            }
        }
    }
    #[unroll]
    for i in 0..share {
        #[unroll]
        for j in 0..comptime!(i + 1) {
            let (row, column) = (down + SIDE * i, across + SIDE * j);
            if row >= column {
                let dot = dots[i * share + j];
                lower[row * (row + 1) / 2 + column] = select(row == column, 0.5 * (dot - 1.0), dot);
            }
        }
    }
}

/// Writes `J (I − L)` to `rotation`, row by row from entry `at` on.
#[cube]
pub(super) fn write_repaired(
    turned: &Shared<[f32]>,
    lower: &Shared<[f32]>,
    rotation: &mut [f32],
    at: usize,
    #[comptime] width: usize,
) {
    let share = comptime!(width / SIDE);
    let (down, across) = (UNIT_POS as usize / SIDE, UNIT_POS as usize % SIDE);
    let mut y = Array::<f32>::new(share);
    let mut corrections = Array::<f32>::new(comptime!(share * share));
    #[unroll]
    for i in 0..comptime!(share * share) {
        corrections[i] = 0.0;
    }
    // In each part of the rows of `L`, only the columns up to it are not zero.
    #[unroll]
    for part in 0..share {
        for n in 0..SIDE {
            let t = SIDE * part + n;
            #[unroll]
            for j in 0..comptime!(part + 1) {
                let own = across + SIDE * j;
                y[j] = select(t >= own, lower[t * (t + 1) / 2 + own.min(t)], 0.0f32);
            }
            #[unroll]
            for i in 0..share {
                let x = turned[(down + SIDE * i) * (width + 1) + t];
                #[unroll]
                for j in 0..comptime!(part + 1) {
                    corrections[i * share + j] += x * y[j];
                }
            }
        }
    }
    #[unroll]
    for i in 0..share {
        #[unroll]
        for j in 0..share {
            let (row, column) = (down + SIDE * i, across + SIDE * j);
            let value = turned[row * (width + 1) + column];
            rotation[at + row * width + column] = value - corrections[i * share + j];
        }
    }
}
