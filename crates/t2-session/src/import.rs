//! Experts of the original project: find the model, decompose its MLP, read the numbers.

use std::path::Path;

use t2_linalg::AutoSvd;
use t2_model::adapter::Expert;
use t2_model::checkpoint::{self, Files};
use t2_model::decomposition::{self, DecomposeConfig, FactorType, Targets};
use t2_model::import::{ImportOptions, Policy};

use crate::error::SessionError;
use crate::event::Event;
use crate::session::Session;
use crate::source;

/// What is to be read.
#[derive(Clone, Debug)]
pub struct ImportRequest<'a> {
    /// `policy_params.pt` or `learnable_params.pt`.
    pub file: &'a Path,
    /// The model that it was trained on, by name.
    pub model: &'a str,
    /// The largest multiplier, `max_mult` of the original.
    pub max_mult: f32,
    /// What the expert is called.
    pub name: &'a str,
}

impl Session<'_> {
    /// The expert that a file of the original project holds.
    ///
    /// # Errors
    ///
    /// [`SessionError`] when the file is none, it was trained on another model, there is no such model, or it cannot be
    /// decomposed.
    pub fn import(&self, request: &ImportRequest<'_>) -> Result<Expert, SessionError> {
        // What is no expert is said before a model is fetched.
        let policy = Policy::load(request.file)?;
        let found = source::find(request.model, &self.sources, self.watch)?;
        let dir = found.fetch_weights(self.watch)?;
        let files = Files::open(&dir)?;
        let scratch =
            tempfile::tempdir().map_err(|source| SessionError::Read { path: std::env::temp_dir(), source })?;
        let factors = self.factors_dir().unwrap_or_else(|| scratch.path().to_owned());
        let weights = files.weights(Targets::MLP, None, &self.device)?;
        let config = DecomposeConfig { factors: FactorType::F32, ..DecomposeConfig::default() };
        decomposition::decompose(weights, config, &AutoSvd::default(), &factors, |progress| {
            self.watch.see(Event::Decomposing(progress))
        })?;
        let options = ImportOptions {
            max_mult: request.max_mult,
            name: request.name.to_owned(),
            base_model: checkpoint::hash(&dir)?,
            factors,
        };
        Ok(policy.to_expert(&files, options)?)
    }
}
