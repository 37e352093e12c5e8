//! The factors of one weight from the disk, for whoever goes through a model weight by weight.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use super::store::{self, HostFactors, Key, Stored};

/// Factors of one weight in host memory, f32.
pub(crate) struct StoredFactors {
    /// `[d_in, k]`.
    pub(crate) u: TensorData,
    /// `[k]`.
    pub(crate) s: TensorData,
    /// `[k, d_out]`.
    pub(crate) vt: TensorData,
}

/// The f32 factors that `cache` has for the weight with these `values`, row-major `[d_in, d_out]`.
pub(crate) fn find(values: Vec<f32>, dims: [usize; 2], cache: &Path) -> Option<StoredFactors> {
    let key = Key::of(&values, dims, DType::F32);
    // The key is all that is needed of them, and they may be large.
    drop(values);
    match store::find(cache, &key, true) {
        Stored::Found(found) => found.factors.map(|HostFactors { u, s, vt }| StoredFactors { u, s, vt }),
        Stored::Damaged | Stored::Missing => None,
    }
}
