//! A session: where tensors live, where models come from, who is told what goes on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use t2_dispatch::{ExpertPool, ModelOracle};
use t2_linalg::AutoSvd;
use t2_model::adapter::Expert;
use t2_model::checkpoint::{Files, LoadOptions};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::decomposition::{self, DecomposeConfig, DecomposeOptions, Decomposition, Progress, Report, Targets};
use t2_model::generate::GenerateConfig;
use t2_model::text::{Tokenizer, TokenizerError};

use crate::error::SessionError;
use crate::event::{Event, Watch};
use crate::model::{Input, Model};
use crate::source::{self, Sources};

/// What a command line, a server or somebody's program shares: a device, sources of models, and a watcher.
#[derive(Clone)]
pub struct Session<'a> {
    /// Where tensors live.
    pub device: Device,
    /// Type of the weights; f32 when `None`.
    pub dtype: Option<DType>,
    /// Keep the weights in f32, rounded to `dtype`: for a device that does not compute in that.
    pub in_f32: bool,
    /// Where models come from, and what is kept of them.
    pub sources: Sources,
    /// Seed of single answers and of the search for a mixture. A training run brings its own.
    pub seed: u64,
    /// Most bytes of keys and values while examples are answered: more of them wait for their turn. `None` for no bound.
    pub memory: Option<u64>,
    /// Sees what goes on.
    pub watch: &'a dyn Watch,
}

/// An adapted model and the experts to choose among.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    /// The model with factors wherever an expert scales a weight.
    pub model: Decoder,
    /// The tokenizer of the model.
    pub tokenizer: &'a Tokenizer,
    /// The experts.
    pub experts: ExpertPool,
}

impl Pool<'_> {
    /// An oracle over the model that completes as `generate` says, without labelled examples.
    pub fn oracle(&self, generate: GenerateConfig) -> ModelOracle<'_, Decoder> {
        ModelOracle { generate, ..ModelOracle::new(&self.model, self.tokenizer, &self.experts) }
    }
}

impl Session<'static> {
    /// A session on `device` that nobody watches: weights in f32, `sources` to take models from.
    pub fn new(device: Device, sources: Sources) -> Self {
        Self { device, dtype: None, in_f32: false, sources, seed: 0, memory: None, watch: &() }
    }
}

