//! A tiny random model with random experts.

use std::error::Error;
use std::ops::ControlFlow;

use burn::module::Module;
use burn::prelude::*;
use t2_dispatch::{ExpertPool, ModelOracle};
use t2_linalg::HostSvd;
use t2_model::decoder::{DecoderConfig, RopeConfig, RopeScaling};
use t2_model::decoder::Decoder;
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::adapter::{Expert, ExpertInfo, Hash};
use t2_model::generate::GenerateConfig;
use t2_model::generate::Sampling;
use t2_model::text::Tokenizer;

/// The base model of the experts.
pub(crate) const BASE_MODEL: Hash = Hash([7; 32]);

/// An adapted model, its tokenizer and its experts.
pub(crate) struct Tiny {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) pool: ExpertPool,
}

impl Tiny {
    /// With one expert for each of `names`.
    pub(crate) fn new(names: &[&str]) -> Result<Self, Box<dyn Error>> {
        let model = decoder();
        let keep_on = |_| ControlFlow::Continue(());
        let decomposition = Decomposition::of(&model, Targets::ALL, &HostSvd::default(), None, keep_on)?;
        let model = model.apply_reparameterization(&decomposition);
        let experts = names.iter().enumerate().map(|(index, name)| expert(&model, name, index)).collect();
        let pool = ExpertPool::new(&model, &BASE_MODEL, experts)?;
        let texts = ["Tom has 4 apples. He buys 3 more.", "def f(x): return x + 1", "math code reason other"];
        let tokenizer = t2_model::text::bpe::train(texts.into_iter().cycle().take(60), 300, &["<|end|>"])?;
        Ok(Self { model, tokenizer: Tokenizer::new(tokenizer), pool })
    }

    pub(crate) fn oracle(&self, max_rows: usize) -> ModelOracle<'_, Decoder> {
        ModelOracle {
            model: &self.model,
            tokenizer: &self.tokenizer,
            pool: &self.pool,
            generate: GenerateConfig { max_new_tokens: 6, sampling: Sampling::GREEDY, stop: vec![0] },
            max_rows,
            labelled: None,
        }
    }
}

/// A decoder with random weights.
pub(crate) fn decoder() -> Decoder {
    let config = DecoderConfig {
        vocab: 300,
        d_model: 32,
        d_hidden: 48,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        max_seq_len: 128,
        rms_eps: 1e-5,
        tied_head: true,
        attention_bias: false,
        mlp_bias: false,
        rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
    };
    config.init(&Device::flex())
}

/// An expert whose scales swing widely about one, each `index` in its own rhythm.
pub(crate) fn expert(model: &Decoder, name: &str, index: usize) -> Expert {
    let info = ExpertInfo { name: name.into(), base_model: BASE_MODEL.to_string(), ..ExpertInfo::default() };
    let neutral = Expert::from_model(model, info.clone());
    let swing = |i: usize| 1.0 + 0.9 * ((i * (index + 1)) as f32 + index as f32).sin();
    let z = neutral.iter().map(|(path, z)| (path.to_owned(), (0..z.len()).map(swing).collect()));
    Expert::new(z.collect(), info)
}
