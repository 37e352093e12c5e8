//! From numbers to blocks, for the types that are written.

use half::f16;

/// Numbers in a block of `Q8_0`.
const LEN: usize = 32;

/// `N` bytes for each of `values`.
pub(super) fn each<const N: usize>(values: &[f32], bytes: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

/// `Q8_0`: `d` is a 127th of the largest value of a block, and every value the nearest multiple of it. The multiples are
/// counted with `d` before it is rounded to 16 bits.
pub(super) fn q8_0(values: &[f32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() / LEN * (LEN + 2));
    for block in values.as_chunks::<LEN>().0 {
        let largest = block.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        let d = largest / 127.0;
        // Where the inverse overflows, `d` is zero in 16 bits, and with it whatever the numbers say.
        let inverse = Some(d.recip()).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
        out.extend(f16::from_f32(d).to_le_bytes());
        out.extend(block.map(|x| rounded(x * inverse).cast_unsigned()));
    }
    out
}

/// The nearest whole number, of two the one further from zero. `f32::round` does the same, by a call for every number.
fn rounded(x: f32) -> i8 {
    let size = x.abs();
    let whole = size as i32;
    let whole = whole + i32::from(size - whole as f32 >= 0.5);
    (if x < 0.0 { -whole } else { whole }) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_the_standard_library_does() {
        let halves = (-254..=254).map(|half| half as f32 / 2.0);
        for x in halves.flat_map(|x| [x, x.next_up(), x.next_down()]).filter(|x| x.abs() <= 127.0) {
            assert_eq!(f32::from(rounded(x)), x.round() + 0.0, "{x}");
        }
    }
}
