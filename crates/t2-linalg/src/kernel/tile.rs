//! Rectangles of sums of products, which the units of a cube share: what [`product`](super::product) and
//! [`turn`](super::turn) spend their time on.

use cubecl::prelude::*;

use super::UNITS;

/// Four values that shared memory hands out at once.
pub(super) type Quad = Vector<f32, Const<4>>;

/// How many terms of each sum are in shared memory at a time.
pub(super) const TERMS: usize = 16;

/// How many columns of the rectangle each unit computes.
pub(super) const COLUMNS: usize = 4;

/// A rectangle of results. Each unit has `4 quads` rows and [`COLUMNS`] columns of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Tile {
    /// How many times four neighbouring rows each unit computes.
    pub(super) quads: usize,
    /// How many units there are side by side.
    pub(super) across: usize,
}

impl Tile {
    /// How many units there are one below the other.
    pub(super) const fn down(self) -> usize {
        UNITS / self.across
    }

    pub(super) const fn rows(self) -> usize {
        4 * self.quads * self.down()
    }

    pub(super) const fn columns(self) -> usize {
        COLUMNS * self.across
    }

    /// The distance in shared memory between two terms of the rows, in quads.
    pub(super) const fn row_pitch(self) -> usize {
        self.rows() / 4 + 1
    }

    /// The distance in shared memory between two terms of the columns.
    pub(super) const fn column_pitch(self) -> usize {
        self.columns() + 1
    }

    /// How many columns of [`TERMS`] terms each unit brings into shared memory.
    pub(super) const fn column_share(self) -> usize {
        self.columns() * TERMS / UNITS
    }

    /// How many sums each unit computes, four to a quad.
    pub(super) const fn sums(self) -> usize {
        self.quads * COLUMNS
    }
}

/// The row of the tile that the first of this unit's four is, in its quad `quad`.
#[cube]
pub(super) fn row_of(quad: usize, #[comptime] tile: Tile) -> usize {
    4 * (UNIT_POS as usize / tile.across + comptime!(tile.down()) * quad)
}

/// The column of the tile that is this unit's column `j`.
#[cube]
pub(super) fn column_of(j: usize, #[comptime] tile: Tile) -> usize {
    UNIT_POS as usize % tile.across + tile.across * j
}

/// Adds the products of [`TERMS`] terms to the sums of this unit.
///
/// They have a sum of their own first, so that rounding grows with the root of the number of tiles and not of that of
/// terms.
#[cube]
pub(super) fn add_terms(
    rows: &Shared<[Quad]>,
    columns: &Shared<[f32]>,
    total: &mut Array<Quad>,
    #[comptime] tile: Tile,
) {
    let unit = UNIT_POS as usize;
    let (down, across) = (unit / tile.across, unit % tile.across);
    let mut part = Array::<Quad>::new(comptime!(tile.sums()));
    let mut x = Array::<Quad>::new(comptime!(tile.quads));
    zero(&mut part, comptime!(tile.sums()));
    for t in 0..TERMS {
        #[unroll]
        for q in 0..tile.quads {
            x[q] = rows[t * comptime!(tile.row_pitch()) + down + comptime!(tile.down()) * q];
        }
        #[unroll]
        for j in 0..COLUMNS {
            let y = Quad::new(columns[t * comptime!(tile.column_pitch()) + across + tile.across * j]);
            #[unroll]
            for q in 0..tile.quads {
                part[j * tile.quads + q] += x[q] * y;
            }
        }
    }
    #[unroll]
    for i in 0..comptime!(tile.sums()) {
        total[i] += part[i];
    }
}

/// Makes the first `length` quads zero.
#[cube]
pub(super) fn zero(quads: &mut Array<Quad>, #[comptime] length: usize) {
    #[unroll]
    for i in 0..length {
        quads[i] = Quad::new(0.0);
    }
}
