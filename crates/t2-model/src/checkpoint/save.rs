//! Writing a decoder as a checkpoint that transformers reads.

use std::collections::HashMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::tensors::{arrange, in_layout};
use super::{CONFIG, GenerationConfig, SaveError, layout};
use crate::architecture::{Llama, llama, their_name};
use crate::decoder::{CausalLm, Decoder};
use crate::files::write_atomically;
use crate::paths;

/// Write `model` to `dir` in f32: `model.safetensors`, `generation_config.json`, `config.json`. Equal models give
/// equal bytes.
///
/// Of a weight under an expert the unadapted base is written: experts are files of their own.
///
/// # Errors
///
/// [`SaveError`] when the disk refuses or the weights do not fit the file format.
pub fn save(model: &Decoder, generation: &GenerationConfig, dir: &Path) -> Result<(), SaveError> {
    let mut read = Read { path: paths::Path::default(), tensors: vec![] };
    model.visit(&mut read);
    let views = read.tensors.iter().map(|(name, shape, values)| {
        TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata))?;
    write_atomically(&dir.join("model.safetensors"), &bytes)?;
    write_atomically(&dir.join("generation_config.json"), format!("{:#}\n", generation.to_json()).as_bytes())?;
    let config = llama::to_json(model.config(), generation);
    write_atomically(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    Ok(())
}

/// Collects Hugging Face name, stored shape and values of every parameter that a checkpoint has.
struct Read {
    path: paths::Path,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl ModuleVisitor for Read {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.to_string();
        let Some(name) = their_name(&Llama, &path) else { return };
        let layout = layout(&path, D);
        let shape = in_layout(&param.lazy_shape(), layout);
        let values: Vec<f32> = param.base().into_data().convert::<f32>().iter::<f32>().collect();
        let values = arrange(values, &shape, layout);
        self.tensors.push((name, shape, values));
    }
}
