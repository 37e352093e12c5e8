//! A Cholesky factor `G = RᵀR` of a positive definite matrix, a panel of rows at a time.

use cubecl::prelude::*;

use super::UNITS;

/// The number of rows that one launch factors.
pub(super) const PANEL: usize = 32;

/// Computes the rows `start .. start + PANEL` of `R`, from a `gram` from which the products of the earlier rows have
/// been subtracted.
///
/// One cube for each [`UNITS`] columns (x) and matrix (y); each factorizes the diagonal block for itself. A pivot at
/// or below `floor` is what rounding left of a dependent column: it becomes `floor` and the rest of its row zero, so
/// that the factor exists and stays bounded whatever the rank.
#[cube(launch_unchecked)]
pub(super) fn cholesky_panel(gram: &[f32], factor: &mut [f32], count: usize, start: usize, floor: f32) {
    let unit = UNIT_POS as usize;
    let base = CUBE_POS_Y as usize * count * count + start * count;
    let pitch = comptime!(PANEL + 1);
    let mut diagonal = Shared::<[f32]>::new_slice(comptime!(PANEL * (PANEL + 1)));
    let mut inverse = Shared::<[f32]>::new_slice(PANEL);

    let mut n = unit;
    while n < PANEL * PANEL {
        let (row, column) = (n / PANEL, n % PANEL);
        diagonal[row * pitch + column] = gram[base + row * count + start + column];
        n += UNITS;
    }
    sync_cube();
    for p in 0..PANEL {
        if unit == 0 {
            let pivot = diagonal[p * pitch + p];
            let root = pivot.max(floor).sqrt();
            diagonal[p * pitch + p] = root;
            inverse[p] = select(pivot > floor, 1.0 / root, 0.0f32);
        }
        sync_cube();
        if unit > p && unit < PANEL {
            diagonal[p * pitch + unit] *= inverse[p];
        }
        sync_cube();
        let mut n = unit;
        while n < PANEL * PANEL {
            let (row, column) = (n / PANEL, n % PANEL);
            if row > p && column >= row {
                diagonal[row * pitch + column] -= diagonal[p * pitch + row] * diagonal[p * pitch + column];
            }
            n += UNITS;
        }
        sync_cube();
    }

    let column = CUBE_POS_X as usize * UNITS + unit;
    if column < count {
        if column < start + PANEL {
            for p in 0..PANEL {
                let mut value = 0.0f32;
                if column >= start + p {
                    value = diagonal[p * pitch + column - start];
                }
                factor[base + p * count + column] = value;
            }
        } else {
            let mut solved = Array::<f32>::new(PANEL);
            for p in 0..PANEL {
                let mut value = gram[base + p * count + column];
                for q in 0..p {
                    value -= diagonal[q * pitch + p] * solved[q];
                }
                let value = value * inverse[p];
                solved[p] = value;
                factor[base + p * count + column] = value;
            }
        }
    }
}
