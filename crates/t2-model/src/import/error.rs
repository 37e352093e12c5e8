//! Why an expert of the original project could not be read.

use std::path::PathBuf;

use crate::adapter::ExpertError;
use crate::checkpoint::LoadError;

/// Why an expert of the original project could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no archive of `PyTorch`, or holds something else than an expert.
    #[error(
        "{} is no expert of the original project: {reason}; give its policy_params.pt or learnable_params.pt", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The numbers are no expert.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// The file has another number of matrices than the model.
    #[error("the file numbers {found} matrices, the MLP of this model has {expected}; use the model it was trained on")]
    Count {
        /// Matrices of the file.
        found: usize,
        /// Matrices of the model.
        expected: usize,
    },
    /// The file names a matrix that the model does not have.
    #[error("the file names `{name}`, which is no matrix of this model; use the model it was trained on")]
    UnknownMatrix {
        /// The name.
        name: String,
    },
    /// The matrix is stored together with others, and was decomposed so.
    #[error(
        "`{name}` holds several matrices, which the original project decomposes as one; such an expert has no counterpart"
    )]
    Fused {
        /// The name.
        name: String,
    },
    /// A matrix has another number of singular values.
    #[error("`{name}` has {found} numbers in the file and {expected} singular values; use the model it was trained on")]
    Rank {
        /// The name.
        name: String,
        /// Numbers of the file.
        found: usize,
        /// Singular values.
        expected: usize,
    },
    /// The factors of a weight are not on disk.
    #[error("{} has no f32 factors of `{path}`; decompose the model into it first", cache.display())]
    NotCached {
        /// The folder.
        cache: PathBuf,
        /// The weight.
        path: String,
    },
    /// The multiplier is no number to multiply with.
    #[error(
        "the largest multiplier is {value}; expected a number above 0, 1 where the original does not say otherwise"
    )]
    BadMultiplier {
        /// The number.
        value: f32,
    },
}
