//! Eight rows under one expert, or each under its own mixture of eight.

use burn::prelude::*;
use t2_model::adapter::{Active, Bank, Expert, Mixture};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::generate::{GenerateConfig, Prompts, generate};

use crate::random::{self, SHAPE_MID};

/// Rows of the batch, and experts of the bank.
pub const ROWS: usize = 8;
/// Tokens of a prompt.
const PROMPT_LEN: usize = 64;
/// Tokens after it.
const MAX_NEW_TOKENS: usize = 16;

/// Something a batch is used for.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// As the benchmark names it.
    pub name: &'static str,
    /// Tokens it runs through the model in each row.
    pub tokens: usize,
    /// Does it, under these mixtures or under the model's own expert.
    pub run: fn(&Bench, Option<&[Mixture]>),
}

/// What is timed.
pub const WORK: &[Work] = &[
    Work { name: "forward", tokens: PROMPT_LEN, run: |bench, mixtures| bench.forward(mixtures) },
    Work { name: "generate", tokens: PROMPT_LEN + MAX_NEW_TOKENS, run: |bench, mixtures| bench.generate(mixtures) },
];

/// A random model at a middling shape, under an expert of its own and beside a bank of others.
#[derive(Debug)]
pub struct Bench {
    model: Decoder,
    bank: Bank,
    mixtures: Vec<Mixture>,
    with_base: Vec<Mixture>,
    prompts: Vec<Vec<u32>>,
    tokens: Tensor<2, Int>,
}

impl Bench {
    /// On `device`, without autodiff.
    ///
    /// # Panics
    ///
    /// Never: the experts are made for the model.
    pub fn new(device: &Device) -> Self {
        let model = random::adapted(&SHAPE_MID, device);
        let experts: Vec<Expert> = random::experts(&model, ROWS).expect("the model is adapted");
        let bank = Bank::new(&model, &experts.iter().collect::<Vec<_>>()).expect("experts of this very model");
        let model = experts[0].apply_to(model).expect("an expert of this very model");
        let alpha = |row: usize| (0..ROWS).map(|e| if e == row { 0.65 } else { 0.05 }).collect();
        let prompts = random::prompts(ROWS, PROMPT_LEN, SHAPE_MID.vocab);
        let ids: Vec<i64> = prompts.iter().flatten().map(|&id| i64::from(id)).collect();
        let tokens = Tensor::from_data(TensorData::new(ids, [ROWS, PROMPT_LEN]), device);
        let mixtures: Vec<Mixture> = (0..ROWS).map(|row| Mixture::global(alpha(row))).collect();
        let mut with_base = mixtures.clone();
        with_base[ROWS / 2] = Mixture::base(ROWS);
        Self { model, bank, mixtures, with_base, prompts, tokens }
    }

    /// One expert for the whole batch, eight mixtures, and seven beside a row of the base model.
    pub fn mixes(&self) -> [(&'static str, Option<&[Mixture]>); 3] {
        [("one", None), ("eight", Some(&self.mixtures)), ("seven+base", Some(&self.with_base))]
    }

    /// Mixing the experts is part of the work: every batch brings its own mixtures.
    fn under<T>(&self, mixtures: Option<&[Mixture]>, work: impl FnOnce(Active<'_>) -> T) -> T {
        match mixtures {
            None => work(Active::Own),
            Some(mixtures) => {
                let rows = self.bank.rows(mixtures).expect("mixtures of this very bank");
                work(Active::Rows(&rows))
            }
        }
    }

    fn forward(&self, mixtures: Option<&[Mixture]>) {
        let logits = self.under(mixtures, |active| self.model.forward(self.tokens.clone(), None, active));
        logits.device().sync().expect("the device that made the logits can be waited for");
    }

    fn generate(&self, mixtures: Option<&[Mixture]>) {
        let config = GenerateConfig { max_new_tokens: MAX_NEW_TOKENS, ..GenerateConfig::default() };
        let prompts = Prompts::new(&self.prompts);
        self.under(mixtures, |active| generate(&self.model, prompts.under(active), &config))
            .expect("the prompts fit the model");
    }
}
