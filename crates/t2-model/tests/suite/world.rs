//! A small model with experts, what is asked of it, and the right answers: every token by reading all before it once more.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use t2_model::adapter::{Active, Bank, Mixture, RowScales};
use t2_model::decoder::{CausalLm, Decoder, DecoderConfig};
use t2_model::generate::{Engine, EngineConfig, Request, Sampling, ScoreRequest, Under};

use crate::tiny;

pub(crate) const VOCAB: usize = 40;
/// Tokens that many prompts begin with: more than it takes for one to wait until another has read them.
pub(crate) const SHARED: usize = 20;
/// Tokens that end a completion.
pub(crate) const STOP: [u32; 2] = [0, 1];

/// A model, and scales of a base row, of two experts, and of a mixture of them.
pub(crate) struct World {
    pub(crate) model: Decoder,
    pub(crate) scales: RowScales,
}

impl World {
    pub(crate) fn new(config: DecoderConfig) -> Self {
        Self::with_length(config, 64)
    }

    pub(crate) fn with_length(config: DecoderConfig, max_seq_len: usize) -> Self {
        Self::on(&Device::flex(), DecoderConfig { max_seq_len, ..config })
    }

    /// The same numbers on `device`.
    pub(crate) fn on(device: &Device, config: DecoderConfig) -> Self {
        let model = tiny::adapted(&tiny::shaped(&config, 7)).to_device(device);
        let experts = [1, 2].map(|seed| tiny::expert(&model, seed));
        let bank = Bank::new(&model, &experts.iter().collect::<Vec<_>>()).unwrap();
        let alphas = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.3]];
        let scales = bank.rows(&alphas.map(|alpha| Mixture::global(alpha.to_vec()))).unwrap();
        Self { model, scales }
    }

    pub(crate) fn engine(&self, config: EngineConfig) -> (Engine<'_, Decoder>, Vec<Under>) {
        let mut engine = Engine::new(&self.model, config);
        let under = engine.add(&self.scales).unwrap();
        assert_eq!(under[0], Under::Base);
        (engine, under)
    }

    /// What `request` under `row` of the scales gets, every token by reading all before it once more.
    pub(crate) fn reference(&self, request: &Request, row: usize) -> Vec<u32> {
        let scales = self.scales.select(&[row]);
        let mut ids = request.ids.clone();
        for position in 0..request.max_new_tokens {
            let logits = self.model.forward(tiny::tokens(&[ids.clone()]), None, Active::Rows(&scales));
            let logits = tiny::values(logits.slice_dim(1, ids.len() - 1..ids.len()));
            let draw = request.sampling.draw_at(&ids, request.seed, position);
            let drawn = draw.token(&logits).unwrap();
            ids.push(drawn.id);
            if request.stop.contains(ids.last().unwrap()) {
                break;
            }
        }
        ids.split_off(request.ids.len())
    }
}

impl World {
    /// Log-probability of each token of `request` under `row` of the scales, all read at once.
    pub(crate) fn scores(&self, request: &ScoreRequest, row: usize) -> Vec<f32> {
        let scales = self.scales.select(&[row]);
        // What follows the last token is not asked for: it is not read, and does not make the row longer.
        let read = request.ids[..request.ids.len() - 1].to_vec();
        let logits = self.model.forward(tiny::tokens(&[read]), None, Active::Rows(&scales));
        let all = tiny::values(log_softmax(logits, 2));
        (request.from..request.ids.len()).map(|at| all[(at - 1) * VOCAB + request.ids[at] as usize]).collect()
    }
}

pub(crate) fn request(ids: Vec<u32>, under: Under) -> Request {
    Request { ids, under, seed: 3, sampling: Sampling::GREEDY, stop: STOP.to_vec(), max_new_tokens: 6 }
}

/// One of a few beginnings, and a few tokens more: one time in three the same few.
pub(crate) fn prompt(rng: &mut ChaCha8Rng) -> Vec<u32> {
    let shared = tiny::ids(SHARED, VOCAB, rng.random_range(0..2));
    let cut = rng.random_range(0..=SHARED);
    let own = if rng.random_ratio(1, 3) { 9 } else { rng.random() };
    let own = tiny::ids(rng.random_range(1..12), VOCAB, own);
    [&shared[..if rng.random_ratio(1, 2) { SHARED } else { cut }], &own].concat()
}
