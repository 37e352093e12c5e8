//! Why an expert could not be written for other programs.

use std::path::PathBuf;

use crate::adapter::ExpertError;
use crate::checkpoint::LoadError;
use crate::files::WriteError;
use crate::format::gguf::{GgufWriteError, Problem};
use crate::text::TokenizerError;

/// Why an expert could not be written for other programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer of a GGUF file cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The expert does not fit the model.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// The disk refuses.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file of the checkpoint cannot be copied.
    #[error("cannot copy {}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is to be written is there already.
    #[error("{} is there already; name a new one, or remove it", path.display())]
    Taken {
        /// The folder that is not empty, or the file.
        path: PathBuf,
    },
    /// A GGUF file goes by its name.
    #[error("{} is no name of a GGUF file; let it end in .gguf", path.display())]
    BadName {
        /// The name.
        path: PathBuf,
    },
    /// GGUF files have no place for something of the model or of its tokenizer.
    #[error("the model cannot be a GGUF file: {problem}; export it to hf instead")]
    NotAsGguf {
        /// What has no place.
        problem: Problem,
    },
    /// GGUF files have no name for a tensor.
    #[error("GGUF files of the family {family} have no name for `{name}`; export the model to hf instead")]
    NoName {
        /// The tensor.
        name: String,
        /// The family.
        family: &'static str,
    },
    /// The GGUF file cannot be written.
    #[error(transparent)]
    Gguf(#[from] GgufWriteError),
    /// The factors of a weight are not on disk.
    #[error("{} has no f32 factors of `{path}`; decompose the model into it first", cache.display())]
    NotCached {
        /// The folder.
        cache: PathBuf,
        /// The weight.
        path: String,
    },
    /// A merged weight does not fit its type.
    #[error(
        "`{name}` holds {value} once the expert is merged into it as {dtype}; write it as f32, or take less of the expert"
    )]
    NotFinite {
        /// The stored tensor.
        name: String,
        /// The number.
        value: f32,
        /// The type it was to be written in.
        dtype: &'static str,
    },
    /// An adapter needs something to hold.
    #[error("an adapter holds what an expert changes, and no expert is given; name one, or export the whole model")]
    NoExpert,
    /// A rank that no matrix has.
    #[error("the rank {rank} is none; expected 1 or more")]
    BadRank {
        /// What was asked for.
        rank: usize,
    },
    /// The model is more than text, of which alone the parameters are known.
    #[error("the model has a part that sees, which would be lost; export the checkpoint of its text alone")]
    OnlyText,
    /// The caller broke off.
    #[error("interrupted after {done} of {total} tensors; what is there is not complete: remove it and export again")]
    Interrupted {
        /// Tensors done.
        done: usize,
        /// Tensors in all.
        total: usize,
    },
}
