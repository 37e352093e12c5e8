//! Which expert, or mixture of experts, each row of a batch runs under.
//!
//! A bank stacks the `z` of several experts of one base model. A mixture `α` over the bank gives
//! `z = 1 + Σ_e α_e (z_e - 1)`: for `Σ α = 1` that is the paper's `Σ_e α_e z_e`, and what is missing to one is the base.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::prelude::*;

use super::expert::{Expert, ExpertError, Z_SUFFIX};
use super::statistics::layer_of;
use crate::decoder::CausalLm;
use crate::decoder::cache::indices;
use crate::paths::Path;

/// Which weights a forward pass uses.
#[derive(Clone, Copy, Debug, Default)]
pub enum Active<'a> {
    /// The dense base weights, bit for bit.
    #[default]
    Base,
    /// The model's own `z`; differentiable.
    Own,
    /// Scales for each row of the batch.
    Rows(&'a RowScales),
}

/// Why a mixture or a batch of them cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixtureError {
    /// The expert is not there.
    #[error("there is no expert {expert} among {experts}, counted from 0")]
    NoExpert {
        /// Position asked for.
        expert: usize,
        /// Experts there are.
        experts: usize,
    },
    /// A set of coefficients is of another length than the bank.
    #[error("mixture {row} has {found} coefficients, the bank has {expected} experts; give one for each")]
    Coefficients {
        /// Position of the mixture in the batch.
        row: usize,
        /// How many coefficients it has, in the first block where the number is wrong.
        found: usize,
        /// Experts of the bank.
        expected: usize,
    },
    /// A mixture by block has another number of blocks than the model.
    #[error("mixture {row} has coefficients for {found} blocks, the model has {expected}; give one set for each block")]
    Blocks {
        /// Position of the mixture in the batch.
        row: usize,
        /// Blocks of the mixture.
        found: usize,
        /// Blocks of the model.
        expected: usize,
    },
    /// A coefficient is not a finite number.
    #[error("mixture {row} has the coefficient {value}; expected finite numbers")]
    NotFinite {
        /// Position of the mixture in the batch.
        row: usize,
        /// The coefficient.
        value: f32,
    },
    /// The model has no factors that could be scaled.
    #[error("the model carries no adapters to run under; attach a decomposition first, or run the base model")]
    NoAdapter,
    /// There are scales for more or fewer rows than the batch has.
    #[error("there are scales for {found} rows and {expected} rows in the batch; give one mixture for each row")]
    Rows {
        /// Rows with scales.
        found: usize,
        /// Rows of the batch.
        expected: usize,
    },
    /// The scales were given to another engine.
    #[error("the scales were given to another engine; give them to this one")]
    OtherEngine,
    /// The scales were made for another model.
    #[error("the scales belong to {found} weights of another model; make the bank for this one")]
    OtherModel {
        /// Weights that this model does not have.
        found: usize,
    },
}

/// The coefficients of a bank's experts: global, or one set per decoder block.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// One row of `experts` coefficients for every block, or a single row shared by all.
    rows: Vec<Vec<f32>>,
}

impl Mixture {
    /// The same coefficients in every block, `[experts]`.
    pub fn global(alpha: Vec<f32>) -> Self {
        Self { rows: vec![alpha] }
    }

    /// Coefficients by block, `[layers][experts]`. [`Bank::rows`] refuses another number of blocks than the model has.
    pub fn per_layer(alpha: Vec<Vec<f32>>) -> Self {
        Self { rows: alpha }
    }

    /// No expert: the base model, bit for bit.
    pub fn base(experts: usize) -> Self {
        Self::global(vec![0.0; experts])
    }

    /// All the weight on one expert, counted from 0.
    ///
    /// # Errors
    ///
    /// [`MixtureError::NoExpert`] when there are not that many.
    pub fn one_hot(expert: usize, experts: usize) -> Result<Self, MixtureError> {
        if expert >= experts {
            return Err(MixtureError::NoExpert { expert, experts });
        }
        Ok(Self::global((0..experts).map(|e| f32::from(u8::from(e == expert))).collect()))
    }

