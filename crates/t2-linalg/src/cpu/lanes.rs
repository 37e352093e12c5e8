//! Vectors over slices.

use std::sync::OnceLock;

use pulp::{Arch, Simd};

/// The widest vectors that the processor has.
pub(super) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// `slice` as vectors, and the numbers that remain.
#[inline(always)]
pub(super) fn vectors<S: Simd>(slice: &[f32]) -> (&[S::f32s], &[f32]) {
    S::as_simd_f32s(slice)
}

/// `slice` as vectors, and the numbers that remain.
#[inline(always)]
pub(super) fn vectors_mut<S: Simd>(slice: &mut [f32]) -> (&mut [S::f32s], &mut [f32]) {
    S::as_mut_simd_f32s(slice)
}
