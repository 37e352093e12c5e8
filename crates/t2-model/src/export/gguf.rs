//! A merged GGUF file: the model with the expert in its weights, for llama.cpp and what is built on it.
//!
//! A model that is a GGUF file keeps its metadata. Of a folder, config, tokenizer and chat template are described in the
//! keys that llama.cpp's converter writes; what has no key there is refused, as it would be another model.

use std::cell::RefCell;
use std::path::Path;

use burn::tensor::TensorData;
use serde_json::Value;

use super::{Export, ExportError, MergeReport};
use crate::checkpoint::{FileTensor, Files};
use crate::format::gguf::{
    Family, Gguf, MetaValue, NewTensor, Problem, SpecialTokens, describe, describe_tokenizer, is_tower, write,
};
use crate::format::quant::GgmlType;
use crate::text::{ChatTemplate, Tokenizer};

/// How keys begin that say how a file was written, not what is in it: they are those of the new one.
const OF_A_FILE: [&str; 5] =
    ["general.file_type", "general.quantization_version", "general.alignment", "split.", "quantize."];
/// How many tokens that end an answer have a key: the end of a text, of a turn and of a message.
const NAMED_ENDS: usize = 3;
/// The version of the layout of `Q8_0` blocks, `GGML_QNT_VERSION` in ggml.
const QUANTIZATION_VERSION: u32 = 2;

/// Write the model with the expert merged into it to the GGUF file `path`, which is new. Matrices are stored as `ty`
/// (F32, F16, BF16 or `Q8_0`; as F16 where their rows are no whole blocks of `Q8_0`), all else in f32. One tensor at a
/// time is in memory, and the file has its name only once it is whole.
///
/// # Errors
///
/// [`ExportError`] when the expert does not fit the model, its factors are not on disk, GGUF files cannot say what the
/// model or its tokenizer is, a merged number does not fit its type, the disk refuses, or the caller breaks off.
pub fn write_gguf(export: Export<'_>, ty: GgmlType, path: &Path) -> Result<MergeReport, ExportError> {
    check_gguf(&export, path)?;
    let files = export.files;
    let Header { family, mut metadata, tensors: others } = Header::of(files)?;
    metadata.extend(of_file(ty));
    let tensors = files.tensors()?;
    let work = RefCell::new(Work { export, family, done: 0, total: tensors.len(), changed: 0 });
    let merged = tensors.iter().map(|tensor| new_tensor(tensor, ty, family, &work)).collect::<Result<Vec<_>, _>>()?;
    let others = others.into_iter().map(|(name, values)| NewTensor {
        name,
        shape: vec![values.len()],
        ty: GgmlType::F32,
        values: Box::new(move || Ok(values)),
    });
    let all: Vec<NewTensor<'_, ExportError>> = others.chain(merged).collect();
    let bytes = all.iter().filter_map(|tensor| tensor.ty.bytes_of(tensor.shape.iter().product())).sum::<usize>() as u64;
    write(path, &metadata, all)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Work { total, changed, .. } = work.into_inner();
    Ok(MergeReport { files: vec![name], bytes, tensors: total, changed })
}

/// Refuse what [`write_gguf`] would refuse of the model and the name, before anything is decomposed for it.
///
/// # Errors
///
/// [`ExportError`] as there.
pub fn check_gguf(export: &Export<'_>, path: &Path) -> Result<(), ExportError> {
    if path.extension().is_none_or(|extension| extension != "gguf") {
        return Err(ExportError::BadName { path: path.to_owned() });
    }
    export.check(path)?;
    Header::of(export.files).map(drop)
}

/// What stands in a file beside the parameters.
struct Header {
    family: &'static Family,
    metadata: Vec<(String, MetaValue)>,
    /// Tensors of one dimension that are no parameters.
    tensors: Vec<(String, Vec<f32>)>,
}

impl Header {
    fn of(files: &Files) -> Result<Self, ExportError> {
        match files.path().is_dir() {
            true => Self::of_folder(files),
            false => Self::of_gguf(&Gguf::open(files.path())?),
        }
    }

    /// That of the file itself.
    fn of_gguf(gguf: &Gguf) -> Result<Self, ExportError> {
        if gguf.tensors().any(|tensor| is_tower(tensor.name)) {
            return Err(ExportError::OnlyText);
        }
        let family = gguf.family()?;
        let is_kept = |key: &str| !OF_A_FILE.iter().any(|begin| key.starts_with(begin));
        let metadata = gguf.metadata().iter().filter(|(key, _)| is_kept(key));
        let others = gguf.tensors().filter(|tensor| family.paths(tensor.name).is_empty());
        Ok(Self {
            family,
            metadata: metadata.map(|(key, value)| (key.to_owned(), value.clone())).collect(),
            tensors: others.map(|tensor| (tensor.name.to_owned(), tensor.values())).collect(),
        })
    }

