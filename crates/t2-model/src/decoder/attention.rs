//! Grouped-query self-attention.

use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;

use super::Pass;
use super::cache::KvCache;
use super::config::AttentionConfig;
use crate::adapter::project;

/// Grouped-query attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries, `[d_model, heads * head_dim]`.
    pub q: Linear,
    /// Keys, `[d_model, kv_heads * head_dim]`.
    pub k: Linear,
    /// Values, `[d_model, kv_heads * head_dim]`.
    pub v: Linear,
    /// Output, `[heads * head_dim, d_model]`.
    pub o: Linear,
}

impl AttentionConfig {
    pub(super) fn init(&self, d_model: usize, initializer: &Initializer, device: &Device) -> Attention {
        let [q, k, v, o] = self.linears(d_model).map(|linear| linear.init(initializer, device));
        Attention { q, k, v, o }
    }
}

impl Attention {
    /// `x` `[batch, seq, d_model]` to `[batch, seq, d_model]`. Keys and values go into the cache, as those of `layer`.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        layer: usize,
        cache: Option<&mut KvCache>,
        pass: &Pass<'_>,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let &AttentionConfig { heads, kv_heads, head_dim, .. } = &pass.config.attention;
        let split = |x: Tensor<3>, heads| x.reshape([batch, seq, heads, head_dim]).swap_dims(1, 2);
        let q = pass.rotation.apply(split(project(x.clone(), &self.q, &pass.active), heads));
        let k = pass.rotation.apply(split(project(x.clone(), &self.k, &pass.active), kv_heads));
        let v = split(project(x, &self.v, &pass.active), kv_heads);
        let (k, v) = match cache {
            Some(cache) => cache.append(layer, k, v),
            None => (k, v),
        };
        let [_, _, columns, _] = k.dims();
        // The query heads that share a key head are rows of one product: keys are never repeated.
        let q = q.reshape([batch, kv_heads, heads / kv_heads * seq, head_dim]) * (head_dim as f32).powf(-0.5);
        let scores = q.matmul(k.swap_dims(2, 3)).reshape([batch, heads, seq, columns]);
        let dtype = scores.dtype();
        let scores = scores.cast(DType::F32);
        let scores = match &pass.hidden {
            Some(hidden) => scores.mask_fill(hidden.clone().expand([batch, heads, seq, columns]), f32::MIN),
            None => scores,
        };
        let weights = softmax(scores, 3).cast(dtype).reshape([batch, kv_heads, heads / kv_heads * seq, columns]);
        let y = weights.matmul(v).reshape([batch, heads, seq, head_dim]).swap_dims(1, 2);
        project(y.reshape([batch, seq, heads * head_dim]), &self.o, &pass.active)
    }
}
