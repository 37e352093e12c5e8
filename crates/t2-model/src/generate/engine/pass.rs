//! A pass of the engine: several rows through the model at once.

use burn::prelude::*;

use super::slots::Piece;
use super::{Engine, ScalesId, Under};
use crate::adapter::{Active, RowScales};
use crate::decoder::{CausalLm, Place};
use crate::generate::GenerateError;

/// The scales that requests may run under.
#[derive(Debug, Default)]
pub(super) struct Scales {
    /// One row each.
    all: Vec<RowScales>,
    /// Those of the rows of the last pass, which are often those of the next.
    last: Option<(Vec<Under>, RowScales)>,
}

impl Scales {
    /// What to ask for to run under `row` of `scales`.
    pub(super) fn add(&mut self, scales: &RowScales, row: usize) -> Under {
        if scales.is_base(row) {
            return Under::Base;
        }
        self.all.push(scales.select(&[row]));
        Under::Scales(ScalesId(self.all.len() - 1))
    }

    /// The scales of rows that run under `rows`; `None` when all are the base model.
    fn of(&mut self, rows: &[Under]) -> Option<&RowScales> {
        let any = rows.iter().find_map(|under| self.one(*under))?;
        if self.last.as_ref().is_none_or(|(last, _)| last != rows) {
            let base = any.to_base();
            let parts: Vec<&RowScales> = rows.iter().map(|under| self.one(*under).unwrap_or(&base)).collect();
            self.last = Some((rows.to_vec(), RowScales::concat(&parts)));
        }
        self.last.as_ref().map(|(_, scales)| scales)
    }

    fn one(&self, under: Under) -> Option<&RowScales> {
        match under {
            Under::Scales(ScalesId(index)) => self.all.get(index),
            Under::Base | Under::Own => None,
        }
    }
}

impl<M: CausalLm> Engine<'_, M> {
    /// Read `pass`. For every row whose next token is known after it: its slot and the logits, `[vocab]`.
    pub(super) fn run(&mut self, pass: &[Piece]) -> Result<Vec<(usize, Vec<f32>)>, GenerateError> {
        let seq = pass.iter().map(|piece| piece.ids.len()).max().unwrap_or(0);
        let places = pass.iter().map(|piece| Place { slot: piece.slot, start: piece.start, len: piece.len });
        self.cache.place(places.collect(), &self.device);
        let under: Vec<Under> = pass.iter().map(|piece| piece.under).collect();
        let active = match self.scales.of(&under) {
            Some(scales) => Active::Rows(scales),
            None if under.contains(&Under::Own) => Active::Own,
            None => Active::Base,
        };
        let hidden = self.model.hidden(padded(pass, seq, &self.device), Some(&mut self.cache), active);
        self.slots.read(pass);
        let last = |(row, piece): (usize, &Piece)| piece.is_last().then(|| (row * seq + piece.ids.len() - 1) as i64);
        let last: Vec<i64> = pass.iter().enumerate().filter_map(last).collect();
        if last.is_empty() {
            return Ok(vec![]);
        }
        let [batch, _, d_model] = hidden.dims();
        let index = Tensor::<1, Int>::from_data(last.as_slice(), &self.device);
        let states = hidden.reshape([batch * seq, d_model]).select(0, index).unsqueeze_dim(1);
        let logits = self.model.logits(states).try_into_data_as::<f32>()?;
        let logits: Vec<f32> = logits.iter::<f32>().collect();
        let slots = pass.iter().filter(|piece| piece.is_last()).map(|piece| piece.slot);
        Ok(slots.zip(logits.chunks(self.shape.vocab).map(<[f32]>::to_vec)).collect())
    }
}

/// The tokens of `pass`, padded on the right to `seq`, `[batch, seq]`.
fn padded(pass: &[Piece], seq: usize, device: &Device) -> Tensor<2, Int> {
    let ids = pass.iter().flat_map(|piece| {
        let ids = piece.ids.iter().map(|&id| i64::from(id));
        ids.chain(std::iter::repeat_n(0, seq - piece.ids.len()))
    });
    Tensor::from_data(TensorData::new(ids.collect::<Vec<_>>(), [pass.len(), seq]), device)
}
