//! The Llama-family decoder: one forward pass for training, sampling and scoring.
//!
//! Each block adds `attention(norm(x))`, then `down(silu(gate(norm(x))) ∘ up(norm(x)))`, to the residual stream.
//! Nothing here knows about SVF but the call of [`project`].

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::{silu, softmax};

use crate::cache::KvCache;
use crate::config::DecoderConfig;
use crate::mix::Mix;
use crate::rope::Rotation;
use crate::svf::{project, times};

/// A causal language model.
pub trait CausalLm: Module {
    /// The shape of the model.
    fn config(&self) -> &DecoderConfig;

    /// Normalised final states `[batch, seq, d_model]` for `tokens` `[batch, seq]`.
    ///
    /// Without a cache, position 0 is the first column and padding belongs on the right, where no real token sees it.
    /// With one, the columns follow those already stored and padding is on the left, as the cache was told.
    fn hidden(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, mix: Mix<'_>) -> Tensor<3>;

    /// Scores of the next token `[batch, seq, vocab]` for final states `[batch, seq, d_model]`.
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// Scores of the next token `[batch, seq, vocab]` for `tokens` `[batch, seq]`: [`hidden`](Self::hidden), then
    /// [`logits`](Self::logits).
    fn forward(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, mix: Mix<'_>) -> Tensor<3> {
        self.logits(self.hidden(tokens, cache, mix))
    }
}

/// Decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Token embedding, `[vocab, d_model]`.
    pub embed: Embedding,
    /// Decoder blocks, first to last.
    pub blocks: Vec<Block>,
    /// Norm before the head.
    pub norm: RmsNorm,
    /// Output head; `None` when it is the embedding.
    pub head: Option<Linear>,
    #[module(skip)]
    config: DecoderConfig,
}

/// Attention and feed-forward network, each behind a norm.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention.
    pub attn_norm: RmsNorm,
    /// Causal self-attention.
    pub attn: Attention,
    /// Norm before the feed-forward network.
    pub mlp_norm: RmsNorm,
    /// Feed-forward network.
    pub mlp: Mlp,
}

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

/// SwiGLU feed-forward network.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate, `[d_model, d_hidden]`.
    pub gate: Linear,
    /// Up projection, `[d_model, d_hidden]`.
    pub up: Linear,
    /// Down projection, `[d_hidden, d_model]`.
    pub down: Linear,
}

/// What every block of one forward pass shares.
struct Pass<'a> {
    config: &'a DecoderConfig,
    rotation: Rotation,
    /// True where a query must not look, `[batch or 1, 1, seq, columns]`; `None` when nothing is hidden.
    hidden: Option<Tensor<4, Bool>>,
    mix: Mix<'a>,
}

