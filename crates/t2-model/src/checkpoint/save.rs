//! Writing a decoder as a checkpoint that transformers reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::{GenerationDefaults, SaveError};
use crate::architecture::{Architecture, Source};
use crate::decoder::Decoder;
use crate::files::write_atomically;
use crate::format::CONFIG;
use crate::hash::Hash;
use crate::paths;

/// Write `model` to `dir` in f32, in the spelling of its family: `model.safetensors`, `generation_config.json`,
/// `config.json`. Equal models give equal bytes.
///
/// Of an adapted weight the dense base is written, without its expert: experts are files of their own.
///
/// # Errors
///
/// [`SaveError`] when the disk refuses or the weights do not fit the file format.
pub fn save(
    model: &Decoder,
    architecture: &dyn Architecture,
    generation: &GenerationDefaults,
    dir: &Path,
) -> Result<(), SaveError> {
    let parameters = parameters_of(model);
    let mut stored: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for source in architecture.sources(model.config()) {
        let Some((name, values)) = source.names.first().zip(parameters.get(&source.path)) else { continue };
        let shape = source.stored_shape();
        let rows = shape.first().copied().unwrap_or(1);
        let len = shape.iter().product();
        let (_, whole) = stored.entry(name.clone()).or_insert_with(|| (shape, vec![0.0; len]));
        source.rows.place(&source.on_disk(turned(&source, values.clone())), whole, rows);
    }
    let views = stored.iter().map(|(name, (shape, values))| {
        TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata))?;
    write_atomically(&dir.join("model.safetensors"), &bytes)?;
    write_atomically(&dir.join("generation_config.json"), format!("{:#}\n", generation.to_json()).as_bytes())?;
    let mut config = architecture.to_json(model.config());
    generation.write_token_ids(&mut config);
    write_atomically(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    Ok(())
}

/// The hash that `model` would have as a checkpoint in f32 with a stored tensor for each parameter.
pub(crate) fn hash_of_model(model: &Decoder) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let parameters = parameters_of(model);
    let sources: BTreeMap<_, _> = model.config().parameters().collect();
    for (path, shape) in sources {
        let source = Source::plain(path.clone(), shape, path.clone());
        let values = parameters.get(&path).cloned().unwrap_or_default();
        hasher.update(format!("{path} {:?} {:?}\n", Dtype::F32, source.stored_shape()).as_bytes());
        hasher.update_rayon(bytemuck::cast_slice(&turned(&source, values)));
    }
    hasher.finalize().into()
}

/// `values` of a parameter, turned the way round that it is stored.
fn turned(source: &Source, values: Vec<f32>) -> Vec<f32> {
    source.layout.arrange(values, &source.layout.turn(&source.shape))
}

/// Values of every parameter of the base model by path.
fn parameters_of(model: &Decoder) -> BTreeMap<String, Vec<f32>> {
    let wanted = model.config().parameters().map(|(path, _)| path).collect();
    let mut read = Read { path: paths::Path::default(), wanted, values: BTreeMap::new() };
    model.visit(&mut read);
    read.values
}

/// Collects the values of the parameters that are wanted, by path.
struct Read {
    path: paths::Path,
    wanted: BTreeSet<String>,
    values: BTreeMap<String, Vec<f32>>,
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
        if self.wanted.contains(&path) {
            let values = param.base().into_data().convert::<f32>().iter::<f32>().collect();
            self.values.insert(path, values);
        }
    }
}
