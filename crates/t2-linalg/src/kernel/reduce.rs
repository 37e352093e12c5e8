//! Sums and maxima over the units of a cube, in an order that never changes.

use cubecl::prelude::*;

use super::UNITS;

/// The largest of the values that the units of a cube pass in; `scratch` has room for one value of each unit.
#[cube]
pub(crate) fn max_of_cube(scratch: &mut Shared<[f32]>, value: f32) -> f32 {
    let unit = UNIT_POS as usize;
    scratch[unit] = value;
    sync_cube();
    let mut half = (UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            scratch[unit] = scratch[unit].max(scratch[unit + half]);
        }
        half /= 2;
        sync_cube();
    }
    let largest = scratch[0];
    sync_cube();
    largest
}

/// The sum of the values that the units of a cube pass in; `scratch` has room for one value of each unit.
#[cube]
pub(crate) fn sum_of_cube(scratch: &mut Shared<[f32]>, value: f32) -> f32 {
    let unit = UNIT_POS as usize;
    scratch[unit] = value;
    sync_cube();
    let mut half = (UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            scratch[unit] += scratch[unit + half];
        }
        half /= 2;
        sync_cube();
    }
    let sum = scratch[0];
    sync_cube();
    sum
}
