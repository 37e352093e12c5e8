//! What can go wrong with a task.

use crate::dataset::DatasetError;
use crate::sandbox::SandboxError;

/// What can go wrong with a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// No task has this name.
    #[error("there is no task `{name}`; use one of {known}, or the path of a .toml or .jsonl file")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// No split has this name.
    #[error("there is no split `{name}`; use train, valid, test or all")]
    UnknownSplit {
        /// The name asked for.
        name: String,
    },
    /// The description of a data set, a file of it or a row is not what it should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A task of the user's own failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// Programs could not be graded.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}
