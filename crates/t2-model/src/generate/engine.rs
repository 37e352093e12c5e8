//! The engine: one loop in which requests join, are read, answered and leave, each under weights of its own.
//!
//! A request that runs has a slot of the cache, where its row begins at the first column. A step gives every row whose
//! prompt is read its next token, and reads a piece of what prompts are waiting. A slot keeps what it holds until another
//! request needs it: a prompt that begins alike, under the same weights, copies that part instead of reading it again, so
//! that completions of one prompt read it once.
//!
//! A request gets the same tokens alone, among any others, and whenever it joins (greedy in f32; sampling up to rounding
//! where two draws are as close): a draw depends on its seed and its position alone.

mod all;
mod merged;
mod pass;
mod slots;

use std::collections::VecDeque;

use burn::prelude::*;

use super::sample::Sampling;
use super::{FinishReason, GenerateError, check_prompt, check_tokens};
use crate::adapter::{Active, RowScales};
use crate::decoder::{CausalLm, KvCache, LmShape, device_of, dtype_of};
pub use all::After;
use merged::Merged;
use pass::Scales;
use slots::{Job, Released, Slots};

/// The cache grows in steps of as many columns: each new shape may have to be tuned on a GPU.
const COLUMNS: usize = 64;

/// How much an engine does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most requests that run at once; others wait.
    pub slots: usize,
    /// Most tokens of prompts that are read in one step, beside which the others get their next token.
    pub chunk: usize,
    /// Most bytes of keys and values; a request that would need more waits. `None` for no bound. Beside them there are, for a
    /// moment, copies of one layer's.
    pub memory: Option<u64>,
    /// Multiply out the weights of an expert that all rows run under, once it has read enough for that to be worth it. It
    /// runs as fast as the base then; its weights take as much memory again as those that it adapts, which
    /// [`memory`](Self::memory) does not count. In f32 only.
    pub merge: bool,
}

impl Default for EngineConfig {
    /// 64 requests at once, 512 tokens of prompts a step, no bound on the memory, and weights are multiplied out.
    fn default() -> Self {
        Self { slots: 64, chunk: 512, memory: None, merge: true }
    }
}

/// A completion that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Token ids of the prompt.
    pub ids: Vec<u32>,
    /// Which weights it runs under.
    pub under: Under,
    /// The seed of its draws.
    pub seed: u64,
    /// How its tokens are drawn.
    pub sampling: Sampling,
    /// Token ids that end it; they are part of it.
    pub stop: Vec<u32>,
    /// Most new tokens, at least 1.
    pub max_new_tokens: usize,
}

/// Tokens whose log-probabilities are wanted, each after those before it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRequest {
    /// Token ids of a prompt and of what follows it.
    pub ids: Vec<u32>,
    /// How many of them are the prompt, at least 1; what follows is scored, at least 1 token too.
    pub from: usize,
    /// Which weights it runs under.
    pub under: Under,
}

impl ScoreRequest {
    /// What is `given` after `prompt`.
    pub fn new(prompt: &[u32], given: &[u32], under: Under) -> Self {
        Self { ids: [prompt, given].concat(), from: prompt.len(), under }
    }
}

/// The weights that a request runs under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Under {
    /// The dense base weights, bit for bit.
    #[default]
    Base,
    /// The model's own scales.
    Own,
    /// Scales that the engine was given, see [`Engine::add`].
    Scales(ScalesId),
}

/// Scales that an engine was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScalesId {
    /// Which of all sets of scales of the program.
    engine: u64,
    index: usize,
}

/// A request of an engine, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// What happened to a request in a step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// It got its next token.
    Token {
        /// The request.
        request: RequestId,
        /// The token.
        id: u32,
        /// Its log-probability under the model (temperature 1, nothing cut off), nats.
        logprob: f32,
        /// Why this was the last, if it was.
        finish: Option<FinishReason>,
    },
    /// Its tokens are scored; it has left.
    Scored {
        /// The request.
        request: RequestId,
        /// Log-probability of each of its tokens from [`from`](ScoreRequest::from) on, nats.
        logprobs: Vec<f32>,
    },
    /// The model computed something for it that is no number; it has left.
    Broken {
        /// The request.
        request: RequestId,
        /// Tokens before it, new or scored.
        step: usize,
    },
}