impl Session<'_> {
    /// Load the model `name`: `tiny`, a folder, a GGUF file, or `org/name[@revision][:file.gguf]` of the Hub. What the
    /// model lacks to read `input` is said before its weights are fetched.
    ///
    /// # Errors
    ///
    /// [`SessionError`] when there is no such model, it cannot be fetched, or it does not run.
    pub fn load(&self, name: &str, input: Input) -> Result<Model, SessionError> {
        let found = source::find(name, &self.sources, self.watch)?;
        let mut tokenizer = match Tokenizer::load(found.path()) {
            // Token ids need none.
            Err(TokenizerError::Unsupported { .. }) if input != Input::Text => None,
            loaded => loaded?,
        };
        if tokenizer.is_none() && input == Input::Text {
            return Err(SessionError::NoTokenizer { path: found.path().to_owned() });
        }
        let path = found.fetch_weights(self.watch)?;
        let mut progress = |loading| self.watch.see(Event::Loading(loading));
        let hashes = self.sources.hashes();
        let (dtype, rounded) = if self.in_f32 { (None, self.dtype) } else { (self.dtype, None) };
        let options = LoadOptions { dtype, rounded, hashes: hashes.as_deref(), progress: Some(&mut progress) };
        let mut checkpoint = Files::open(&path)?.load(&self.device, options)?;
        if let Some(tokenizer) = &mut tokenizer {
            checkpoint.generation.end_at(tokenizer.end_tokens());
            tokenizer.hide(&checkpoint.generation.eos);
        }
        tracing::info!(path = %path.display(), hash = checkpoint.hash.short(), "loaded the model");
        self.device.seed(self.seed);
        Ok(Model { path, checkpoint, tokenizer, expert: None })
    }

    /// Where factors are kept, if anything is kept.
    pub fn factors_dir(&self) -> Option<PathBuf> {
        self.sources.cache.as_ref().map(|cache| cache.join("decompositions"))
    }

    /// The factors of the weights of `targets`, from the cache as far as they are there.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decompose`].
    pub fn decompose(&self, model: &Model, targets: Targets) -> Result<Decomposition, SessionError> {
        self.decompose_into(model, targets, self.factors_dir().as_deref())
    }

    /// As [`decompose`](Self::decompose), with the factors kept in `cache`.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decompose`].
    pub fn decompose_into(
        &self,
        model: &Model,
        targets: Targets,
        cache: Option<&Path>,
    ) -> Result<Decomposition, SessionError> {
        let options = DecomposeOptions { cache, ..DecomposeOptions::default() };
        Ok(Decomposition::with(&model.checkpoint.model, targets, options, self.decomposing())?)
    }

    /// Decompose the weights of a model into files under `cache` without loading the model.
    ///
    /// # Errors
    ///
    /// [`SessionError`] when there is no such model, or it cannot be decomposed.
    pub fn decompose_files(
        &self,
        name: &str,
        targets: Targets,
        config: DecomposeConfig,
        cache: &Path,
    ) -> Result<Report, SessionError> {
        let found = source::find(name, &self.sources, self.watch)?;
        let files = Files::open(&found.fetch_weights(self.watch)?)?;
        let weights = match self.dtype.filter(|_| self.in_f32) {
            Some(rounded) => files.rounded_weights(targets, rounded, &self.device)?,
            None => files.weights(targets, self.dtype, &self.device)?,
        };
        Ok(decomposition::decompose(weights, config, &AutoSvd::default(), cache, self.decomposing())?)
    }

    fn decomposing(&self) -> impl FnMut(Progress) -> ControlFlow<()> {
        |progress| self.watch.see(Event::Decomposing(progress))
    }

    /// Put `model` under the weighted sum of `experts`; without any it stays as it is.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for experts of another model, and when the model cannot be decomposed.
    pub fn adapt(&self, mut model: Model, experts: &[(Expert, f32)]) -> Result<Model, SessionError> {
        if experts.is_empty() {
            return Ok(model);
        }
        let parts: Vec<(&Expert, f32)> = experts.iter().map(|(expert, weight)| (expert, *weight)).collect();
        for (expert, _) in &parts {
            expert.check_base(&model.checkpoint.hash)?;
        }
        let expert = Expert::mix(&parts)?;
        model.checkpoint.model = expert.apply_to(self.attached(&model, expert.info.targets)?)?;
        model.expert = Some(expert);
        Ok(model)
    }

    /// `model` decomposed for all of `experts`, with the pool of them.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for experts of another model, names that leave nothing to choose, and when the model cannot be
    /// decomposed.
    pub fn pool<'m>(&self, model: &'m Model, experts: Vec<Expert>) -> Result<Pool<'m>, SessionError> {
        let tokenizer = model.tokenizer()?;
        for expert in &experts {
            expert.check_base(&model.checkpoint.hash)?;
        }
        let targets = experts.iter().fold(Targets::NONE, |targets, expert| targets | expert.info.targets);
        let adapted = self.attached(model, targets)?;
        let experts = ExpertPool::new(&adapted, experts)?;
        Ok(Pool { model: adapted, tokenizer, experts })
    }

    /// The decoder of `model` with factors beside the weights of `targets`, all scales at one.
    pub(crate) fn attached(&self, model: &Model, targets: Targets) -> Result<Decoder, SessionError> {
        Ok(model.checkpoint.model.clone().adapted(&self.decompose(model, targets)?)?)
    }

    /// Whether work is to go on.
    pub(crate) fn keep_going(&self) -> ControlFlow<()> {
        self.watch.see(Event::Tick)
    }
}
