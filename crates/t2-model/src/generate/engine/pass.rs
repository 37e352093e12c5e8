//! A pass of the engine: several rows through the model at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::prelude::*;

use super::slots::Piece;
use super::{Engine, ScalesId, Under};
use crate::adapter::mixture::MixtureError;
use crate::adapter::{Active, RowScales};
use crate::decoder::cache::indices;
use crate::decoder::{CausalLm, Place};
use crate::generate::GenerateError;

/// How many sets of scales the program has made.
static ENGINES: AtomicU64 = AtomicU64::new(0);
/// Passes of a step whose scales are kept: those that wait for a token, and those that read.
const KEPT: usize = 2;

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
        let engine = ENGINES.fetch_add(1, Ordering::Relaxed);
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
        let base = rows.iter().find_map(|under| self.one(*under))?.to_base();
        let known = self.last.iter().position(|(last, _)| last == rows);
        let kept = known.and_then(|at| self.last.remove(at)).unwrap_or_else(|| {
            let parts: Vec<&RowScales> = rows.iter().map(|under| self.one(*under).unwrap_or(&base)).collect();
            (rows.to_vec(), RowScales::concat(&parts))
        });
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(kept);
        self.last.back().map(|(_, scales)| scales)
    }

    fn one(&self, under: Under) -> Option<&RowScales> {
        match under {
            Under::Scales(ScalesId { index, .. }) => self.all.get(index),
            Under::Base | Under::Own => None,
        }
    }
}

impl<M: CausalLm> Engine<'_, M> {
    /// Read `pass`. For every row whose next token is known after it: its slot and the logits, `[vocab]`.
    pub(super) fn run(&mut self, pass: &[Piece]) -> Result<Vec<(usize, Vec<f32>)>, GenerateError> {
        let seq = pass.iter().map(|piece| piece.ids.len()).max().unwrap_or(0);
        let places = pass.iter().map(|piece| Place { slot: piece.slot, start: piece.start, len: piece.len });
        self.cache.place(places.collect());
        let under: Vec<Under> = pass.iter().map(|piece| piece.under).collect();
        let active = match self.scales.of(&under) {
            Some(scales) => Active::Rows(scales),
            None if under.contains(&Under::Own) => Active::Own,
            None => Active::Base,
        };
        let hidden = self.model.hidden(padded(pass, seq, &self.device), Some(&mut self.cache), active);
        let last = |(row, piece): (usize, &Piece)| piece.is_last().then(|| row * seq + piece.ids.len() - 1);
        let last: Vec<usize> = pass.iter().enumerate().filter_map(last).collect();
        if last.is_empty() {
            self.slots.read(pass);
            return Ok(vec![]);
        }
        let [batch, _, d_model] = hidden.dims();
        let states = hidden.reshape([batch * seq, d_model]).select(0, indices(&last, &self.device)).unsqueeze_dim(1);
        let logits = self.model.logits(states).try_into_data_as::<f32>()?;
        let logits: Vec<f32> = logits.iter::<f32>().collect();
        // Only now: what a device did not compute is read once more.
        self.slots.read(pass);
        let slots = pass.iter().filter(|piece| piece.is_last()).map(|piece| piece.slot);
        Ok(slots.zip(logits.chunks(self.shape.vocab).map(<[f32]>::to_vec)).collect())
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
