//! The tensors of a checkpoint as a folder of its family has them, each once: what a copy of the checkpoint is made of.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use serde_json::Value;

use super::{Files, GenerationDefaults, LoadError, Stored};
use crate::architecture::{Layout, Rows, Source, Transform};

/// A tensor of a folder, and the parameters that are made of it.
pub(crate) struct FileTensor<'a> {
    /// The name it is stored under.
    pub(crate) name: String,
    /// Its stored shape.
    pub(crate) shape: Vec<usize>,
    /// The type in memory that its stored numbers come nearest to.
    pub(crate) dtype: DType,
    /// What is read from it: one parameter, or several of which each has some of its rows.
    pub(crate) sources: Vec<Source>,
    /// Where the checkpoint at hand has these parameters: in this very tensor, if it is a folder.
    stored: Vec<Stored<'a>>,
}

impl FileTensor<'_> {
    /// A tensor that is nowhere on disk: its values cannot be asked for.
    #[cfg(test)]
    pub(crate) fn not_stored(name: &str, shape: Vec<usize>, sources: Vec<Source>) -> Self {
        Self { name: name.to_owned(), shape, dtype: DType::F32, sources, stored: vec![] }
    }

    /// Its values as f32, in the order of the file.
    pub(crate) fn values(&self) -> TensorData {
        if let ([source, ..], [stored, ..]) = (self.sources.as_slice(), self.stored.as_slice())
            && *source == stored.source
        {
            let values = stored.tensor.values(&Rows::All, Layout::Same, DType::F32);
            stored.tensor.release();
            return values;
        }
        let mut whole = vec![0.0; self.shape.iter().product()];
        let rows = self.shape.first().copied().unwrap_or(1);
        for (source, stored) in self.sources.iter().zip(&self.stored) {
            let values: Vec<f32> = stored.read(DType::F32).iter::<f32>().collect();
            let turned = source.layout.arrange(values, &source.layout.turn(&source.shape));
            source.rows.place(&source.on_disk(turned), &mut whole, rows);
        }
        TensorData::new(whole, self.shape.clone())
    }
}

impl FileTensor<'_> {
    /// The numbers of its only parameter, f32, where a folder stores something else in their place: the gains of a norm,
    /// of which it has the distance from one.
    pub(crate) fn gains(&self) -> Option<Vec<f32>> {
        match (self.sources.as_slice(), self.stored.as_slice()) {
            ([source], [stored]) if source.transform != Transform::None => {
                Some(stored.read(DType::F32).iter::<f32>().collect())
            }
            _ => None,
        }
    }
}

impl Files {
    /// Every tensor that a parameter is read from, in the order of the parameters.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a tensor is missing, of the wrong shape, or no plain float.
    pub(crate) fn tensors(&self) -> Result<Vec<FileTensor<'_>>, LoadError> {
        let mut stored = self.stored()?;
        let mut tensors: Vec<FileTensor<'_>> = vec![];
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for source in self.architecture.sources(&self.config) {
            let Some(found) = stored.remove(&source.path) else { continue };
            // A folder may have it under another of its names.
            let here = source.names.contains(&found.name).then(|| found.name.clone());
            let name = here.or_else(|| source.names.first().cloned()).unwrap_or_else(|| source.path.clone());
            if let Some(&index) = known.get(&name) {
                tensors[index].sources.push(source);
                tensors[index].stored.push(found);
                continue;
            }
            known.insert(name.clone(), tensors.len());
            tensors.push(FileTensor {
                name,
                shape: source.stored_shape(),
                dtype: found.tensor.ty.dtype(),
                sources: vec![source],
                stored: vec![found],
            });
        }
        Ok(tensors)
    }

    /// The folder or file.
    pub(crate) fn path(&self) -> &Path {
        self.format.path()
    }

    /// Special tokens and suggested sampling.
    pub(crate) fn generation(&self) -> Result<GenerationDefaults, LoadError> {
        self.format.generation()
    }

    /// What the model is, in the words of a `config.json`.
    pub(crate) fn json(&self) -> &Value {
        self.format.config()
    }

    /// The same with every key of the family, in the spelling of transformers 5.
    pub(crate) fn full_json(&self) -> Value {
        self.architecture.to_json(&self.config)
    }
}