impl Event {
    /// Whom it happened to.
    pub fn request(&self) -> RequestId {
        let (Self::Token { request, .. } | Self::Scored { request, .. } | Self::Broken { request, .. }) = self;
        *request
    }
}

/// A loop that completes and scores requests, many at a time.
#[derive(Debug)]
pub struct Engine<'m, M> {
    model: &'m M,
    shape: LmShape,
    device: Device,
    config: EngineConfig,
    scales: Scales,
    merged: Merged<M>,
    queue: VecDeque<(RequestId, Job)>,
    slots: Slots,
    cache: KvCache,
    /// Bytes of keys and values of a token.
    token_bytes: u64,
    /// What happened and was not told yet.
    events: Vec<Event>,
    requests: u64,
}

impl<'m, M: CausalLm> Engine<'m, M> {
    /// An engine for `model` that runs nothing yet.
    pub fn new(model: &'m M, config: EngineConfig) -> Self {
        let shape = model.shape();
        let numbers = (shape.layers * shape.kv_width) as u64;
        Self {
            model,
            shape,
            device: device_of(model),
            config,
            scales: Scales::default(),
            merged: Merged::default(),
            queue: VecDeque::new(),
            slots: Slots::new(shape),
            cache: KvCache::of_slots(shape, 0, 0),
            token_bytes: numbers * dtype_of(model).size() as u64,
            events: vec![],
            requests: 0,
        }
    }

    /// How much it does at once.
    pub fn config(&self) -> EngineConfig {
        self.config
    }

    /// Let requests run under `scales`: returns what a [`Request`] is to be under for each of its rows, in their order. Rows
    /// of one bank under equal mixtures are the same.
    ///
    /// # Errors
    ///
    /// [`GenerateError::Mixture`] when they are not scales of the model.
    pub fn add(&mut self, scales: &RowScales) -> Result<Vec<Under>, GenerateError> {
        Active::Rows(scales).check(self.model, scales.len())?;
        Ok((0..scales.len()).map(|row| self.scales.add(scales, row)).collect())
    }