impl DecoderConfig {
    /// A decoder with freshly drawn weights, normal with variance `1 / d_model`, and biases of zero. Seed `device` first
    /// for reproducible ones.
    pub fn init(&self, device: &Device) -> Decoder {
        let initializer = Initializer::Normal { mean: 0.0, std: (self.d_model as f64).powf(-0.5) };
        let norm = || RmsNormConfig::new(self.d_model).with_epsilon(self.rms_eps).init(device);
        let linear = |d_in, d_out, bias: bool| {
            let weights = LinearConfig::new(d_in, d_out).with_bias(false).with_initializer(initializer.clone());
            Linear { bias: bias.then(|| Initializer::Zeros.init([d_out], device)), ..weights.init(device) }
        };
        let (d_q, d_kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let block = || Block {
            attn_norm: norm(),
            attn: Attention {
                q: linear(self.d_model, d_q, self.attention_bias),
                k: linear(self.d_model, d_kv, self.attention_bias),
                v: linear(self.d_model, d_kv, self.attention_bias),
                o: linear(d_q, self.d_model, self.attention_bias),
            },
            mlp_norm: norm(),
            mlp: Mlp {
                gate: linear(self.d_model, self.d_hidden, self.mlp_bias),
                up: linear(self.d_model, self.d_hidden, self.mlp_bias),
                down: linear(self.d_hidden, self.d_model, self.mlp_bias),
            },
        };
        Decoder {
            embed: EmbeddingConfig::new(self.vocab, self.d_model).with_initializer(initializer.clone()).init(device),
            blocks: (0..self.layers).map(|_| block()).collect(),
            norm: norm(),
            head: (!self.tied_head).then(|| linear(self.d_model, self.vocab, false)),
            config: self.clone(),
        }
    }
}

impl CausalLm for Decoder {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn hidden(&self, tokens: Tensor<2, Int>, mut cache: Option<&mut KvCache>, mix: Mix<'_>) -> Tensor<3> {
        let [_, seq] = tokens.dims();
        let mut x = self.embed.forward(tokens);
        let pass = Pass::new(&self.config, cache.as_deref(), seq, mix, &x.device());
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, layer, cache.as_deref_mut(), &pass);
        }
        if let Some(cache) = cache {
            cache.advance(seq);
        }
        self.norm.forward(x)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        match &self.head {
            Some(head) => project(hidden, head, &Mix::Base),
            None => times(hidden, self.embed.weight.val().transpose()),
        }
    }
}

/// The device of a model's weights, without autodiff.
pub(crate) fn device_of(model: &impl Module) -> Device {
    let devices = model.devices().to_vec();
    devices.into_iter().next().map(Device::without_autodiff).expect("a model has weights")
}

impl<'a> Pass<'a> {
    fn new(config: &'a DecoderConfig, cache: Option<&KvCache>, seq: usize, mix: Mix<'a>, device: &Device) -> Self {
        let start = cache.map_or(0, KvCache::len);
        let mut pad = cache.map_or(vec![0], |cache| cache.pad().to_vec());
        if pad.iter().all(|&p| p == pad[0]) {
            pad.truncate(1);
        }
        let columns = start..start + seq;
        let positions: Vec<Vec<usize>> =
            pad.iter().map(|&pad| columns.clone().map(|c| c.saturating_sub(pad)).collect()).collect();
        let visible = |pad: usize, query: usize, key: usize| (pad..=query).contains(&key);
        let hidden = (seq > 1 || pad != [0]).then(|| {
            let rows = pad.iter().flat_map(|&pad| {
                let columns = columns.clone();
                columns.flat_map(move |query| (0..start + seq).map(move |key| !visible(pad, query, key)))
            });
            Tensor::from_data(TensorData::new(rows.collect(), [pad.len(), 1, seq, start + seq]), device)
        });
        Self { config, rotation: Rotation::new(config, &positions, device), hidden, mix }
    }
}

impl Block {
    fn forward(&self, x: Tensor<3>, layer: usize, cache: Option<&mut KvCache>, pass: &Pass<'_>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.attn_norm.forward(x), layer, cache, pass);
        x.clone() + self.mlp.forward(self.mlp_norm.forward(x), pass)
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, layer: usize, cache: Option<&mut KvCache>, pass: &Pass<'_>) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let &DecoderConfig { heads, kv_heads, head_dim, .. } = pass.config;
        let split = |x: Tensor<3>, heads| x.reshape([batch, seq, heads, head_dim]).swap_dims(1, 2);
        let q = pass.rotation.apply(split(project(x.clone(), &self.q, &pass.mix), heads));
        let k = pass.rotation.apply(split(project(x.clone(), &self.k, &pass.mix), kv_heads));
        let v = split(project(x, &self.v, &pass.mix), kv_heads);
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
        project(y.reshape([batch, seq, heads * head_dim]), &self.o, &pass.mix)
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>, pass: &Pass<'_>) -> Tensor<3> {
        let gate = silu(project(x.clone(), &self.gate, &pass.mix));
        project(gate * project(x, &self.up, &pass.mix), &self.down, &pass.mix)
    }
}
