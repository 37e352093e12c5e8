//! The rotations of a panel all at once, where they are small.
//!
//! For a Gram matrix `G`, `J = I + K` with the antisymmetric `k_ij = g_ij / (g_jj - g_ii)` leaves of what is beside the diagonal
//! of `Jᵀ G J` only products of it with `K`, as the rounds of two-sided Jacobi do, too. `JᵀJ` is `I + KᵀK`, of which one Newton
//! step leaves at most `3 ‖K‖⁴` (Frobenius), for [`SMALL`] 1e-9.

use cubecl::prelude::*;

use super::UNITS;
use super::rotate::{packed, rank};

/// Rotations are small if the squares of all `k_ij` come to less than this.
pub(super) const SMALL: f32 = 2e-5;

/// `k_ij`: zero if the cosine between the rows `i` and `j` is at most `tolerance`, and one if it is not small in any case.
/// `norms` is the product of their lengths.
#[cube]
pub(super) fn angle(g_ii: f32, g_jj: f32, g_ij: f32, norms: f32, tolerance: f32) -> f32 {
    let mut angle = 0.0f32;
    if g_ij.abs() > tolerance * norms {
        angle = 1.0;
        let gap = g_jj - g_ii;
        if g_ij.abs() < 0.01 * gap.abs() {
            angle = g_ij / gap;
        }
    }
    angle
}

/// Writes `J` to `turned`, `[width, width + 1]`: the column that makes the longest row is the first.
///
/// `gram` is a lower triangle, row after row. `lengths` has the lengths of the rows, and room for as many values more, where the
/// squares of what becomes of them are written.
#[cube]
pub(super) fn turn_at_once(
    gram: &Shared<[f32]>,
    turned: &mut Shared<[f32]>,
    lengths: &mut Shared<[f32]>,
    ranks: &mut Shared<[u32]>,
    tolerance: f32,
    #[comptime] width: usize,
) {
    let unit = UNIT_POS as usize;
    if unit < width {
        let g_jj = gram[packed(unit, unit)];
        let mut turned_length = g_jj;
        for other in 0..width {
            if other != unit {
                let (g_ii, g_ij) = (gram[packed(other, other)], gram[packed(other, unit)]);
                turned_length += g_ij * angle(g_ii, g_jj, g_ij, lengths[other] * lengths[unit], tolerance);
            }
        }
        lengths[width + unit] = turned_length;
    }
    sync_cube();
    rank(&*lengths, ranks, width);
    sync_cube();
    let mut n = unit;
    while n < width * width {
        let (row, column) = (n / width, n % width);
        let mut entry = 1.0f32;
        if row != column {
            let (g_ii, g_jj) = (gram[packed(row, row)], gram[packed(column, column)]);
            entry = angle(g_ii, g_jj, gram[packed(row, column)], lengths[row] * lengths[column], tolerance);
        }
        turned[row * (width + 1) + ranks[column] as usize] = entry;
        n += UNITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 0.01 beside the diagonal, products of it with angles as large are left, and `JᵀJ` is off by products of two angles.
    #[test]
    fn small_angles_leave_products_of_small_numbers() {
        let gram = [[4.0, 0.01, -0.008], [0.01, 2.0, 0.009], [-0.008, 0.009, 1.0]];
        let rows = [0, 1, 2];
        let rotation = rows.map(|i| {
            rows.map(|j| {
                let norms = f32::sqrt(gram[i][i] * gram[j][j]);
                if i == j { 1.0 } else { angle(gram[i][i], gram[j][j], gram[i][j], norms, 1e-6) }
            })
        });
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let product: f32 = rows.iter().map(|&k| rotation[k][i] * rotation[k][j]).sum();
            let beside: f32 =
                rows.iter().flat_map(|&k| rows.map(|l| rotation[k][i] * gram[k][l] * rotation[l][j])).sum();
            assert!(product.abs() < 2e-4, "{i} and {j}: {product}");
            assert!(beside.abs() < 2e-4, "{i} and {j}: {beside}");
        }
    }

    #[test]
    fn what_is_orthogonal_stays_and_what_is_not_small_counts_as_one() {
        assert_eq!(angle(4.0, 1.0, 1e-6, 2.0, 1e-6), 0.0);
        assert_eq!(angle(4.0, 1.0, 0.3, 2.0, 1e-6), 1.0);
        assert_eq!(angle(1.0, 1.0, 1e-4, 1.0, 1e-6), 1.0);
        assert!(angle(1.0, 1.0, 1e-4, 1.0, 1e-6) > SMALL);
    }
}
