//! Why a checkpoint could not be read or written.

use std::path::{Path, PathBuf};

use crate::decoder::BadShape;
use crate::files::WriteError;
use crate::format::gguf::Problem;

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// What is wrong with a file or folder, said by one of the errors that name none.
    #[error("{path}: {problem}")]
    In {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<LoadError>,
    },
    /// The folder lacks a file.
    #[error("{dir} has no {file}; give a folder with config.json and its weights as safetensors, or a GGUF file")]
    NotFound {
        /// What is missing.
        file: &'static str,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A folder holds several GGUF files.
    #[error("{dir} holds {count} models as GGUF; give one of the files, such as {first}")]
    SeveralModels {
        /// The folder.
        dir: PathBuf,
        /// The first of the files.
        first: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// A file exists and cannot be read.
    #[error("cannot read {path}; complete the download or check the permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is cut off or of another format.
    #[error("{path} is broken ({reason}); download or copy it again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A GGUF file cannot be read.
    #[error("{path}: {problem}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A file has a value that makes no sense.
    #[error("{path}: `{key}` is {found}, expected {expected}; correct it, or take the key out")]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The value of the key.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A file is the stand-in that git keeps for one it has not fetched.
    #[error("{path} is a pointer of git-lfs in place of the file; run `git lfs pull` in its folder")]
    Pointer {
        /// The file.
        path: PathBuf,
    },
    /// The folder holds an adapter: what was trained, without the model it is for.
    #[error(
        "{dir} holds an adapter of {base}, not a model; merge the two (`merge_and_unload` of PEFT) and give the merged \
         folder, or give {base}"
    )]
    Adapter {
        /// The folder.
        dir: PathBuf,
        /// The model it is for.
        base: String,
    },
    /// The weights are stored in fewer bits, with scales.
    #[error("the weights are quantized ({found}); use the checkpoint they were made from, in F32, F16 or BF16")]
    Quantized {
        /// Where that was seen.
        found: String,
    },
    /// The family is not one of [`ARCHITECTURES`](crate::architecture::ARCHITECTURES).
    #[error("it names {found}; the architectures that load are: {known}")]
    UnknownArchitecture {
        /// What the config names: `the architecture GPT2LMHeadModel`.
        found: String,
        /// Every family that loads.
        known: String,
    },
    /// A key of the config has a value that the decoder cannot run.
    #[error("`{key}` is {found}, expected {expected}")]
    BadConfig {
        /// The key.
        key: &'static str,
        /// The value of the key, or `missing`.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// The config describes what no decoder can be.
    #[error("its config describes no decoder: {0}")]
    Shape(#[from] BadShape),
    /// A tensor is not stored.
    #[error("{path} has no tensor `{name}`, which its config asks for; download it again")]
    MissingTensor {
        /// The name it would be stored under.
        name: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A tensor has another shape than the config says.
    #[error(
        "{path}: tensor `{name}` is {found:?}, expected {expected:?}; its config and its weights are of different models"
    )]
    WrongShape {
        /// The checkpoint.
        path: PathBuf,
        /// Stored name.
        name: String,
        /// Stored shape.
        found: Vec<usize>,
        /// Shape that follows from the config.
        expected: Vec<usize>,
    },
    /// A tensor is stored that the family knows and the config does not ask for.
    #[error(
        "{path}: tensor `{name}` is stored, but its config says the model has none (biases, or more layers than it says); \
         the config and the weights are of different models"
    )]
    SurplusTensor {
        /// The checkpoint.
        path: PathBuf,
        /// Stored name.
        name: String,
    },
    /// A weight is not a finite number in the type it is loaded as.
    #[error(
        "{path}: tensor `{name}` holds {value} as {dtype}; the file is damaged, or its numbers are too large for {dtype} \
         (load it as f32)"
    )]
    NotFinite {
        /// The file that the tensor is in.
        path: PathBuf,
        /// Stored name.
        name: String,
        /// The number.
        value: f32,
        /// The type of the weights in memory.
        dtype: &'static str,
    },
    /// A tensor is not a plain float.
    #[error(
        "{path}: tensor `{name}` is stored as {found}, expected F32, F16 or BF16; use a checkpoint that is not quantized"
    )]
    WrongDtype {
        /// The checkpoint.
        path: PathBuf,
        /// Stored name.
        name: String,
        /// Stored type.
        found: String,
    },
    /// The device did not take the weights.
    #[error("the device did not take the weights: {reason}; load them as f16 or bf16, or on another device")]
    Device {
        /// What the device said.
        reason: String,
    },
    /// The caller broke off.
    #[error("interrupted while the weights were loaded; nothing is lost")]
    Interrupted,
}

impl LoadError {
    /// This error, which names no file, as one of the file or folder at `path`.
    pub(crate) fn within(self, path: &Path) -> Self {
        Self::In { path: path.to_owned(), problem: Box::new(self) }
    }
}

/// Why a checkpoint could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The disk refuses.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The weights do not fit the file format.
    #[error("cannot encode the weights: {0}")]
    Encode(#[from] safetensors::SafeTensorError),
}
