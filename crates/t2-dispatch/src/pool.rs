//! The experts of one base model that a strategy chooses among.

use std::collections::{BTreeMap, BTreeSet};

use t2_model::Hash;
use t2_model::adapter::mixture::MixtureError;
use t2_model::adapter::{Bank, Expert, Mixture};
use t2_model::decoder::CausalLm;

use crate::error::DispatchError;
use crate::query::{Choice, OTHER};

/// Name of the expert that names topics. It is asked in the first pass and is no choice for the second.
pub const CLASSIFIER: &str = "classify";

/// Label of the base model.
pub(crate) const BASE: &str = "base";

/// Named experts of one base model, stacked on its device.
///
/// The order of the experts is the order of the coefficients of every [`Mixture`] and of the names in the question
/// for the topic.
#[derive(Clone, Debug)]
pub struct ExpertPool {
    topics: Vec<Expert>,
    bank: Bank,
    classifier: Option<Bank>,
    classifier_expert: Option<Expert>,
    layers: usize,
}

impl ExpertPool {
    /// The pool of `experts` of the adapted `model`. The expert named [`CLASSIFIER`], if there is one, is set aside.
    ///
    /// # Errors
    ///
    /// [`DispatchError::EmptyPool`], [`DispatchError::DuplicateName`] and [`DispatchError::BadName`] for names that
    /// leave nothing to choose; [`DispatchError::Expert`] for an expert of another base model or of weights that
    /// `model` has not decomposed.
    pub fn new(model: &impl CausalLm, experts: Vec<Expert>) -> Result<Self, DispatchError> {
        let mut seen = BTreeSet::new();
        for expert in &experts {
            let name = expert.info.name.as_str();
            if name.trim().is_empty() || [OTHER, BASE].contains(&name) {
                return Err(DispatchError::BadName { name: name.into() });
            }
            if !seen.insert(name) {
                return Err(DispatchError::DuplicateName { name: name.into() });
            }
        }
        let (classifier, topics): (Vec<_>, Vec<_>) = experts.into_iter().partition(|e| e.info.name == CLASSIFIER);
        if topics.is_empty() {
            return Err(DispatchError::EmptyPool);
        }
        let bank = Bank::new(model, &topics.iter().collect::<Vec<_>>())?;
        let classifier_expert = classifier.into_iter().next();
        let classifier = classifier_expert.as_ref().map(|expert| Bank::new(model, &[expert])).transpose()?;
        Ok(Self { topics, bank, classifier, classifier_expert, layers: model.shape().layers })
    }

    /// The experts to choose among, in the order of the coefficients of a mixture.
    pub fn experts(&self) -> &[Expert] {
        &self.topics
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.topics.iter().map(|expert| expert.info.name.as_str()).collect()
    }

    /// Number of experts to choose among.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Never true: a pool has at least one expert.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Decoder blocks of the model: the rows of a mixture with coefficients for each block.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// The stacked experts.
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// The classification expert, a bank of one.
    ///
    /// # Errors
    ///
    /// [`DispatchError::NoClassifier`].
    pub fn classifier(&self) -> Result<&Bank, DispatchError> {
        let missing = || DispatchError::NoClassifier { names: self.names().join(", ") };
        self.classifier.as_ref().ok_or_else(missing)
    }

    /// The choice of one expert, or of the base model, with what the strategy saw.
    ///
    /// # Errors
    ///
    /// [`MixtureError::NoExpert`] when there is no such expert.
    pub fn choice(&self, expert: Option<usize>, scores: Vec<(String, f32)>) -> Result<Choice, MixtureError> {
        let (mixture, label) = match expert {
            Some(expert) => (Mixture::one_hot(expert, self.len())?, self.names()[expert]),
            None => (Mixture::base(self.len()), BASE),
        };
        Ok(Choice { mixture, label: label.into(), scores })
    }

    /// Coefficients `[experts]` by the name of the expert: what is shown to people.
    pub fn named(&self, alpha: &[f32]) -> BTreeMap<String, f32> {
        self.names().into_iter().map(str::to_owned).zip(alpha.iter().copied()).collect()
    }

    /// Hash of every expert by its name, the classification expert included.
    pub fn hashes(&self) -> BTreeMap<String, Hash> {
        let all = self.topics.iter().chain(&self.classifier_expert);
        all.map(|expert| (expert.info.name.clone(), expert.hash())).collect()
    }
}