    /// True when every coefficient is zero.
    pub fn is_base(&self) -> bool {
        self.rows.iter().flatten().all(|&a| a == 0.0)
    }

    /// The coefficients in block `layer`, `[experts]`; none where the mixture has no such block.
    pub fn at(&self, layer: usize) -> &[f32] {
        match self.rows.as_slice() {
            [shared] => shared,
            rows => rows.get(layer).map_or(&[], Vec::as_slice),
        }
    }

    /// Mean coefficient of each expert over the blocks, `[experts]`: what is shown to people.
    pub fn mean(&self) -> Vec<f32> {
        let blocks = self.rows.len() as f32;
        let experts = self.rows.first().map_or(0, Vec::len);
        let sum = |e: usize| self.rows.iter().filter_map(|row| row.get(e)).sum::<f32>();
        (0..experts).map(|e| sum(e) / blocks).collect()
    }

    /// Refuse coefficients that do not fit a bank of `experts` experts for a model of `layers` blocks.
    pub(super) fn check(&self, row: usize, experts: usize, layers: usize) -> Result<(), MixtureError> {
        if self.rows.len() != 1 && self.rows.len() != layers {
            return Err(MixtureError::Blocks { row, found: self.rows.len(), expected: layers });
        }
        if let Some(found) = self.rows.iter().map(Vec::len).find(|&found| found != experts) {
            return Err(MixtureError::Coefficients { row, found, expected: experts });
        }
        match self.rows.iter().flatten().find(|value| !value.is_finite()) {
            Some(&value) => Err(MixtureError::NotFinite { row, value }),
            None => Ok(()),
        }
    }
}

/// The `z` of several experts of one base model, stacked on the device of an adapted model.
#[derive(Clone, Debug)]
pub struct Bank {
    /// By adapted parameter: its decoder block and the experts' deviations `z_e - 1`, `[experts, k]`.
    deviations: BTreeMap<ParamId, (usize, Tensor<2>)>,
    experts: usize,
    layers: usize,
    /// Which of all banks of the program.
    id: u64,
}

/// How many banks the program has made.
static BANKS: AtomicU64 = AtomicU64::new(0);

impl Bank {
    /// Stack `experts` for `model`, which must carry an adapter wherever an expert has a `z`.
    ///
    /// # Errors
    ///
    /// [`ExpertError::OtherBase`] for an expert of another base model, [`ExpertError::UnknownTarget`] for one that
    /// scales a weight the model has not decomposed, and [`ExpertError::OtherRank`] for one that has another number of
    /// scales than the weight has singular values.
    pub fn new<M: CausalLm>(model: &M, experts: &[&Expert]) -> Result<Self, ExpertError> {
        let adapted = adapted_params(model);
        let layers = model.shape().layers;
        let id = BANKS.fetch_add(1, Ordering::Relaxed);
        let mut deviations = BTreeMap::new();
        if experts.is_empty() {
            return Ok(Self { deviations, experts: 0, layers, id });
        }
        let base = model.base_hash();
        for expert in experts {
            expert.check_base(&base)?;
            expert.check_targets(|path| adapted.get(path).map(|param| param.k))?;
        }
        for (path, Adapted { id: param, k, device }) in adapted {
            let rows = experts.iter().flat_map(|expert| match expert.z(&path) {
                Some(z) => z.iter().map(|z| z - 1.0).collect(),
                None => vec![0.0; k],
            });
            let data = TensorData::new(rows.collect::<Vec<f32>>(), [experts.len(), k]);
            deviations.insert(param, (layer_of(&path).unwrap_or(0), Tensor::from_data(data, &device)));
        }
        Ok(Self { deviations, experts: experts.len(), layers, id })
    }

    /// Number of experts.
    pub fn len(&self) -> usize {
        self.experts
    }

    /// True for a bank without experts.
    pub fn is_empty(&self) -> bool {
        self.experts == 0
    }

