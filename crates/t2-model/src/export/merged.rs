//! A merged checkpoint: the folder of the base model with the expert in its weights.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use burn::tensor::DType;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, View};
use serde_json::Value;

use super::{Export, ExportError, companions, shards};
use crate::checkpoint::{FileTensor, Files};
use crate::files::{write_atomically, write_atomically_with};
use crate::format::CONFIG;
use crate::format::safetensors::INDEX;
use crate::format::stored::first_not_finite;

/// How a merged checkpoint is written.
#[derive(Clone, Copy, Debug)]
pub struct MergeOptions {
    /// Type of the weights; that of each stored tensor when `None`.
    pub dtype: Option<DType>,
    /// Most bytes of weights in a file.
    pub shard_bytes: u64,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self { dtype: None, shard_bytes: 5_000_000_000 }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MergeReport {
    /// The files of weights.
    pub files: Vec<String>,
    /// Bytes of the weights.
    pub bytes: u64,
    /// Stored tensors in all.
    pub tensors: usize,
    /// Stored tensors that the expert changed.
    pub changed: usize,
}

/// Write the checkpoint with the expert merged into it to `dir`, a folder that is new or empty: weights in one or
/// several safetensors files, the config with their type, and the files of the tokenizer. One tensor at a time is in
/// memory. The config is written last: a folder that has one is complete.
///
/// # Errors
///
/// [`ExportError`] when the expert does not fit the model, its factors are not on disk, a merged number does not fit its
/// type, the disk refuses, or the caller breaks off.
pub fn write_merged(export: Export<'_>, options: MergeOptions, dir: &Path) -> Result<MergeReport, ExportError> {
    export.check(dir)?;
    let files = export.files;
    let tensors = files.tensors()?;
    let lazy: Vec<Merged<'_>> = tensors.iter().map(|tensor| Merged::new(tensor, options.dtype)).collect();
    let sizes: Vec<u64> = lazy.iter().map(|tensor| tensor.data_len() as u64).collect();
    let shards = shards::split(&sizes, options.shard_bytes);
    let names = shards::names(shards.len());
    let work = RefCell::new(Work { export, done: 0, total: tensors.len(), changed: 0, failed: None });
    let mut weight_map = BTreeMap::new();
    for (name, shard) in names.iter().zip(&shards) {
        let views = shard.iter().map(|&index| (tensors[index].name.as_str(), Writing(&lazy[index], &work)));
        let written = write_atomically_with(&dir.join(name), |path| write_shard(path, views, &work));
        // What kept the numbers from being made is the cause of what the writer says.
        match work.borrow_mut().failed.take() {
            Some(error) => return Err(error),
            None => written?,
        }
        weight_map.extend(shard.iter().map(|&index| (tensors[index].name.clone(), name.clone())));
    }
    let (bytes, changed) = (sizes.iter().sum(), work.into_inner().changed);
    if names.len() > 1 {
        let index = shards::index(&weight_map, bytes);
        write_atomically(&dir.join(INDEX), format!("{index:#}\n").as_bytes())?;
    }
    companions::write(files, dir)?;
    let config = config(files, options.dtype);
    write_atomically(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    Ok(MergeReport { files: names, bytes, tensors: tensors.len(), changed })
}

/// Write the tensors `views` to `path`. A file with tensors that could not be made is an error.
fn write_shard<'a, 'e: 'a>(
    path: &Path,
    views: impl Iterator<Item = (&'a str, Writing<'a, 'e>)>,
    work: &RefCell<Work<'e>>,
) -> io::Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        SafeTensorError::IoError(error) => error,
        other => io::Error::other(other),
    })?;
    match work.borrow().failed {
        None => Ok(()),
        Some(_) => Err(io::Error::other("a tensor could not be made")),
    }
}

/// The config of the checkpoint, which says the type of the weights if it changes.
fn config(files: &Files, dtype: Option<DType>) -> Value {
    let mut json = files.json().clone();
    // It names Python files beside the config, which are not copied: transformers has the family itself.
    if let Some(json) = json.as_object_mut() {
        json.shift_remove("auto_map");
    }
    let name = match dtype {
        None => return json,
        Some(DType::F16) => "float16",
        Some(DType::BF16) => "bfloat16",
        Some(_) => "float32",
    };
    let key = if json.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    json[key] = name.into();
    json
}

/// A stored tensor that is to be written, and its type there.
struct Merged<'a> {
    tensor: &'a FileTensor<'a>,
    dtype: DType,
    len: usize,
}

impl<'a> Merged<'a> {
    fn new(tensor: &'a FileTensor<'a>, dtype: Option<DType>) -> Self {
        let dtype = dtype.unwrap_or(tensor.dtype);
        Self { tensor, dtype, len: tensor.shape.iter().product::<usize>() * dtype.size() }
    }

    fn data_len(&self) -> usize {
        self.len
    }
}

/// What the tensors of all files share while they are written.
struct Work<'e> {
    export: Export<'e>,
    done: usize,
    total: usize,
    changed: usize,
    /// Why a tensor could not be made. The writer of the format has no word for that.
    failed: Option<ExportError>,
}

impl Work<'_> {
    /// The bytes of a tensor with the expert in it.
    fn bytes_of(&mut self, merged: &Merged<'_>) -> Result<Vec<u8>, ExportError> {
        let Merged { tensor, dtype, .. } = *merged;
        let (values, changed) = self.export.merged(tensor)?;
        self.changed += usize::from(changed);
        let values = values.convert_dtype(dtype);
        if let Some(value) = first_not_finite(&values) {
            return Err(ExportError::NotFinite { name: tensor.name.clone(), value, dtype: dtype.name() });
        }
        self.done += 1;
        self.export.tell(self.done, self.total)?;
        Ok(values.as_bytes().to_vec())
    }
}

/// A tensor that is made when its bytes are asked for, and forgotten when they are written.
struct Writing<'a, 'e>(&'a Merged<'a>, &'a RefCell<Work<'e>>);

impl View for Writing<'_, '_> {
    fn dtype(&self) -> Dtype {
        match self.0.dtype {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut work = self.1.borrow_mut();
        if work.failed.is_some() {
            return Cow::Borrowed(&[]);
        }
        match work.bytes_of(self.0) {
            Ok(bytes) => Cow::Owned(bytes),
            Err(error) => {
                work.failed = Some(error);
                Cow::Borrowed(&[])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.0.data_len()
    }
}