    /// What `rows` requests are to be under to run as `active` says.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn under(&mut self, active: Active<'_>, rows: usize) -> Result<Vec<Under>, GenerateError> {
        match active {
            Active::Base => Ok(vec![Under::Base; rows]),
            Active::Own => Ok(vec![Under::Own; rows]),
            Active::Rows(scales) => self.add(scales),
        }
    }

    /// Ask for a completion. It waits for a slot and for memory, in the order in which requests came; one whose beginning is
    /// just being read for another waits for that too, and others may go before it.
    ///
    /// # Errors
    ///
    /// [`GenerateError`] for a prompt that is empty, too long or foreign, for settings out of range, for one that never
    /// fits the memory, for the model's own scales where it has none, and for scales of another engine; its `row` is 0.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, GenerateError> {
        request.sampling.check()?;
        check_prompt(self.shape, 0, &request.ids, request.max_new_tokens)?;
        if request.max_new_tokens == 0 {
            return Err(GenerateError::NoTokens);
        }
        self.push(request.into())
    }

    /// Ask for the log-probabilities of tokens that are given. It waits as a completion does. What it has in common with
    /// others is read once, so that several answers to one prompt are requests like any.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), and [`GenerateError::EmptyCompletion`] where there is nothing to score.
    pub fn score(&mut self, request: ScoreRequest) -> Result<RequestId, GenerateError> {
        let (prompt, given) = request.ids.split_at(request.from.min(request.ids.len()));
        check_prompt(self.shape, 0, prompt, given.len())?;
        check_tokens(self.shape, 0, given)?;
        if given.is_empty() {
            return Err(GenerateError::EmptyCompletion { row: 0 });
        }
        self.push(request.into())
    }

    fn push(&mut self, job: Job) -> Result<RequestId, GenerateError> {
        match job.under {
            Under::Base => {}
            Under::Own => Active::Own.check(self.model, 1)?,
            Under::Scales(id) => self.scales.check(id)?,
        }
        let needed = self.bytes(1, job.columns());
        if let Some(budget) = self.config.memory.filter(|&budget| needed > budget) {
            return Err(GenerateError::Memory { needed, budget });
        }
        let id = RequestId(self.requests);
        self.requests += 1;
        self.queue.push_back((id, job));
        Ok(id)
    }

    /// Take a request out, whether it waits or runs; nothing more is told of it. False when it has left already.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        self.events.retain(|event| event.request() != request);
        let waiting = self.queue.len();
        self.queue.retain(|(id, _)| *id != request);
        match self.slots.release(request) {
            Released::NotThere => self.queue.len() < waiting,
            Released::Sound => true,
            Released::Unsure(slot) => {
                self.cache.clear(slot);
                true
            }
        }
    }

    /// Take all requests out.
    pub fn cancel_all(&mut self) {
        let waiting = self.queue.drain(..).map(|(id, _)| id);
        let all: Vec<RequestId> = waiting.chain(self.slots.requests()).collect();
        for request in all {
            self.cancel(request);
        }
        self.events.clear();
    }

    /// True when no request waits or runs, and all that happened is told.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.slots.running() == 0 && self.events.is_empty()
    }

    /// How many requests wait for a slot or for memory.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many requests run.
    pub fn running(&self) -> usize {
        self.slots.running()
    }

    /// Bytes that keys and values take.
    pub fn memory(&self) -> u64 {
        self.bytes(self.cache.slots(), self.cache.capacity())
    }

    /// Bytes of keys and values of a request of so many tokens, those of its prompt included.
    pub fn bytes_of(&self, tokens: usize) -> u64 {
        self.bytes(1, tokens)
    }

    /// Let waiting requests in where there is room, give every row whose prompt is read its next token, and read a piece of
    /// the other prompts. Events come in the order of the requests; there may be none in a step that only reads.
    ///
    /// # Errors
    ///
    /// [`GenerateError::Read`] when the device does not hand over its numbers. Nothing is lost: the next step does again what
    /// was not done, and tells what was.
    pub fn step(&mut self) -> Result<Vec<Event>, GenerateError> {
        self.admit();
        for rows in self.slots.passes(self.config.chunk, self.cache.capacity()) {
            let events = self.run(&rows)?;
            self.events.extend(events);
        }
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(Event::request);
        Ok(events)
    }

    /// Give slots to requests that wait.
    fn admit(&mut self) {
        let mut later = VecDeque::new();
        while let Some((id, job)) = self.queue.pop_front() {
            if self.slots.is_coming(&job) {
                later.push_back((id, job));
                continue;
            }
            if !self.make_room(job.columns()) {
                later.push_back((id, job));
                break;
            }
            let shared = self.slots.shared(&job);
            let slot = self.slots.place(id, job, shared);
            if let Some(from) = shared.from.filter(|&from| from != slot) {
                self.cache.copy(from, slot, shared.common);
            }
        }
        later.append(&mut self.queue);
        self.queue = later;
    }

    /// Make room for a request of `most_columns` beside those that run; false when it has to wait.
    fn make_room(&mut self, most_columns: usize) -> bool {
        let running = self.slots.running();
        let most = self.config.slots.max(1);
        if running >= most {
            return false;
        }
        let columns = self.slots.columns().max(most_columns).next_multiple_of(COLUMNS);
        let columns = columns.min(self.shape.max_seq_len);
        let budget = self.config.memory.unwrap_or(u64::MAX);
        if running == 0 && columns < self.cache.capacity() && self.bytes(2, self.cache.capacity()) > budget {
            // Columns that a longer request has left would keep others from running beside this one.
            self.start_over();
        }
        let columns = columns.max(self.cache.capacity());
        let fits = |slots| self.bytes(slots, columns) <= budget;
        // Doubled, so that they need not grow for every request; else no more than it takes.
        let [few, many] = [running + 1, (running + 1).next_power_of_two().min(most)].map(|n| n.max(self.slots.len()));
        if let Some(slots) = [many, few].into_iter().find(|&slots| fits(slots)) {
            self.slots.grow(slots);
            self.cache.grow(slots, columns);
            return true;
        }
        if running == 0 {
            // What is kept of earlier requests stands in the way.
            self.start_over();
            self.slots.grow(1);
            self.cache.grow(1, most_columns);
            return true;
        }
        false
    }

    /// Forget what slots hold, none of which runs.
    fn start_over(&mut self) {
        self.slots = Slots::new(self.shape);
        self.cache = KvCache::of_slots(self.shape, 0, 0);
    }

    /// Bytes of `slots` slots of `columns` columns.
    fn bytes(&self, slots: usize, columns: usize) -> u64 {
        (slots as u64).saturating_mul(columns as u64).saturating_mul(self.token_bytes)
    }
}
