//! Grouped-query self-attention.

use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;
use t2_linalg::ops::{self, Seen};

use super::cache::KvCache;
use super::config::{AttentionConfig, QkNorm};
use super::norm::RmsNorm;
use super::pass::{Mask, Pass};
use super::rope::turned;
use super::{capped, normed};
use crate::adapter::{project, project_all};

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
    /// Norm on queries.
    pub q_norm: Option<RmsNorm>,
    /// Norm on keys.
    pub k_norm: Option<RmsNorm>,
}

impl AttentionConfig {
    pub(super) fn init(&self, d_model: usize, eps: f64, initializer: &Initializer, device: &Device) -> Attention {
        let [q, k, v, o] = self.linears(d_model).map(|linear| linear.init(initializer, device));
        let norms = self.norm_widths().map(|widths| widths.map(|width| RmsNorm::new(width, eps, device)));
        let [q_norm, k_norm] = norms.map_or([None, None], |norms| norms.map(Some));
        Attention { q, k, v, o, q_norm, k_norm }
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
        let view = pass.view(layer);
        let split = |x: Tensor<3>, heads| x.reshape([batch, seq, heads, head_dim]);
        let split_and_normed = |x: Tensor<3>, heads, norm: &Option<RmsNorm>| match pass.config.attention.qk_norm {
            QkNorm::None => split(x, heads),
            QkNorm::Head => normed(norm.as_ref(), split(x, heads)),
            QkNorm::Projection => split(normed(norm.as_ref(), x), heads),
        };
        let [q, k, v] = project_all(x, [&self.q, &self.k, &self.v], &pass.active);
        let (q, k) = (split_and_normed(q, heads, &self.q_norm), split_and_normed(k, kv_heads, &self.k_norm));
        let (new, rotation) = ([q, k, split(v, kv_heads)], view.rotation.as_ref());
        let [q, k, v] = match cache {
            Some(cache) => cache.append(layer, new, rotation, &pass.rows),
            None => turned(new, rotation),
        };
        let AttentionConfig { cap, .. } = pass.config.attention;
        let scale = pass.config.attention.score_scale() as f32;
        let seen = Seen { rows: &pass.rows, window: view.window, scale, cap: cap.map(|cap| cap as f32) };
        let y = ops::attention(&q, &k, &v, &seen)
            .unwrap_or_else(|| pass.config.attention.seen(q * scale, pass.pick(k), pass.pick(v), &view.mask));
        project(y, &self.o, &pass.active)
    }
}

impl AttentionConfig {
    /// What scaled queries see, `[batch, seq, heads * head_dim]`, for `q` `[batch, heads, seq, head_dim]` and `k` and `v`
    /// `[batch, kv_heads, columns, head_dim]`: on every device, and the reference of [`ops::attention`].
    fn seen(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Mask) -> Tensor<3> {
        let ([batch, heads, seq, head_dim], [_, kv_heads, _, _]) = (q.dims(), k.dims());
        let (first, hidden) = mask.hidden();
        let (k, v) = match *first {
            0 => (k, v),
            first => (k.slice_dim(2, first..), v.slice_dim(2, first..)),
        };
        // The query heads that share a key head are rows of one product: keys are never repeated.
        let q = q.reshape([batch, kv_heads, heads / kv_heads * seq, head_dim]);
        let weights = self.weights(q.matmul(k.swap_dims(2, 3)), hidden.as_ref());
        let y = weights.matmul(v).reshape([batch, heads, seq, head_dim]).swap_dims(1, 2);
        y.reshape([batch, seq, heads * head_dim])
    }

    /// How much of each column goes into each query, for `scores` of the same shape, `[batch, kv_heads, heads / kv_heads *
    /// seq, columns]`. `hidden` `[batch or 1, 1, seq, columns]` is true where a query must not look.
    fn weights(&self, scores: Tensor<4>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<4> {
        let dims @ [batch, kv_heads, rows, columns] = scores.dims();
        let shape = [batch, self.heads, rows * kv_heads / self.heads, columns];
        let dtype = scores.dtype();
        let scores = scores.reshape(shape).cast(DType::F32);
        let scores = match self.cap {
            Some(cap) => capped(scores, cap),
            None => scores,
        };
        let scores = match hidden {
            Some(hidden) => scores.mask_fill(hidden.clone().expand(shape), f32::MIN),
            None => scores,
        };
        softmax(scores, 3).cast(dtype).reshape(dims)
    }
}
