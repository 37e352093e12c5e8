//! Experts for other programs: find the model, decompose what the expert scales, write.

use std::path::{Path, PathBuf};

use t2_linalg::AutoSvd;
use t2_model::adapter::Expert;
use t2_model::checkpoint::Files;
use t2_model::decomposition::{self, DecomposeConfig, FactorType};
use t2_model::export::{Export, LoraOptions, LoraReport, MergeOptions, MergeReport};
use t2_model::export::{check_gguf, write_gguf, write_lora, write_merged};
use t2_model::format::quant::GgmlType;

use crate::error::SessionError;
use crate::event::Event;
use crate::experts;
use crate::session::Session;
use crate::source;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct ExportRequest<'a> {
    /// The model, by name.
    pub model: &'a str,
    /// Expert files, or names of the model's own experts, and how much of each.
    pub experts: &'a [(PathBuf, f32)],
    /// In which form.
    pub to: ExportTo,
    /// What to write: a folder, new or empty, or a new GGUF file.
    pub path: &'a Path,
}

/// In which form an expert goes to other programs.
#[derive(Clone, Copy, Debug)]
pub enum ExportTo {
    /// A checkpoint in the Hugging Face layout with the expert in its weights.
    Merged(MergeOptions),
    /// A GGUF file with the expert in its weights.
    Gguf {
        /// How matrices are stored: F32, F16, BF16 or `Q8_0`.
        ty: GgmlType,
    },
    /// A LoRA adapter for PEFT.
    Lora {
        /// Directions of each matrix.
        rank: usize,
    },
}

/// What was written.
#[derive(Clone, Debug)]
pub enum Exported {
    /// A merged checkpoint.
    Merged(MergeReport),
    /// An adapter.
    Lora(LoraReport),
}

impl Session<'_> {
    /// Write a model under the weighted sum of experts for other programs.
    ///
    /// # Errors
    ///
    /// [`SessionError`] when there is no such model, an expert is another model's, the model cannot be decomposed, or
    /// the disk refuses.
    pub fn export(&self, request: &ExportRequest<'_>) -> Result<Exported, SessionError> {
        let found = source::find(request.model, &self.sources, self.watch)?;
        let dir = found.fetch_weights(self.watch)?;
        let expert = mixed(request.experts, &dir)?;
        let files = Files::open(&dir)?;
        let scratch =
            tempfile::tempdir().map_err(|source| SessionError::Read { path: std::env::temp_dir(), source })?;
        let factors = self.factors_dir().unwrap_or_else(|| scratch.path().to_owned());
        let mut progress = |done, total| self.watch.see(Event::Exporting { done, total });
        let export = Export {
            files: &files,
            expert: expert.as_ref(),
            factors: &factors,
            device: &self.device,
            progress: &mut progress,
        };
        let lora = |rank| LoraOptions { rank, base_model: name_for_others(request.model, &dir) };
        // Decomposing takes long: what can be refused is refused before.
        export.check(request.path)?;
        match request.to {
            ExportTo::Merged(_) => {}
            ExportTo::Gguf { .. } => check_gguf(&export, request.path)?,
            ExportTo::Lora { rank } => lora(rank).check()?,
        }
        if let Some(expert) = &expert {
            expert.check_base(&files.hash(self.sources.hashes().as_deref())?)?;
            self.factor(&files, expert, &factors)?;
        }
        match request.to {
            ExportTo::Merged(options) => Ok(Exported::Merged(write_merged(export, options, request.path)?)),
            ExportTo::Gguf { ty } => Ok(Exported::Merged(write_gguf(export, ty, request.path)?)),
            ExportTo::Lora { rank } => Ok(Exported::Lora(write_lora(export, &lora(rank), request.path)?)),
        }
    }

    /// Bring the f32 factors of what `expert` scales to the folder `cache`.
    fn factor(&self, files: &Files, expert: &Expert, cache: &Path) -> Result<(), SessionError> {
        let weights = files.weights(expert.info.targets, None, &self.device)?;
        let config = DecomposeConfig { factors: FactorType::F32, ..DecomposeConfig::default() };
        decomposition::decompose(weights, config, &AutoSvd::default(), cache, |progress| {
            self.watch.see(Event::Decomposing(progress))
        })?;
        Ok(())
    }
}

/// The weighted sum of `experts`; `None` without any.
fn mixed(experts: &[(PathBuf, f32)], model_dir: &Path) -> Result<Option<Expert>, SessionError> {
    if experts.is_empty() {
        return Ok(None);
    }
    let load = |(path, weight): &(PathBuf, f32)| Ok((experts::load(path, Some(model_dir))?, *weight));
    let loaded = experts.iter().map(load).collect::<Result<Vec<(Expert, f32)>, SessionError>>()?;
    let parts: Vec<(&Expert, f32)> = loaded.iter().map(|(expert, weight)| (expert, *weight)).collect();
    Ok(Some(Expert::mix(&parts)?))
}

/// How other programs find the model: the name of a repository without its revision or file, a folder by its full path.
fn name_for_others(model: &str, dir: &Path) -> String {
    let is_local = model == source::BUNDLED || Path::new(model).exists();
    if is_local {
        dir.canonicalize().unwrap_or_else(|_| dir.to_owned()).display().to_string()
    } else {
        model.split(['@', ':']).next().unwrap_or(model).to_owned()
    }
}
