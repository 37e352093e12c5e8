//! The weights of an expert that all rows share, multiplied out: they cost what the base costs.

use std::collections::HashMap;

use burn::tensor::{DType, TensorReadError};

use super::Under;
use super::pass::Scales;
use crate::decoder::{CausalLm, dtype_of};

/// How many tokens are read under an expert before its weights are multiplied out. On two CPU cores that takes about as
/// long as it saves on so many.
const WORTH: usize = 2048;

/// A pass takes as long as if it read so many tokens at least: the time that it takes to read the weights.
const PASS: usize = 16;

/// The model under the scales that were last worth it.
#[derive(Debug)]
pub(super) struct Merged<M> {
    model: Option<(Under, M)>,
    /// Tokens read under scales that are not multiplied out.
    read: HashMap<Under, usize>,
}

impl<M> Default for Merged<M> {
    fn default() -> Self {
        Self { model: None, read: HashMap::new() }
    }
}

impl<M: CausalLm> Merged<M> {
    /// The model whose own weights are those that all of `under` are under, for a pass of `tokens` tokens. `None` where
    /// they differ, are the base, or have not read enough yet, and in half precision, where rounding the product would
    /// lose much of what an expert changes.
    pub(super) fn find(
        &mut self,
        model: &M,
        scales: &Scales,
        under: &[Under],
        tokens: usize,
    ) -> Result<Option<&M>, TensorReadError> {
        let first = under.first().copied().unwrap_or_default();
        if first == Under::Base || under.iter().any(|&other| other != first) || dtype_of(model) != DType::F32 {
            return Ok(None);
        }
        if self.model.as_ref().is_none_or(|(of, _)| *of != first) {
            let read = self.read.entry(first).or_default();
            if *read < WORTH {
                *read += tokens.max(PASS);
                return Ok(None);
            }
            self.read.clear();
            // First the old one goes: there is never memory for two.
            self.model = None;
            let model = match scales.one(first) {
                Some(row) => row.worn_by(0, model.clone())?,
                None => model.clone(),
            };
            self.model = Some((first, model.materialize()));
        }
        Ok(self.model.as_ref().map(|(_, model)| model))
    }
}
