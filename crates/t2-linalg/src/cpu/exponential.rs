//! Powers of two and what follows from them, a vector at a time.

use std::f32::consts::LN_2;

use pulp::Simd;

/// `1.5 · 2^23`: added to a number below `2^22`, it leaves the nearest integer in the last bits.
const ROUND: f32 = 12_582_912.0;

/// `ln(2)^i / i!`, the series of `2^x`, highest power first. On `[-1/2, 1/2]` what is left out is below 6e-9.
const SERIES: [f32; 8] = {
    let mut terms = [1.0; 8];
    let mut i = 1;
    while i < 8 {
        terms[7 - i] = terms[8 - i] * LN_2 / i as f32;
        i += 1;
    }
    terms
};

/// The smallest `x` whose `2^x` is a normal number.
const LOWEST: f32 = -126.0;

/// `2^x` for `x` up to zero; what would be subnormal is zero. NaN stays NaN.
#[inline(always)]
pub(super) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let shifted = simd.add_f32s(x, simd.splat_f32s(ROUND));
    let rest = simd.sub_f32s(x, simd.sub_f32s(shifted, simd.splat_f32s(ROUND)));
    let mut sum = simd.splat_f32s(SERIES[0]);
    for term in &SERIES[1..] {
        sum = simd.mul_add_e_f32s(sum, rest, simd.splat_f32s(*term));
    }
    // The integer becomes the exponent: what else is in these bits is shifted out.
    let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(1.0_f32.to_bits())));
    let vanishes = simd.less_than_f32s(x, simd.splat_f32s(LOWEST));
    simd.select_f32s(vanishes, simd.splat_f32s(0.0), simd.mul_f32s(sum, power))
}

#[inline(always)]
fn negated<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    simd.sub_f32s(simd.splat_f32s(0.0), x)
}

/// `2^-|x|`.
#[inline(always)]
fn decay<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    exp2(simd, simd.min_f32s(x, negated(simd, x)))
}

/// `tanh(x ln(2) / 2)`, to a rounding of one.
#[inline(always)]
pub(super) fn tanh_of_half_log2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (one, decay) = (simd.splat_f32s(1.0), decay(simd, x));
    let size = simd.div_f32s(simd.sub_f32s(one, decay), simd.add_f32s(one, decay));
    simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(0.0)), negated(simd, size), size)
}

/// `1 / (1 + 2^-x)`.
#[inline(always)]
pub(super) fn sigmoid_of_log2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (one, decay) = (simd.splat_f32s(1.0), decay(simd, x));
    let upper = simd.div_f32s(one, simd.add_f32s(one, decay));
    simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(0.0)), simd.mul_f32s(decay, upper), upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::lanes::{arch, vectors, vectors_mut};

    /// What rounding leaves, relative: the series has eight terms, each rounded once.
    const ROUNDING: f64 = 3e-7;

    struct Powers<'a>(&'a [f32], &'a mut [f32]);

    impl pulp::WithSimd for Powers<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let ((x, _), (y, _)) = (vectors::<S>(self.0), vectors_mut::<S>(self.1));
            x.iter().zip(y).for_each(|(x, y)| *y = exp2(simd, *x));
        }
    }

    fn powers(x: &[f32]) -> Vec<f32> {
        let mut y = vec![1.0; x.len()];
        arch().dispatch(Powers(x, &mut y));
        y
    }

    #[test]
    fn powers_of_two_are_right_to_rounding() {
        let x: Vec<f32> = (0..4096).map(|i| -(i as f32) * 0.0307).collect();
        for (x, y) in x.iter().zip(powers(&x)) {
            let exact = f64::from(*x).exp2();
            assert!((f64::from(y) - exact).abs() <= ROUNDING * exact, "2^{x} is {exact}, not {y}");
        }
    }

    #[test]
    fn what_is_too_small_vanishes_and_what_is_no_number_stays() {
        let y = powers(&[f32::NEG_INFINITY, f32::MIN, -127.0, f32::NAN].repeat(4));
        assert!(y[..3].iter().all(|y| *y == 0.0) && y[3].is_nan(), "{:?}", &y[..4]);
    }
}
