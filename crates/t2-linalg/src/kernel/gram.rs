//! The Gram matrices of the panels of a step: two blocks of rows make a panel.

use cubecl::prelude::*;

use super::UNITS;
use super::rotate::block_starts;
use super::tile::{Quad, zero};

/// The number of entries of each row that are in shared memory at a time.
const ENTRIES: usize = 48;

/// The rows of the rectangle of sums that a unit computes; it has four columns.
const ROWS: usize = 8;

/// As many cubes keep a large GPU busy.
const ENOUGH_CUBES: usize = 512;

/// A cube sums at least so many entries of each row.
const LEAST_ENTRIES: usize = 6 * ENTRIES;

/// How many entries of rows of length `len` one cube sums. It does not depend on the number of matrices, so neither do
/// the bits of a result.
pub(super) fn chunk_of(len: usize, pairs: usize) -> usize {
    let chunks = (ENOUGH_CUBES / pairs.max(1)).max(1);
    len.div_ceil(chunks).next_multiple_of(ENTRIES).max(LEAST_ENTRIES)
}

/// The number of entries of the lower triangle of a square.
pub(super) const fn triangle(width: usize) -> usize {
    width * (width + 1) / 2
}

/// The number of rectangles of [`ROWS`] by four that hold the lower triangle of a Gram matrix.
const fn rectangles(width: usize) -> usize {
    let strips = width / ROWS;
    strips * (strips + 1)
}

/// The f32 values that a cube shares.
pub(super) const fn shared_values(width: usize) -> usize {
    ENTRIES * (width + 4) + width * width
}

/// Computes the lower triangle of `panel panelᵀ` of every pair, for one chunk of the columns of the panel; the sum over
/// the chunks is left to [`rotations`](super::rotate::rotations).
///
/// One cube for each chunk (x), pair (y) and matrix (z). `out` is
/// `[matrices, pairs, chunks, triangle(width)]`, row after row. The units
/// of a cube form groups, each of which sums its own part of the entries in shared memory; each of these parts has a
/// sum of its own, so that rounding grows with the root of their number.
#[cube(launch_unchecked)]
pub(super) fn gram(
    rows: &[f32],
    out: &mut [f32],
    done: &[u32],
    count: usize,
    stride: usize,
    len: usize,
    step: usize,
    chunk: usize,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    let pitch = comptime!(width / 4 + 1);
    let rectangles = comptime!(rectangles(width));
    let groups = comptime!(UNITS / rectangles);
    let unit = UNIT_POS as usize;
    let matrix = CUBE_POS_Z as usize;
    if done[matrix] != 0 {
        terminate!();
    }
    let (low, high) = block_starts(count / block, step, CUBE_POS_Y as usize, block);
    let (low, high) = ((matrix * count + low) * stride, (matrix * count + high) * stride);
    let first = CUBE_POS_X as usize * chunk;
    let end = (first + chunk).min(len);

    let mut panel = Shared::<[Quad]>::new_slice(comptime!(ENTRIES * pitch));
    let mut sum = Shared::<[f32]>::new_slice(comptime!(width * width));
    let mut next = Array::<Quad>::new(comptime!((width / 4 * ENTRIES).div_ceil(UNITS)));
    let mut total = Array::<Quad>::new(ROWS);
    zero(&mut total, ROWS);
    let group = unit / rectangles;
    let (strip, column) = place_of(unit % rectangles, width);
    fetch(rows, &mut next, low, high, stride, first, end, block);
    let parts = (end - first).div_ceil(ENTRIES);
    for part in 0..parts {
        keep(&mut panel, &next, width);
        sync_cube();
        fetch(rows, &mut next, low, high, stride, first + (part + 1) * ENTRIES, end, block);
        if group < groups {
            let share = comptime!(ENTRIES / groups);
            add_terms(
                &panel,
                &mut total,
                group * share * pitch + 2 * strip,
                group * share * pitch + column,
                share,
                pitch,
            );
        }
        sync_cube();
    }
    add_groups(&mut sum, &total, group, strip, column, groups, width);
    let pairs = count / block / 2;
    let slot = (matrix * pairs + CUBE_POS_Y as usize) * len.div_ceil(chunk) + CUBE_POS_X as usize;
    let first = slot * comptime!(triangle(width));
    let mut n = unit;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        if row >= column {
            out[first + row * (row + 1) / 2 + column] = sum[n];
        }
        n += UNITS;
    }
}

