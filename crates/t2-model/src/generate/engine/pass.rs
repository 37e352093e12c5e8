//! A pass of the engine: several rows through the model at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::prelude::*;
use t2_linalg::ops::{self, Draw, Drawn};

use super::slots::Piece;
use super::{Engine, Event, ScalesId, Under};
use crate::adapter::mixture::MixtureError;
use crate::adapter::{Active, RowScales};
use crate::decoder::cache::indices;
use crate::decoder::{CausalLm, Place};
use crate::generate::GenerateError;

/// How many sets of scales the program has made.
static SETS: AtomicU64 = AtomicU64::new(0);
/// Passes of a step whose scales are kept: those that wait for a token, and those that read.
const KEPT: usize = 2;

/// Logits that are made at a time where many tokens are scored.
const LOGITS: usize = 1 << 24;

/// The scales that requests may run under.
#[derive(Debug)]
pub(super) struct Scales {
    engine: u64,
    /// One row each.
    all: Vec<RowScales>,
    /// Those of the rows of the last passes, which are often those of the next; the newest last.
    last: VecDeque<(Vec<Under>, RowScales)>,
}

impl Default for Scales {
    fn default() -> Self {
        let engine = SETS.fetch_add(1, Ordering::Relaxed);
        Self { engine, all: vec![], last: VecDeque::new() }
    }
}

impl Scales {
    /// What to ask for to run under `row` of `scales`.
    pub(super) fn add(&mut self, scales: &RowScales, row: usize) -> Under {
        if scales.is_base(row) {
            return Under::Base;
        }
        let known = self.all.iter().position(|known| known.is_same(0, scales, row));
        let index = known.unwrap_or_else(|| {
            self.all.push(scales.select(&[row]));
            self.all.len() - 1
        });
        Under::Scales(ScalesId { engine: self.engine, index })
    }

    /// Refuse scales that were given to another engine.
    pub(super) fn check(&self, id: ScalesId) -> Result<(), MixtureError> {
        if id.engine == self.engine { Ok(()) } else { Err(MixtureError::OtherEngine) }
    }

    /// The scales of rows that run under `rows`; `None` when all are the base model.
    fn of(&mut self, rows: &[Under]) -> Option<&RowScales> {
        if !rows.iter().any(|under| self.one(*under).is_some()) {
            return None;
        }
        let known = self.last.iter().position(|(last, _)| last == rows);
        let kept = match known.and_then(|at| self.last.remove(at)) {
            Some(kept) => kept,
            None => {
                let base = rows.iter().find_map(|under| self.one(*under))?.to_base();
                let parts: Vec<&RowScales> = rows.iter().map(|under| self.one(*under).unwrap_or(&base)).collect();
                (rows.to_vec(), RowScales::concat(&parts))
            }
        };
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(kept);
        self.last.back().map(|(_, scales)| scales)
    }

    /// The one row that `under` is under; `None` for the base and the model's own scales.
    pub(super) fn one(&self, under: Under) -> Option<&RowScales> {
        match under {
            Under::Scales(ScalesId { index, .. }) => self.all.get(index),
            Under::Base | Under::Own => None,
        }
    }
}

/// What is asked of a pass: rows of its states, `[batch * seq, d_model]`, by what is done with their logits.
#[derive(Default)]
struct Asked<'a> {
    /// A slot, the row of the states that its next token is drawn from, and how.
    draws: Vec<(usize, usize, Draw<'a>)>,
    /// A slot, a row of the states, and the token that follows there, whose log-probability is wanted.
    targets: Vec<(usize, usize, u32)>,
}

