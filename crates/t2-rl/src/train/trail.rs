//! A forward pass that keeps only what goes into each block, and the way back, which computes the rest again.
//!
//! Going back, a block is run once more, this time with automatic differentiation, and `Σ y ∘ g` is differentiated, with its
//! outputs `y` and the gradient `g` that comes from behind: its gradient in the scales of the block and in what goes into
//! it is that of the loss. One block's activations exist at a time.

use burn::prelude::*;
use burn::tensor::Gradients;
use t2_model::adapter::Active;
use t2_model::decoder::{CausalLm, KvCache};

use super::gradients::ZGradients;
use super::states::{Reading, States};

/// What goes into each block and comes out of the last.
pub(super) struct Trail {
    /// For each block every stream, `[batch, seq, d_model]`, without automatic differentiation.
    inputs: Vec<Vec<Tensor<3>>>,
    /// Every stream behind the last block; leaves of a graph.
    outputs: Vec<Tensor<3>>,
}

impl Trail {
    /// Read a batch under the model's own scales, with `model` on a device without automatic differentiation.
    pub(super) fn lay<M: CausalLm>(model: &M, reading: Reading<'_>) -> Self {
        let mut streams: Vec<_> = reading.tokens().into_iter().map(|tokens| model.embedded(tokens)).collect();
        let mut inputs = vec![];
        for layer in 0..model.shape().layers {
            inputs.push(streams.clone());
            streams = block(model, layer, streams, reading);
        }
        Self { inputs, outputs: leaves(streams) }
    }

    /// The final states, by automatic differentiation from what came out of the last block.
    pub(super) fn states(&self, model: &impl CausalLm, reading: Reading<'_>) -> States {
        reading.predicting(self.outputs.iter().map(|stream| model.normed(stream.clone())).collect())
    }

    /// Add to `sums` the gradient of every scale, where `gradients` are those of a loss of [`states`](Self::states).
    pub(super) fn back<M: CausalLm>(
        self,
        model: &M,
        reading: Reading<'_>,
        mut gradients: Gradients,
        sums: &mut ZGradients,
    ) {
        let mut behind = taken(&self.outputs, &mut gradients);
        for (layer, inputs) in self.inputs.into_iter().enumerate().rev() {
            let inputs = leaves(inputs);
            let terms = block(model, layer, inputs.clone(), reading).into_iter().zip(behind);
            let terms = terms.filter_map(|(y, g)| Some((y * Tensor::from_inner(g?)).sum()));
            let Some(loss) = terms.reduce(|sum, term| sum + term) else { return };
            let mut gradients = loss.backward();
            behind = taken(&inputs, &mut gradients);
            sums.add_of(gradients, model);
        }
    }
}

/// The gradient of every stream, where something depends on it.
fn taken(streams: &[Tensor<3>], gradients: &mut Gradients) -> Vec<Option<Tensor<3>>> {
    streams.iter().map(|stream| stream.grad_remove(gradients)).collect()
}

/// Every stream, `[batch, seq, d_model]`, behind block `layer`.
fn block(model: &impl CausalLm, layer: usize, streams: Vec<Tensor<3>>, reading: Reading<'_>) -> Vec<Tensor<3>> {
    let run = |x, cache: &mut KvCache| model.through(layer..layer + 1, x, Some(cache), Active::Own);
    reading.each(model, streams, run)
}

/// These tensors as leaves of a graph, whose gradients are wanted.
fn leaves(streams: Vec<Tensor<3>>) -> Vec<Tensor<3>> {
    streams.into_iter().map(|stream| Tensor::from_inner(stream).require_grad()).collect()
}