    /// The `z` of every row under its own mixture; `mixtures` has one entry per row of the batch.
    ///
    /// # Errors
    ///
    /// [`MixtureError`] for a mixture of another number of experts or blocks, or one that is not finite.
    pub fn rows(&self, mixtures: &[Mixture]) -> Result<RowScales, MixtureError> {
        for (row, mixture) in mixtures.iter().enumerate() {
            mixture.check(row, self.experts, self.layers)?;
        }
        let z = self.deviations.iter().map(|(&id, (layer, deviation))| {
            let alpha: Vec<f32> = mixtures.iter().flat_map(|m| m.at(*layer).iter().copied()).collect();
            let device = deviation.device();
            let alpha = Tensor::<2>::from_data(TensorData::new(alpha, [mixtures.len(), self.experts]), &device);
            // Broadcast and sum rather than a product of matrices: exact f32 on every backend.
            let mixed: Tensor<2> =
                (alpha.unsqueeze_dim::<3>(2) * deviation.clone().unsqueeze_dim::<3>(0)).sum_dim(1).squeeze_dim(1);
            (id, mixed + 1.0)
        });
        let rows = mixtures.iter().map(|mixture| Origin { bank: self.id, mixture: mixture.clone() });
        Ok(RowScales::new(z.collect(), rows.collect()))
    }
}

/// The `z` of every row of one batch.
#[derive(Clone, Debug)]
pub struct RowScales {
    /// `[batch, k]` by adapted parameter.
    z: BTreeMap<ParamId, Tensor<2>>,
    /// What each row was mixed of.
    rows: Vec<Origin>,
    /// The rows in two parts, where some run on the base weights.
    parts: Option<Parts>,
}

/// What a row of scales was mixed of.
#[derive(Clone, Debug, PartialEq)]
struct Origin {
    bank: u64,
    mixture: Mixture,
}

impl RowScales {
    fn new(z: BTreeMap<ParamId, Tensor<2>>, rows: Vec<Origin>) -> Self {
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

impl Active<'_> {
    /// Refuse experts that `model` cannot run `batch` rows under. A forward pass would run the base model without a
    /// word: it takes a weight without scales for one that no expert adapts.
    ///
    /// # Errors
    ///
    /// [`MixtureError::NoAdapter`], [`MixtureError::Rows`] and [`MixtureError::OtherModel`].
    pub fn check(&self, model: &impl Module, batch: usize) -> Result<(), MixtureError> {
        match self {
            Self::Base => Ok(()),
            Self::Own if adapted_params(model).is_empty() => Err(MixtureError::NoAdapter),
            Self::Own => Ok(()),
            Self::Rows(rows) if rows.len() != batch => Err(MixtureError::Rows { found: rows.len(), expected: batch }),
            Self::Rows(rows) => {
                let known: Vec<ParamId> = adapted_params(model).into_values().map(|param| param.id).collect();
                match rows.z.keys().filter(|id| !known.contains(id)).count() {
                    0 => Ok(()),
                    found => Err(MixtureError::OtherModel { found }),
                }
            }
        }
    }
}

/// A parameter that carries an adapter.
pub(super) struct Adapted {
    /// Identity of the weight; its scales have another.
    id: ParamId,
    /// Number of scales.
    pub(super) k: usize,
    device: Device,
}

/// Parameters that carry an adapter, by path.
pub(super) fn adapted_params<M: Module>(model: &M) -> BTreeMap<String, Adapted> {
    struct Collect {
        path: Path,
        ids: BTreeMap<String, ParamId>,
        found: BTreeMap<String, Adapted>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        // A visitor meets a weight without its factors, and right after it the factors.
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.to_string();
            if let Some((weight, &id)) = path.strip_suffix(Z_SUFFIX).and_then(|w| self.ids.get_key_value(w)) {
                let k = param.lazy_shape().num_elements();
                let device = param.lazy_device().without_autodiff();
                self.found.insert(weight.clone(), Adapted { id, k, device });
            }
            self.ids.insert(path, param.id);
        }
    }
    let mut collect = Collect { path: Path::default(), ids: BTreeMap::new(), found: BTreeMap::new() };
    model.visit(&mut collect);
    collect.found
}
