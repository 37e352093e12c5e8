//! The scales of the rows of one batch, each mixed of the experts of a bank.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::prelude::*;
use burn::tensor::TensorReadError;

use super::expert::with_scales;
use super::mixture::{Adapted, Mixture, adapted_params};
use crate::decoder::CausalLm;
use crate::decoder::cache::indices;

/// The `z` of every row of one batch.
#[derive(Clone, Debug)]
pub struct RowScales {
    /// `[batch, k]` by adapted parameter.
    pub(super) z: BTreeMap<ParamId, Tensor<2>>,
    /// What each row was mixed of.
    rows: Vec<Origin>,
    /// The rows in two parts, where some run on the base weights.
    parts: Option<Parts>,
}

/// What a row of scales was mixed of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    pub(super) bank: u64,
    pub(super) mixture: Mixture,
}

impl RowScales {
    pub(super) fn new(z: BTreeMap<ParamId, Tensor<2>>, rows: Vec<Origin>) -> Self {
        let base: Vec<bool> = rows.iter().map(|row| row.mixture.is_base()).collect();
        let parts = z.values().next().and_then(|z| Parts::of(&base, &z.device()));
        Self { z, rows, parts }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True for a batch without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Keep only `rows`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn select(&self, rows: &[usize]) -> Self {
        let pick = |z: &Tensor<2>| z.clone().select(0, indices(rows, &z.device()));
        let rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Self::new(self.z.iter().map(|(&id, z)| (id, pick(z))).collect(), rows)
    }

    /// The rows of all `parts`, one after the other.
    ///
    /// # Panics
    ///
    /// When they are not of one model.
    pub fn concat(parts: &[&Self]) -> Self {
        let ids = parts.first().map(|part| part.z.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
        assert!(parts.iter().all(|part| part.z.keys().eq(&ids)), "scales of one model");
        let rows_of = |id| parts.iter().map(|part| part.z[&id].clone()).collect::<Vec<_>>();
        let rows = parts.iter().flat_map(|part| part.rows.iter().cloned()).collect();
        Self::new(ids.into_iter().map(|id| (id, Tensor::cat(rows_of(id), 0))).collect(), rows)
    }

    /// True when `row` runs on the dense base weights.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn is_base(&self, row: usize) -> bool {
        self.rows[row].mixture.is_base()
    }

    /// `model` with the scales of `row` as its own.
    pub(crate) fn worn_by<M: CausalLm>(&self, row: usize, model: M) -> Result<M, TensorReadError> {
        let mut z = BTreeMap::new();
        for (path, Adapted { id, .. }) in adapted_params(&model) {
            if let Some(rows) = self.z.get(&id) {
                z.insert(path, rows.clone().slice_dim(0, row..row + 1).try_into_vec_as::<f32>()?);
            }
        }
        Ok(with_scales(model, &z))
    }

    /// True when `row` and the row `other_row` of `other` are of the same bank under equal mixtures.
    pub(crate) fn is_same(&self, row: usize, other: &Self, other_row: usize) -> bool {
        self.rows[row] == other.rows[other_row]
    }

    /// `[batch, k]` of one parameter; `None` when every row is the base model.
    pub(crate) fn z(&self, id: ParamId) -> Option<Tensor<2>> {
        if self.rows.iter().all(|row| row.mixture.is_base()) { None } else { self.z.get(&id).cloned() }
    }

    /// As many rows of the base model.
    pub(crate) fn to_base(&self) -> Self {
        let row = |row: &Origin| Origin { bank: row.bank, mixture: Mixture::base(0) };
        Self::new(self.z.clone(), self.rows.iter().map(row).collect())
    }

    /// The rows of the base model and the others, so that each is computed once; `None` when all have an expert.
    pub(crate) fn parts(&self) -> Option<&Parts> {
        self.parts.as_ref()
    }
}

/// A batch in two parts: the rows that run on the dense weights, and those under an expert.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Rows of the base model.
    pub(crate) base: Tensor<1, Int>,
    /// Rows under an expert.
    pub(crate) adapted: Tensor<1, Int>,
    /// Where each row of the batch is when the base rows come first.
    pub(crate) back: Tensor<1, Int>,
}

impl Parts {
    /// The parts of a batch whose rows are those of `base` where it is true; `None` when none is.
    fn of(base: &[bool], device: &Device) -> Option<Self> {
        if base.iter().all(|&base| !base) {
            return None;
        }
        let rows = |of_base: bool| (0..base.len()).filter(move |&row| base[row] == of_base);
        let order: Vec<usize> = rows(true).chain(rows(false)).collect();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &row)| back[row] = place);
        let (base, adapted) = order.split_at(rows(true).count());
        let [base, adapted, back] = [base, adapted, &back].map(|rows| indices(rows, device));
        Some(Self { base, adapted, back })
    }
}