    fn of_folder(files: &Files) -> Result<Self, ExportError> {
        let mut description = describe(&files.full_json())?;
        let metadata = &mut description.metadata;
        let name = files.path().canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into()));
        metadata.push(("general.name".to_owned(), name.unwrap_or_else(|| "model".to_owned()).into()));
        match Tokenizer::load(files.path())? {
            Some(tokenizer) => metadata.extend(vocabulary(files, &tokenizer)?),
            None => metadata.push(("tokenizer.ggml.model".to_owned(), "none".into())),
        }
        let tensors = description.tensors.into_iter().map(|(name, values)| (name.to_owned(), values)).collect();
        Ok(Self { family: description.family, metadata: description.metadata, tensors })
    }
}

/// The tokenizer of a folder and its chat template.
fn vocabulary(files: &Files, tokenizer: &Tokenizer) -> Result<Vec<(String, MetaValue)>, ExportError> {
    let json: Value = serde_json::from_str(&tokenizer.to_json()?).unwrap_or_default();
    let mut generation = files.generation()?;
    generation.end_at(tokenizer.end_tokens());
    let unknown = json["model"]["unk_token"].as_str().and_then(|token| tokenizer.token_id(token));
    if let Some(unnamed) = generation.eos.get(NAMED_ENDS..).filter(|ends| !ends.is_empty()) {
        tracing::warn!("a GGUF file names {NAMED_ENDS} tokens that end an answer; {unnamed:?} end none in it");
    }
    // What the tokenizer puts around a text is what counts, whatever else is said to open one.
    let around = tokenizer.encode("")?;
    let bos = around.first().copied().filter(|id| !generation.eos.contains(id)).or(generation.bos);
    let closes = around.last().is_some_and(|last| generation.eos.contains(last));
    let special = SpecialTokens { bos, ends: generation.eos, pad: generation.pad, unknown };
    let mut keys = describe_tokenizer(&json, files.config.vocab, &special)?;
    keys.extend(closes.then(|| ("tokenizer.ggml.add_eos_token".to_owned(), true.into())));
    let template = tokenizer.chat_template().map(ChatTemplate::source);
    keys.extend(template.map(|source| ("tokenizer.chat_template".to_owned(), source.into())));
    Ok(keys)
}

/// How the file is written. The numbers are those of `llama_ftype` in llama.cpp.
fn of_file(ty: GgmlType) -> Vec<(String, MetaValue)> {
    let number: u32 = match ty {
        GgmlType::F16 => 1,
        GgmlType::Q8_0 => 7,
        GgmlType::Bf16 => 32,
        _ => 0,
    };
    let version = (ty == GgmlType::Q8_0).then_some(("general.quantization_version", QUANTIZATION_VERSION));
    let keys = [Some(("general.file_type", number)), version];
    keys.into_iter().flatten().map(|(key, value)| (key.to_owned(), value.into())).collect()
}

/// What the tensors share while they are written.
struct Work<'e> {
    export: Export<'e>,
    family: &'static Family,
    done: usize,
    total: usize,
    changed: usize,
}

/// The tensor of the file that holds what `tensor` of a folder does.
fn new_tensor<'a, 'e: 'a>(
    tensor: &'a FileTensor<'a>,
    ty: GgmlType,
    family: &Family,
    work: &'a RefCell<Work<'e>>,
) -> Result<NewTensor<'a, ExportError>, ExportError> {
    let name = tensor.sources.first().and_then(|source| family.name(&source.path));
    let name = name.ok_or_else(|| ExportError::NoName { name: tensor.name.clone(), family: family.name })?;
    let row = tensor.shape.last().copied().unwrap_or(1);
    let ty = match tensor.shape.len() {
        0 | 1 => GgmlType::F32,
        _ if ty == GgmlType::Q8_0 && ty.bytes_of(row).is_none() => GgmlType::F16,
        _ => ty,
    };
    let values = Box::new(move || work.borrow_mut().values(tensor));
    Ok(NewTensor { name, shape: tensor.shape.clone(), ty, values })
}

impl Work<'_> {
    /// The numbers of `tensor` with the expert in them, its rows in the order of a GGUF file.
    fn values(&mut self, tensor: &FileTensor<'_>) -> Result<Vec<f32>, ExportError> {
        let values = match tensor.gains() {
            Some(gains) => gains,
            None => {
                let (values, changed) = self.export.merged(tensor)?;
                self.changed += usize::from(changed);
                self.in_order(tensor, values)
            }
        };
        self.done += 1;
        self.export.tell(self.done, self.total)?;
        Ok(values)
    }

    /// `values` of a folder's tensor as a GGUF file has them: rotary pairs side by side.
    fn in_order(&self, tensor: &FileTensor<'_>, values: TensorData) -> Vec<f32> {
        let head_dim = self.export.files.config.attention.head_dim;
        let rows = tensor.shape.first().copied().unwrap_or(1);
        let values: Vec<f32> = values.try_into_vec().unwrap_or_default();
        let mut ordered = values.clone();
        for source in &tensor.sources {
            let theirs = self.family.rows(&source.path, head_dim, source.rows.clone());
            if theirs != source.rows {
                theirs.place(&source.rows.pick(&values, rows), &mut ordered, rows);
            }
        }
        ordered
    }
}

impl From<Problem> for ExportError {
    fn from(problem: Problem) -> Self {
        Self::NotAsGguf { problem }
    }
}
