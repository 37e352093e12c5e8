//! What hangs on a frozen weight and changes what it does: adapters, expert files, mixtures of experts.
//!
//! The decoder calls [`project`] for every linear layer and knows no adapter. A new kind of adapter is a file beside
//! `svf.rs` and a line in `adapter_of`; expert files and banks find its numbers by the end of their path.

pub mod expert;
mod mix;
pub mod mixture;
mod row_scales;
pub mod statistics;
mod svf;

use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use t2_linalg::ops::{product, products};

pub use expert::{Expert, ExpertError, ExpertInfo};
pub use mixture::{Active, Bank, Mixture};
pub use row_scales::RowScales;
pub use svf::Svf;

/// What hangs beside the weight of a linear layer, with the numbers that an expert holds for it.
pub trait Adapter {
    /// The layer's product, without its bias, under the numbers that the adapter itself holds: `x` `[batch, seq, d_in]`
    /// to `[batch, seq, d_out]`. `weight` `[d_in, d_out]` is the layer's own. Differentiable in these numbers.
    fn apply_own(&self, x: Tensor<3>, weight: Tensor<2>) -> Tensor<3>;

    /// The layer's product, without its bias, where each row of the batch has numbers of its own, `rows` `[batch, k]`:
    /// `x` `[batch, seq, d_in]` to `[batch, seq, d_out]`. `weight` `[d_in, d_out]` is the layer's own.
    fn apply_rows(&self, x: Tensor<3>, rows: Tensor<2>, weight: Tensor<2>) -> Tensor<3>;
}

/// The adapter that hangs on `layer`, if there is one.
fn adapter_of(layer: &Linear) -> Option<&dyn Adapter> {
    layer.weight.reparameterization::<Svf>().map(|svf| svf as &dyn Adapter)
}

/// Apply `layer` to `x`, `[batch, seq, d_in]` to `[batch, seq, d_out]`, under the experts that are `active`.
///
/// Layers without an adapter, and every layer under [`Active::Base`], run on the dense weight.
pub fn project(x: Tensor<3>, layer: &Linear, active: &Active<'_>) -> Tensor<3> {
    let y = match (adapter_of(layer), active) {
        (None, _) | (_, Active::Base) => dense(x, layer),
        (Some(adapter), Active::Own) => adapter.apply_own(x, layer.weight.base()),
        (Some(adapter), Active::Rows(rows)) => match rows.z(layer.weight.id) {
            None => dense(x, layer),
            Some(z) => match rows.parts() {
                None => adapter.apply_rows(x, z, layer.weight.base()),
                Some(parts) => {
                    let base = dense(x.clone().select(0, parts.base.clone()), layer);
                    let (x, z) = (x.select(0, parts.adapted.clone()), z.select(0, parts.adapted.clone()));
                    let adapted = adapter.apply_rows(x, z, layer.weight.base());
                    Tensor::cat(vec![base, adapted], 0).select(0, parts.back.clone())
                }
            },
        },
    };
    match &layer.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    }
}

/// As [`project`] by each of `layers`, for those that read one `x`: all at once where that can be.
pub(crate) fn project_all<const N: usize>(x: Tensor<3>, layers: [&Linear; N], active: &Active<'_>) -> [Tensor<3>; N] {
    let [batch, seq, d_in] = x.dims();
    let is_dense = |layer: &Linear| adapter_of(layer).is_none() || matches!(active, Active::Base);
    let ys = layers.iter().all(|layer| is_dense(layer)).then(|| {
        let weights = layers.map(|layer| layer.weight.base());
        let biases = layers.map(|layer| layer.bias.as_ref().map(Param::val));
        let x = x.clone().reshape([batch * seq, d_in]);
        products(&x, weights.each_ref(), biases.each_ref().map(Option::as_ref))
    });
    match ys.flatten() {
        Some(ys) => ys.map(|y| {
            let [_, d_out] = y.dims();
            y.reshape([batch, seq, d_out])
        }),
        None => layers.map(|layer| project(x.clone(), layer, active)),
    }
}

fn dense(x: Tensor<3>, layer: &Linear) -> Tensor<3> {
    times(x, layer.weight.base())
}

/// `x w` for `x` `[batch, seq, d_in]` and `w` `[d_in, d_out]`, as one product of matrices instead of a batch of them.
pub(crate) fn times(x: Tensor<3>, w: Tensor<2>) -> Tensor<3> {
    let [batch, seq, d_in] = x.dims();
    let [_, d_out] = w.dims();
    product(x.reshape([batch * seq, d_in]), w).reshape([batch, seq, d_out])
}
