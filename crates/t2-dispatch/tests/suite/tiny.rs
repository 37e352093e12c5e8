//! A tiny random model with random experts, the same in every run.

use std::error::Error;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_dispatch::burn::module::{Module, ModuleMapper, Param};
use t2_dispatch::burn::prelude::*;
use t2_dispatch::{ExpertPool, ModelOracle};
use t2_model::adapter::{Expert, ExpertError, ExpertInfo};
use t2_model::decoder::{CausalLm, Decoder, DecoderConfig};
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::generate::GenerateConfig;
use t2_model::text::{Tokenizer, bpe};

/// Number of token ids; the first ends an answer.
const VOCAB: usize = 300;

/// An adapted model, its tokenizer and its experts.
pub(crate) struct Tiny {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) pool: ExpertPool,
}

impl Tiny {
    /// With one expert for each of `names`.
    pub(crate) fn new(names: &[&str]) -> Result<Self, Box<dyn Error>> {
        let model = decoder(0);
        let decomposition = Decomposition::of(&model, Targets::ALL)?;
        let model = model.adapted(&decomposition)?;
        let experts = names.iter().enumerate().map(|(index, name)| expert(&model, name, index));
        let pool = ExpertPool::new(&model, experts.collect::<Result<_, _>>()?)?;
        let texts = ["Tom has 4 apples. He buys 3 more.", "def f(x): return x + 1", "math code reason other"];
        let tokenizer = bpe::train(texts.into_iter().cycle().take(60), VOCAB, &["<|end|>"])?;
        Ok(Self { model, tokenizer: Tokenizer::new(tokenizer), pool })
    }

    /// Answers of at most six tokens.
    pub(crate) fn oracle(&self, max_rows: usize) -> ModelOracle<'_, Decoder> {
        let generate = GenerateConfig { max_new_tokens: 6, stop: vec![0], ..GenerateConfig::default() };
        ModelOracle { generate, max_rows, ..ModelOracle::new(&self.model, &self.tokenizer, &self.pool) }
    }
}

/// A decoder whose weights depend on `seed` alone.
pub(crate) fn decoder(seed: u64) -> Decoder {
    let config = DecoderConfig { vocab: VOCAB, max_seq_len: 128, tied_head: true, ..DecoderConfig::tiny() };
    config.init(&Device::flex()).map(&mut Draw(ChaCha8Rng::seed_from_u64(seed)))
}

/// Draws matrices that keep the size of what they multiply; gains stay one.
struct Draw(ChaCha8Rng);

impl ModuleMapper for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 1 {
            return param;
        }
        let dims = param.lazy_shape();
        let width = (3.0 / dims[0].min(dims[1]) as f32).sqrt();
        let drawn = (0..dims.num_elements()).map(|_| self.0.random_range(-width..width));
        let drawn = TensorData::new(drawn.collect::<Vec<f32>>(), dims);
        param.map(|weight| Tensor::from_data(drawn, &weight.device()))
    }
}

/// An expert whose scales swing widely about one, each `index` in its own rhythm.
pub(crate) fn expert(model: &Decoder, name: &str, index: usize) -> Result<Expert, ExpertError> {
    let info = ExpertInfo::for_model(name, model);
    let neutral = Expert::from_model(model, info.clone())?;
    let swing = |i: usize| 1.0 + 0.9 * ((i * (index + 1)) as f32 + index as f32).sin();
    let z = neutral.iter().map(|(path, z)| (path.to_owned(), (0..z.len()).map(swing).collect()));
    Expert::new(z.collect(), info)
}
