//! Why a session could not do what it was asked.

use std::path::PathBuf;

use t2_dispatch::DispatchError;
use t2_model::adapter::ExpertError;
use t2_model::checkpoint::LoadError;
use t2_model::decomposition::{DecomposeError, OtherModel};
use t2_model::export::ExportError;
use t2_model::files::WriteError;
use t2_model::generate::GenerateError;
use t2_model::import::ImportError;
use t2_model::text::TokenizerError;
use t2_rl::evaluate::EvaluateError;
use t2_rl::policy::BadKlWeight;
use t2_rl::train::TrainError;
use t2_task::TaskError;

use crate::source::SourceError;

/// Why a session could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The model could not be found or fetched.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folder has no tokenizer, and text is to be read.
    #[error("{} has no tokenizer (no tokenizer.json, tokenizer.model or vocab.json); give token ids instead of text, or a folder with its tokenizer", path.display())]
    NoTokenizer {
        /// The folder.
        path: PathBuf,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An expert could not be read or used.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// A folder holds no experts.
    #[error("{} holds no .safetensors files; train experts, or name another folder", dir.display())]
    NoExperts {
        /// The folder.
        dir: PathBuf,
    },
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A run file is broken.
    #[error("{} is no run file; see runs/ for examples", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// Nothing is to be graded.
    #[error("a limit of 0 grades nothing; give at least 1")]
    NoLimit,
    /// The split has no examples.
    #[error(
        "task {task} has {total} questions and none of them in its {split} split; a small file needs the split `all`, and a \
         run on one `eval_limit = 0`"
    )]
    EmptySplit {
        /// The task.
        task: String,
        /// The split.
        split: t2_task::Split,
        /// Questions in all.
        total: usize,
    },
    /// A line of a file of samples is none.
    #[error("{}:{line} is no sample of `t2 eval --samples`; name another file, or take the line out", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of samples holds those of another run.
    #[error(
        "{} holds answers to {task} of another model, expert or settings; name another file, or delete it to start over",
        path.display()
    )]
    OtherSamples {
        /// The file.
        path: PathBuf,
        /// The task.
        task: String,
    },
    /// A task whose choices are weighed was put to two passes.
    #[error(
        "the choices of task {task} are weighed, and two passes write their answers; take a variant whose answers are \
         written, or the strategy none"
    )]
    WeighedInTwoPasses {
        /// The task.
        task: String,
    },
    /// A sample could not be added to its file.
    #[error("cannot write to {}; the samples before are kept", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Two sets of samples have nothing to compare.
    #[error("cannot compare the answers to {task} with those of {}: {problem}", path.display())]
    NotComparable {
        /// The other file.
        path: PathBuf,
        /// The task.
        task: String,
        /// Why not, and the way out.
        problem: String,
    },
    /// The model could not be decomposed.
    #[error(transparent)]
    Decompose(#[from] DecomposeError),
    /// Factors of another model.
    #[error(transparent)]
    OtherModel(#[from] OtherModel),
    /// A model could not be written for other programs.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An expert of the original project could not be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A prompt could not be completed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The two passes failed.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// The task failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The policy gradient is told something that makes no sense.
    #[error(transparent)]
    Policy(#[from] BadKlWeight),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was found cannot be put in words.
    #[error("cannot write the result as JSON")]
    Json(#[from] serde_json::Error),
}

impl SessionError {
    /// True when the watcher broke off. What was done by then is on disk where the work can be taken up again.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Source(SourceError::Interrupted { .. })
            | Self::Train(TrainError::Interrupted { .. })
            | Self::Decompose(DecomposeError::Interrupted { .. })
            | Self::Export(ExportError::Interrupted { .. })
            | Self::Generate(GenerateError::Interrupted { .. })
            | Self::Dispatch(DispatchError::Generate(GenerateError::Interrupted { .. }))
            | Self::Evaluate(EvaluateError::Interrupted { .. }) => true,
            Self::Train(TrainError::Rollout(error)) | Self::Evaluate(EvaluateError::Rollout(error)) => {
                error.is_interrupted()
            }
            _ => false,
        }
    }
}