/// Adds the sums of all groups, in their order.
#[cube]
fn add_groups(
    sum: &mut Shared<[f32]>,
    total: &Array<Quad>,
    group: usize,
    strip: usize,
    column: usize,
    #[comptime] groups: usize,
    #[comptime] width: usize,
) {
    for turn in 0..groups {
        if turn == group {
            #[unroll]
            for i in 0..ROWS {
                #[unroll]
                for j in 0..4usize {
                    let at = (ROWS * strip + i) * width + 4 * column + j;
                    let before = select(turn == 0, 0.0f32, sum[at]);
                    sum[at] = before + total[i].extract(j);
                }
            }
        }
        sync_cube();
    }
}

/// Where a rectangle is: its strip of [`ROWS`] rows, and its place in it. Strip `s` has `2 (s + 1)` of them.
#[cube]
fn place_of(rectangle: usize, #[comptime] width: usize) -> (usize, usize) {
    let mut strip = 0usize;
    #[unroll]
    for s in 1..comptime!(width / ROWS) {
        if rectangle >= s * (s + 1) {
            strip = s;
        }
    }
    (strip, rectangle - strip * (strip + 1))
}

/// Reads this unit's share of [`ENTRIES`] entries of each row, from `first` on; those from `end` on are zero. The two
/// blocks begin at `low` and `high`.
#[cube]
fn fetch(
    rows: &[f32],
    out: &mut Array<Quad>,
    low: usize,
    high: usize,
    stride: usize,
    first: usize,
    end: usize,
    #[comptime] block: usize,
) {
    let width = comptime!(2 * block);
    #[unroll]
    for s in 0..comptime!((width / 4 * ENTRIES).div_ceil(UNITS)) {
        let i = UNIT_POS as usize + UNITS * s;
        let (row, entry) = (i / ENTRIES * 4, first + i % ENTRIES);
        let mut value = Quad::new(0.0);
        if row < width && entry < end {
            let at = select(row < block, low + row * stride, high + (row - block) * stride) + entry;
            #[unroll]
            for c in 0..4usize {
                value.insert(c, rows[at + c * stride]);
            }
        }
        out[s] = value;
    }
}

/// Brings what [`fetch`] read into shared memory, four rows to a quad.
#[cube]
fn keep(panel: &mut Shared<[Quad]>, values: &Array<Quad>, #[comptime] width: usize) {
    #[unroll]
    for s in 0..comptime!((width / 4 * ENTRIES).div_ceil(UNITS)) {
        let i = UNIT_POS as usize + UNITS * s;
        if i < width / 4 * ENTRIES {
            panel[i % ENTRIES * comptime!(width / 4 + 1) + i / ENTRIES] = values[s];
        }
    }
}

/// Adds the products of `terms` entries to this unit's rectangle: those of the two quads of rows from place `down` on,
/// with the quad at place `across`.
#[cube]
fn add_terms(
    panel: &Shared<[Quad]>,
    total: &mut Array<Quad>,
    down: usize,
    across: usize,
    #[comptime] terms: usize,
    #[comptime] pitch: usize,
) {
    let mut part = Array::<Quad>::new(ROWS);
    zero(&mut part, ROWS);
    for t in 0..terms {
        let y = panel[across + t * pitch];
        #[unroll]
        for q in 0..2usize {
            let x = panel[down + t * pitch + q];
            #[unroll]
            for c in 0..4usize {
                part[4 * q + c] += Quad::new(x.extract(c)) * y;
            }
        }
    }
    #[unroll]
    for i in 0..ROWS {
        total[i] += part[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each unit has a rectangle of the lower triangle, and each group the same number of entries.
    #[test]
    fn units_share_the_triangle_and_the_entries() {
        for width in [32, 64] {
            let groups = UNITS / rectangles(width);
            assert!(groups > 0 && ENTRIES.is_multiple_of(groups), "{groups} groups at {width}");
        }
    }

    #[test]
    fn chunks_cover_the_rows_and_leave_enough_work() {
        let found = [(256, 4), (1024, 16), (4096, 64), (14_336, 64), (14_336, 1), (3, 1)].map(|(l, p)| chunk_of(l, p));
        assert_eq!(found, [288, 288, 528, 1824, 288, 288]);
    }
}
