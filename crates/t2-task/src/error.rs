//! What can go wrong with a task.

use crate::dataset::DatasetError;

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
    /// No Python interpreter was found.
    #[error(
        "python3 was not found on the PATH, so programs cannot be graded: tiny-code and tiny-code-hard are skipped; \
         install Python 3.8 or newer (`apt install python3`) to run them"
    )]
    NoPython,
    /// The Python driver did not give a verdict on every program.
    #[error(
        "the sandbox graded {graded} of {asked} programs and stopped: {detail}; it needs Python 3.8 or newer on Unix"
    )]
    Sandbox {
        /// Programs with a verdict.
        graded: usize,
        /// Programs handed in.
        asked: usize,
        /// The end of what the interpreter wrote to its standard error, or what the system said.
        detail: String,
    },
    /// A program could not be run under its limits, or a program whose verdict is known got the wrong one.
    #[error(
        "nothing was graded, because the sandbox cannot be trusted here: {fault}; it needs a python3 on the PATH that is \
         Python 3.8 or newer, on a system that lets a process limit itself (`ulimit -H -a` shows what it allows)"
    )]
    Untrusted {
        /// What went wrong.
        fault: String,
    },
}
