//! The decoder: one forward pass for training, sampling and scoring.
//!
//! Each block adds `attention(norm(x))`, then `mlp(norm(x))`, to the residual stream. What some families do on top, or in
//! another place, is a switch of [`DecoderConfig`]: there is one decoder for all. No adapter is known here: every weight
//! is applied by [`project`], which finds out what hangs on it.

mod attention;
pub mod cache;
pub mod config;
mod mlp;
mod norm;
mod pass;
pub mod rope;

use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::DType;
use t2_linalg::ops::on_all_cores;

use crate::adapter::{Active, project, times};
use crate::checkpoint::hash_of_model;
use crate::decomposition::{Decomposition, OtherModel};
use crate::hash::Hash;
use pass::Pass;

pub use attention::Attention;
pub use cache::{KvCache, Place};
pub use config::{
    Activation, AttentionBias, AttentionConfig, BadShape, BlockKind, DecoderConfig, MlpConfig, NormConfig, NormPlace,
    Outgrown, QkNorm, RopeConfig, RopeScaling, Rotary, ScaleConfig,
};
pub use mlp::Mlp;
pub use norm::RmsNorm;

/// What callers need to know of a language model: how large its vocabulary is, how much it reads, and how many layers
/// a cache of keys and values has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LmShape {
    /// Number of token ids.
    pub vocab: usize,
    /// Longest sequence, in tokens.
    pub max_seq_len: usize,
    /// Number of decoder blocks, each with keys and values of its own.
    pub layers: usize,
    /// How many numbers a block keeps of a token, keys and values.
    pub kv_width: usize,
    /// How many tokens a row may have before [`hidden`](CausalLm::hidden) reads it anew from its first token; most models
    /// never do.
    pub outgrown_at: Option<usize>,
    /// How many tokens rows may have so that those that begin alike have the same keys and values there; `None` for any
    /// number.
    pub same_up_to: Option<usize>,
}

/// A causal language model.
pub trait CausalLm: Module {
    /// Size of the vocabulary, longest sequence, number of blocks.
    fn shape(&self) -> LmShape;

    /// Hash of the base weights: what experts and factors are made for. Adapters do not change it.
    fn base_hash(&self) -> Hash;

    /// Normalised final states `[batch, seq, d_model]` for `tokens` `[batch, seq]`.
    ///
    /// Without a cache, position 0 is the first column and padding belongs on the right, where no real token sees it.
    /// With a cache, the columns follow those that it already holds. Padding is on the left then, as many columns of
    /// each row as the cache was told when it was made; or, where rows are [placed](KvCache::place) in slots, on the
    /// right, to be overwritten by what is read next.
    fn hidden(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, active: Active<'_>) -> Tensor<3>;

    /// What the first block reads, `[batch, seq, d_model]`, for `tokens` `[batch, seq]`.
    fn embedded(&self, tokens: Tensor<2, Int>) -> Tensor<3>;

    /// What some `blocks` make of `x`, `[batch, seq, d_model]` both. [`hidden`](Self::hidden) is
    /// [`embedded`](Self::embedded), all blocks, and [`normed`](Self::normed); this is for who goes through them one by one,
    /// with a cache for each, where no row grows beyond [`outgrown_at`](LmShape::outgrown_at).
    fn through(&self, blocks: Range<usize>, x: Tensor<3>, cache: Option<&mut KvCache>, active: Active<'_>)
    -> Tensor<3>;

    /// Final states for what the last block makes, `[batch, seq, d_model]` both.
    fn normed(&self, x: Tensor<3>) -> Tensor<3>;

    /// Scores of the next token `[batch, seq, vocab]` for final states `[batch, seq, d_model]`.
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// Scores of the next token `[batch, seq, vocab]` for `tokens` `[batch, seq]`: [`hidden`](Self::hidden), then
    /// [`logits`](Self::logits).
    fn forward(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, active: Active<'_>) -> Tensor<3> {
        self.logits(self.hidden(tokens, cache, active))
    }

    /// The model with the factors of `decomposition` beside its weights and every scale at one; frozen.
    ///
    /// # Errors
    ///
    /// [`OtherModel`] when another model was decomposed.
    fn adapted(self, decomposition: &Decomposition) -> Result<Self, OtherModel> {
        decomposition.attach(self)
    }

    /// As [`adapted`](Self::adapted), on the same device with automatic differentiation: the scales, and nothing else,
    /// are ready to be trained.
    ///
    /// # Errors
    ///
    /// [`OtherModel`] when another model was decomposed.
    fn trainable(self, decomposition: &Decomposition) -> Result<Self, OtherModel> {
        let device = device_of(&self).autodiff();
        decomposition.attach(self.train().to_device(&device))
    }
}

/// Decoder with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward network.
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
    /// Hash of the checkpoint that the weights were loaded from.
    #[module(skip)]
    loaded_from: Option<Hash>,
}

/// Attention and feed-forward network, each with a norm before it, behind it, or both.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention.
    pub attn_norm: Option<RmsNorm>,
    /// Causal self-attention.
    pub attn: Attention,
    /// Norm on what the attention adds.
    pub attn_post_norm: Option<RmsNorm>,
    /// Norm before the feed-forward network.
    pub mlp_norm: Option<RmsNorm>,
    /// Feed-forward network.
    pub mlp: Mlp,
    /// Norm on what the feed-forward network adds.
    pub mlp_post_norm: Option<RmsNorm>,
}

