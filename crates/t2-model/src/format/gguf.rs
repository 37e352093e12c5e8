//! GGUF files, mapped into memory: the metadata of a model and its tensors, in one file or several.
//!
//! The layout is that of `docs/gguf.md` of ggml, versions 2 and 3: counts, keys with values, what each tensor is and
//! where, then the numbers. Nothing in a file is believed before it is checked.

mod bytes;
mod config;
mod describe;
mod family;
mod header;
mod metadata;
mod model;
mod names;
mod parts;
mod problem;
mod value;
mod vocabulary;
mod write;

use std::path::{Path, PathBuf};

use crate::checkpoint::{LoadError, foreign};
use crate::format::mapped::Mapped;
use crate::format::quant::GgmlType;
use crate::format::stored::{StoredTensor, Tensors};

pub use config::SpecialTokens;
pub use describe::{Description, describe, describe_tokenizer};
pub use family::{FAMILIES, Family};
pub use header::{Header, TensorInfo, parse};
pub use metadata::Metadata;
pub use model::is_first;
pub(crate) use model::{Model, is_model};
pub(crate) use names::is_tower;
pub use problem::Problem;
pub use value::{MetaArray, MetaValue};
pub use write::{GgufWriteError, NewTensor, write};

/// How many characters of a name or a value an error repeats.
const MAX_SHOWN: usize = 100;

/// A model in one GGUF file or several.
#[derive(Debug)]
pub struct Gguf {
    parts: Vec<Part>,
}

/// A mapped file and its header.
#[derive(Debug)]
struct Part {
    file: Mapped,
    header: Header,
}

/// A tensor of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// How its numbers are stored.
    pub ty: GgmlType,
    /// Its shape, the dimension whose numbers are side by side last.
    pub shape: &'a [usize],
    /// Its numbers, as stored.
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Its numbers.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.shape.iter().product()];
        self.ty.dequantize(self.bytes, &mut values);
        values
    }
}

impl Gguf {
    /// Open the file at `path`, and beside it the others that belong to it: of a model in several files, the first is
    /// given (`…-00001-of-00003.gguf`).
    ///
    /// # Errors
    ///
    /// [`LoadError`] naming the file that is missing, broken, or of a kind that is not read.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let first = Part::open(path.to_owned())?;
        let others = parts::others(path, &first.header.metadata).map_err(|problem| first.bad(problem))?;
        let mut parts = vec![first];
        for (index, path) in others.into_iter().enumerate() {
            let part = Part::open(path)?;
            parts::check_number(&part.header.metadata, index + 1).map_err(|problem| part.bad(problem))?;
            parts.push(part);
        }
        parts::check_together(parts.iter().map(|part| &part.header)).map_err(|problem| parts[0].bad(problem))?;
        Ok(Self { parts })
    }

    /// Values by key.
    pub fn metadata(&self) -> &Metadata {
        &self.parts[0].header.metadata
    }

    /// Every tensor, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.parts.iter().flat_map(|part| part.header.tensors.iter().map(|info| part.tensor(info)))
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.tensors().find(|tensor| tensor.name == name)
    }

    /// Every tensor by its name, to be loaded.
    pub(crate) fn stored(&self) -> Tensors<'_> {
        self.parts.iter().flat_map(Part::stored).collect()
    }

    /// The files that the model is in, the one that was opened first.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.file.path())
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        self.parts[0].file.path()
    }

    /// The error for a `problem` with the file that was opened.
    pub fn bad(&self, problem: Problem) -> LoadError {
        self.parts[0].bad(problem)
    }
}

impl Part {
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        let file = Mapped::open(&path)?;
        match parse(&file) {
            Ok(header) => Ok(Self { file, header }),
            Err(_) if foreign::is_pointer(&file) => Err(LoadError::Pointer { path }),
            Err(problem) => Err(LoadError::Gguf { path, problem }),
        }
    }

    fn stored(&self) -> impl Iterator<Item = (String, Result<StoredTensor<'_>, String>)> {
        self.header.tensors.iter().map(|TensorInfo { name, ty, shape, bytes }| {
            let stored = StoredTensor { ty: *ty, shape: shape.clone(), file: &self.file, range: bytes.clone() };
            (name.clone(), Ok(stored))
        })
    }

    fn tensor<'a>(&'a self, info: &'a TensorInfo) -> Tensor<'a> {
        let TensorInfo { name, ty, shape, bytes } = info;
        Tensor { name, ty: *ty, shape, bytes: &self.file[bytes.clone()] }
    }

    fn bad(&self, problem: Problem) -> LoadError {
        LoadError::Gguf { path: self.file.path().to_owned(), problem }
    }
}
