//! Batches that the engine completes: how long every row waits for its first token, and how long the others take.

use std::time::{Duration, Instant};

use t2_model::Decoder;
use t2_model::adapter::mixture::MixtureError;
use t2_model::adapter::{Bank, Expert, Mixture};
use t2_model::generate::engine::{Engine, EngineConfig, Event, Request, Under};
use t2_model::generate::{GenerateError, Sampling};

use crate::random;

/// Experts that a mixture is made of.
pub const MIXED: usize = 8;

/// Which weights the rows of a batch run under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// The base model, all rows.
    Base,
    /// One expert, which is the model's own, all rows.
    One,
    /// Each row its own mixture of eight experts.
    Each,
    /// As [`Mix::Each`], with a row of the base model in the middle.
    EachAndBase,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Base, Self::One, Self::Each, Self::EachAndBase];

    /// What benchmarks call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::One => "one",
            Self::Each => "each",
            Self::EachAndBase => "each+base",
        }
    }

    /// The mix of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.name() == name)
    }
}

/// A model, and experts that are resident beside it.
#[derive(Debug)]
pub struct Bench {
    model: Decoder,
    bank: Option<Bank>,
}

/// What completing a batch took.
#[derive(Clone, Debug)]
pub struct Times {
    /// Until every row had its first token: mixing the experts and reading the prompts.
    pub first: Duration,
    /// From then on.
    pub rest: Duration,
    /// The new tokens of the first row.
    pub ids: Vec<u32>,
}

impl Bench {
    /// `model` without experts.
    pub fn new(model: Decoder) -> Self {
        Self { model, bank: None }
    }

    /// `model` under random factors, with `count` random experts, of which the first is the model's own.
    ///
    /// # Panics
    ///
    /// With fewer than [`MIXED`] experts.
    pub fn with_experts(model: Decoder, count: usize) -> Self {
        assert!(count >= MIXED, "{count} experts; mixtures are of {MIXED}");
        let model = random::with_factors(model);
        let experts: Vec<Expert> = random::experts(&model, count).expect("the model has factors");
        let bank = Bank::new(&model, &experts.iter().collect::<Vec<_>>()).expect("experts of this very model");
        let model = experts[0].apply_to(model).expect("an expert of this very model");
        Self { model, bank: Some(bank) }
    }

    /// Complete `prompts`, greedily and to the end: `new_tokens` each. All prompts are read in the first step, so that
    /// all rows are in the batch from the first to the last token.
    ///
    /// # Errors
    ///
    /// [`GenerateError`] for prompts that do not fit the model, and for a mix of experts without experts.
    pub fn run(&self, prompts: &[Vec<u32>], new_tokens: usize, mix: Mix) -> Result<Times, GenerateError> {
        let start = Instant::now();
        let chunk = prompts.iter().map(Vec::len).sum();
        let mut engine =
            Engine::new(&self.model, EngineConfig { slots: prompts.len(), chunk, ..EngineConfig::default() });
        let under = self.under(&mut engine, prompts.len(), mix)?;
        let mut first_row = None;
        for (ids, under) in prompts.iter().zip(under) {
            let (ids, sampling) = (ids.clone(), Sampling::GREEDY);
            let request = Request { ids, under, seed: 0, sampling, stop: vec![], max_new_tokens: new_tokens };
            let id = engine.submit(request)?;
            first_row.get_or_insert(id);
        }
        let (mut first, mut ids) = (None, vec![]);
        while !engine.is_idle() {
            let events = engine.step()?;
            first.get_or_insert_with(|| start.elapsed());
            ids.extend(events.into_iter().filter_map(|event| match event {
                Event::Token { request, id, .. } if Some(request) == first_row => Some(id),
                _ => None,
            }));
        }
        let all = start.elapsed();
        let first = first.unwrap_or(all);
        Ok(Times { first, rest: all - first, ids })
    }

    /// What each of `rows` rows is to run under. Mixing the experts is part of the work: every batch brings its own
    /// mixtures.
    fn under(&self, engine: &mut Engine<'_, Decoder>, rows: usize, mix: Mix) -> Result<Vec<Under>, GenerateError> {
        match mix {
            Mix::Base => return Ok(vec![Under::Base; rows]),
            Mix::One => return Ok(vec![Under::Own; rows]),
            Mix::Each | Mix::EachAndBase => {}
        }
        let bank = self.bank.as_ref().ok_or(MixtureError::NoAdapter)?;
        let alpha = |row: usize, expert: usize| match expert {
            MIXED.. => 0.0,
            _ if expert == row % MIXED => 0.65,
            _ => 0.05,
        };
        let mixture = |row: usize| Mixture::global((0..bank.len()).map(|expert| alpha(row, expert)).collect());
        let mut mixtures: Vec<Mixture> = (0..rows).map(mixture).collect();
        if mix == Mix::EachAndBase {
            mixtures[rows / 2] = Mixture::base(bank.len());
        }
        engine.add(&bank.rows(&mixtures)?)
    }
}