impl DecoderConfig {
    /// A decoder with freshly drawn weights, normal with variance `1 / d_model`, and biases of zero. Seed `device`
    /// first for reproducible ones.
    ///
    /// # Panics
    ///
    /// If [`check`](Self::check) refuses the shape.
    pub fn init(&self, device: &Device) -> Decoder {
        self.check().expect("the shape is one that `check` accepts");
        let initializer = Initializer::Normal { mean: 0.0, std: (self.d_model as f64).powf(-0.5) };
        let norm = || RmsNorm::new(self.d_model, self.norm.eps, device);
        let place = self.norm.place;
        let block = || Block {
            attn_norm: place.is_before().then(norm),
            attn: self.attention.init(self.d_model, self.norm.eps, &initializer, device),
            attn_post_norm: place.is_after().then(norm),
            mlp_norm: place.is_before().then(norm),
            mlp: self.mlp.init(self.d_model, &initializer, device),
            mlp_post_norm: place.is_after().then(norm),
        };
        let head = LinearConfig::new(self.d_model, self.vocab).with_bias(false).with_initializer(initializer.clone());
        Decoder {
            embed: EmbeddingConfig::new(self.vocab, self.d_model).with_initializer(initializer.clone()).init(device),
            blocks: (0..self.layers).map(|_| block()).collect(),
            norm: norm(),
            head: (!self.tied_head).then(|| head.init(device)),
            config: self.clone(),
            loaded_from: None,
        }
    }
}

impl Decoder {
    /// What the decoder was built from.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The decoder, whose weights are those of the checkpoint with this hash.
    pub(crate) fn with_base_hash(self, hash: Hash) -> Self {
        Self { loaded_from: Some(hash), ..self }
    }
}

impl CausalLm for Decoder {
    fn shape(&self) -> LmShape {
        let DecoderConfig { vocab, max_seq_len, layers, attention, .. } = &self.config;
        LmShape {
            vocab: *vocab,
            max_seq_len: *max_seq_len,
            layers: *layers,
            kv_width: 2 * attention.kv_heads * attention.head_dim,
            outgrown_at: self.config.switches_after(),
            same_up_to: self.config.same_up_to(),
        }
    }

    /// The hash of the checkpoint that the decoder was loaded from. One that was not loaded has the hash that its
    /// checkpoint would have if it were saved; every weight is read to compute it.
    fn base_hash(&self) -> Hash {
        self.loaded_from.unwrap_or_else(|| hash_of_model(self))
    }

    fn hidden(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, active: Active<'_>) -> Tensor<3> {
        let [batch, _] = tokens.dims();
        if let Active::Rows(rows) = active {
            assert_eq!(rows.len(), batch, "rows of scales, rows of tokens");
        }
        let device = tokens.device();
        on_all_cores(&device, || self.all_states(tokens, cache, active))
    }

    fn embedded(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed.forward(tokens);
        match self.config.scale.embedding {
            Some(scale) => x * scale,
            None => x,
        }
    }

