//! Why a model or a data set could not be found or fetched.

use std::io;

use t2_model::checkpoint::LoadError;
use t2_model::files::WriteError;

use super::BUNDLED;

/// Why a model or a data set could not be found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing goes by this name.
    #[error(
        "there is no model `{name}`; give `{BUNDLED}` (bundled), an existing folder, a .gguf file, or a Hub id such as \
         org/name or org/name:file.gguf"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The name is that of a file.
    #[error("the model `{name}` is a file; give a .gguf file, or the folder that holds config.json and the weights")]
    IsFile {
        /// The name.
        name: String,
    },
    /// The bundled model cannot be unpacked.
    #[error("the bundled model cannot be used: {reason}")]
    Bundled {
        /// Why, and what would help.
        reason: &'static str,
    },
    /// The Hub, or what it gave, is of no use.
    #[error("{0}")]
    Hub(String),
    /// The cache of the Hub cannot be read or written.
    #[error("{what}")]
    Cache {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The model is none that runs here.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The caller broke off.
    #[error("interrupted while {file} was downloaded; do the same again to go on from there")]
    Interrupted {
        /// The file.
        file: String,
    },
}

impl SourceError {
    pub(super) fn hub(reason: impl Into<String>) -> Self {
        Self::Hub(reason.into())
    }
}