impl<M: CausalLm> Engine<'_, M> {
    /// Read `pass`, and tell what becomes of its rows.
    pub(super) fn run(&mut self, pass: &[Piece]) -> Result<Vec<Event>, GenerateError> {
        let seq = pass.iter().map(|piece| piece.ids.len()).max().unwrap_or(0);
        let states = self.states(pass, seq)?;
        let asked = self.asked(pass, seq);
        let rows: Vec<usize> = asked.draws.iter().map(|(_, row, _)| *row).collect();
        let draws: Vec<Draw<'_>> = asked.draws.iter().map(|(.., draw)| *draw).collect();
        let drawn = if draws.is_empty() { vec![] } else { ops::draw(&self.logits(&states, &rows), &draws)? };
        let mut scored = Vec::with_capacity(asked.targets.len());
        for targets in asked.targets.chunks((LOGITS / self.shape.vocab).max(1)) {
            let (rows, ids): (Vec<usize>, Vec<u32>) = targets.iter().map(|(_, row, id)| (*row, *id)).unzip();
            scored.extend(ops::log_probabilities(&self.logits(&states, &rows), &ids)?);
        }
        let drawn: Vec<_> = asked.draws.iter().map(|(slot, ..)| *slot).zip(drawn).collect();
        let scored: Vec<_> = asked.targets.iter().map(|(slot, ..)| *slot).zip(scored).collect();
        // Only now: what a device did not compute is read once more.
        self.slots.read(pass);
        let mut events: Vec<Event> = drawn.into_iter().map(|(slot, drawn)| self.take(slot, drawn)).collect();
        events.extend(scored.chunk_by(|a, b| a.0 == b.0).filter_map(|scored| self.take_scores(scored)));
        Ok(events)
    }

    /// The states of `pass`, padded to `seq` tokens, `[batch * seq, d_model]`.
    fn states(&mut self, pass: &[Piece], seq: usize) -> Result<Tensor<2>, GenerateError> {
        let places = pass.iter().map(|piece| Place { slot: piece.slot, start: piece.start, len: piece.len });
        self.cache.place(places.collect());
        let under: Vec<Under> = pass.iter().map(|piece| piece.under).collect();
        let tokens = padded(pass, seq, &self.device);
        let merged = match self.config.merge {
            true => self.merged.find(self.model, &self.scales, &under, pass.len() * seq)?,
            false => None,
        };
        let (model, active) = match merged {
            Some(merged) => (merged, Active::Base),
            None => match self.scales.of(&under) {
                Some(scales) => (self.model, Active::Rows(scales)),
                None if under.contains(&Under::Own) => (self.model, Active::Own),
                None => (self.model, Active::Base),
            },
        };
        let states = model.hidden(tokens, Some(&mut self.cache), active);
        let [batch, _, d_model] = states.dims();
        Ok(states.reshape([batch * seq, d_model]))
    }

    /// What is asked of `pass`, padded to `seq` tokens.
    fn asked(&self, pass: &[Piece], seq: usize) -> Asked<'_> {
        let mut asked = Asked::default();
        for (row, piece) in pass.iter().enumerate() {
            let end = row * seq + piece.ids.len();
            asked.draws.extend(self.slots.draw(piece).map(|draw| (piece.slot, end - 1, draw)));
            let targets = self.slots.targets(piece);
            asked.targets.extend((end - targets.len()..).zip(targets).map(|(at, &id)| (piece.slot, at, id)));
        }
        asked
    }

    /// The logits of some `rows` of `states`, `[rows, vocab]`.
    fn logits(&self, states: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let rows = states.clone().select(0, indices(rows, &self.device));
        self.model.logits(rows.unsqueeze_dim(1)).squeeze_dim(1)
    }

    /// Give the row in `slot` the token that was drawn, or take it out if there was none to draw.
    fn take(&mut self, slot: usize, drawn: Option<Drawn>) -> Event {
        match drawn {
            Some(Drawn { id, logprob }) => {
                let (request, finish) = self.slots.push(slot, id);
                Event::Token { request, id, logprob, finish }
            }
            None => self.take_out(slot),
        }
    }

    /// Give a row the log-probabilities of its slot. It leaves with those of its last token, or where one is no number.
    fn take_scores(&mut self, scored: &[(usize, f32)]) -> Option<Event> {
        let slot = scored.first()?.0;
        let logprobs: Vec<f32> = scored.iter().map(|(_, logprob)| *logprob).collect();
        let numbers = logprobs.iter().take_while(|logprob| logprob.is_finite()).count();
        let done = self.slots.extend(slot, &logprobs[..numbers]);
        if numbers < logprobs.len() {
            return Some(self.take_out(slot));
        }
        done.map(|(request, logprobs)| Event::Scored { request, logprobs })
    }

    fn take_out(&mut self, slot: usize) -> Event {
        let (request, step) = self.slots.discard(slot);
        self.cache.clear(slot);
        Event::Broken { request, step }
    }
}

/// The tokens of `pass`, each row padded on the right to `seq` with its last, `[batch, seq]`: a token of another row might
/// have states that are no numbers.
fn padded(pass: &[Piece], seq: usize, device: &Device) -> Tensor<2, Int> {
    let ids = pass.iter().flat_map(|piece| {
        let ids = piece.ids.iter().map(|&id| i64::from(id));
        let last = piece.ids.last().map_or(0, |&id| i64::from(id));
        ids.chain(std::iter::repeat_n(last, seq - piece.ids.len()))
    });
    Tensor::from_data(TensorData::new(ids.collect::<Vec<_>>(), [pass.len(), seq]), device)
}