    fn through(
        &self,
        blocks: Range<usize>,
        mut x: Tensor<3>,
        mut cache: Option<&mut KvCache>,
        active: Active<'_>,
    ) -> Tensor<3> {
        let [_, seq, _] = x.dims();
        let device = x.device();
        let pass = Pass::new(&self.config, cache.as_deref(), seq, active, &device);
        for layer in blocks {
            x = self.blocks[layer].forward(x, layer, cache.as_deref_mut(), &pass);
        }
        if let Some(cache) = cache {
            cache.advance(seq);
        }
        x
    }

    fn normed(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.forward(x)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let device = hidden.device();
        let logits = on_all_cores(&device, || match &self.head {
            Some(head) => project(hidden, head, &Active::Base),
            None => times(hidden, self.embed.weight.val().transpose()),
        });
        let &ScaleConfig { logits_divisor, logits_cap, .. } = &self.config.scale;
        let logits = match logits_divisor {
            Some(divisor) => logits / divisor,
            None => logits,
        };
        match logits_cap {
            Some(cap) => capped(logits, cap),
            None => logits,
        }
    }
}

impl Decoder {
    /// [`CausalLm::hidden`], which has to read all tokens anew when the row outgrows one encoding.
    fn all_states(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, active: Active<'_>) -> Tensor<3> {
        let [_, seq] = tokens.dims();
        let (cache, limit) = match (cache, self.config.switches_after()) {
            (Some(cache), Some(limit)) if !cache.is_placed() => (cache, limit),
            (cache, _) => return self.states(tokens, cache, active),
        };
        let before = cache.len();
        let outgrown = cache.outgrown_by(seq, limit);
        let all = cache.remember(tokens.clone());
        if !outgrown {
            return self.states(tokens, Some(cache), active);
        }
        cache.rewind();
        self.states(all, Some(cache), active).slice_dim(1, before..before + seq)
    }

    /// Normalised final states of `tokens`, whose positions follow what `cache` holds: [`CausalLm::hidden`], for keys that
    /// are all of one encoding.
    fn states(&self, tokens: Tensor<2, Int>, cache: Option<&mut KvCache>, active: Active<'_>) -> Tensor<3> {
        self.normed(self.through(0..self.blocks.len(), self.embedded(tokens), cache, active))
    }
}

/// `scores`, kept within `±cap`.
fn capped<const D: usize>(scores: Tensor<D>, cap: f64) -> Tensor<D> {
    (scores / cap).tanh() * cap
}

/// The device of a model's weights, without autodiff.
pub(crate) fn device_of(model: &impl Module) -> Device {
    let devices = model.devices().to_vec();
    devices.into_iter().next().map(Device::without_autodiff).expect("a model has weights")
}

/// The type of a model's weights, which is that of its keys and values.
pub(crate) fn dtype_of(model: &impl Module) -> DType {
    struct First(Option<DType>);
    impl ModuleVisitor for First {
        // Norms are f32 in a model of any type.
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 2 && self.0.is_none() {
                self.0 = Some(param.val().dtype());
            }
        }
    }
    let mut first = First(None);
    model.visit(&mut first);
    first.0.unwrap_or(DType::F32)
}

impl Block {
    fn forward(&self, x: Tensor<3>, layer: usize, cache: Option<&mut KvCache>, pass: &Pass<'_>) -> Tensor<3> {
        let x =
            Self::add(x, [&self.attn_norm, &self.attn_post_norm], pass, |x| self.attn.forward(x, layer, cache, pass));
        Self::add(x, [&self.mlp_norm, &self.mlp_post_norm], pass, |x| self.mlp.forward(x, &pass.active))
    }

    /// `x` with what `half` of the block makes of it, `[batch, seq, d_model]`.
    fn add(
        x: Tensor<3>,
        [before, after]: [&Option<RmsNorm>; 2],
        pass: &Pass<'_>,
        half: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let y = half(normed(before.as_ref(), x.clone()));
        let y = normed(after.as_ref(), y);
        match pass.config.scale.residual {
            Some(scale) => x + y * scale,
            None => x + y,
        }
    }
}

/// `x` `[…, width]` through `norm`, where there is one.
fn normed<const D: usize>(norm: Option<&RmsNorm>, x: Tensor<D>) -> Tensor<D> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
