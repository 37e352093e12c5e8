//! GGUF files, mapped into memory: the metadata of a model and its tensors, in one file or several.
//!
//! The layout is that of `docs/gguf.md` of ggml, versions 2 and 3: counts, keys with values, what each tensor is and
//! where, then the numbers. Nothing in a file is believed before it is checked.

mod bytes;
mod header;
mod metadata;
mod parts;
mod problem;
mod value;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::checkpoint::{LoadError, foreign};
use crate::format::quant::GgmlType;

pub use header::{Header, TensorInfo, parse};
pub use metadata::Metadata;
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
    path: PathBuf,
    map: Mmap,
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

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.parts[0].path
    }

    /// The error for a `problem` with the file that was opened.
    pub fn bad(&self, problem: Problem) -> LoadError {
        self.parts[0].bad(problem)
    }
}

impl Part {
    #[expect(unsafe_code, reason = "a mapped file is only sound while nobody shortens it; checkpoints are not edited")]
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        // SAFETY: see the reason above.
        let map = File::open(&path).and_then(|file| unsafe { Mmap::map(&file) });
        let map = match map {
            Ok(map) => map,
            Err(source) => return Err(LoadError::Read { path, source }),
        };
        match parse(&map) {
            Ok(header) => Ok(Self { path, map, header }),
            Err(_) if foreign::is_pointer(&map) => Err(LoadError::Pointer { path }),
            Err(problem) => Err(LoadError::Gguf { path, problem }),
        }
    }

    fn tensor<'a>(&'a self, info: &'a TensorInfo) -> Tensor<'a> {
        let TensorInfo { name, ty, shape, bytes } = info;
        Tensor { name, ty: *ty, shape, bytes: &self.map[bytes.clone()] }
    }

    fn bad(&self, problem: Problem) -> LoadError {
        LoadError::Gguf { path: self.path.clone(), problem }
    }
}
