//! A LoRA adapter for PEFT: of what an expert changes in a matrix, the directions of largest `|(z - 1) s|`.
//!
//! PEFT adds `B A` to a stored weight `[d_out, d_in]`, with `A` `[rank, d_in]` and `B` `[d_out, rank]`. The change is
//! `Σ_i σ_i v_i u_iᵀ` with `σ_i = (z_i - 1) s_i`: `√|σ_i| u_i` is a row of `A`, `sign(σ_i) √|σ_i| v_i` a column of `B`.
//! Singular vectors are orthonormal, so what is left out has the norm `√Σ σ_i²` over the other directions, and no adapter
//! of the same rank leaves out less of a matrix. A tensor that holds several matrices takes its directions from all of
//! them.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::change::Change;
use super::{Export, ExportError};
use crate::adapter::Expert;
use crate::checkpoint::FileTensor;
use crate::files::{write_atomically, write_atomically_with};

/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// How an adapter is written.
#[derive(Clone, Debug)]
pub struct LoraOptions {
    /// Directions of each matrix.
    pub rank: usize,
    /// The model that the adapter is for, as PEFT finds it: a folder or the name of a repository.
    pub base_model: String,
}

impl LoraOptions {
    /// Refuse a rank of nothing.
    ///
    /// # Errors
    ///
    /// [`ExportError::BadRank`].
    pub fn check(&self) -> Result<(), ExportError> {
        if self.rank == 0 { Err(ExportError::BadRank { rank: self.rank }) } else { Ok(()) }
    }
}

/// What an adapter leaves out.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LoraReport {
    /// `‖ΔW - B A‖ / ‖ΔW‖` over all matrices together (Frobenius); 0 where the expert changes nothing.
    pub residual: f64,
    /// The same for each matrix.
    pub matrices: Vec<Residual>,
}

/// What an adapter leaves out of one matrix.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Residual {
    /// The module, by its name in the checkpoint.
    pub module: String,
    /// `‖ΔW - B A‖ / ‖ΔW‖` (Frobenius).
    pub residual: f64,
}

/// Write what the expert changes as a LoRA adapter to `dir`, a folder that is new or empty: `adapter_model.safetensors`
/// and `adapter_config.json`.
///
/// # Errors
///
/// [`ExportError`] without an expert or with a rank of 0, when the expert does not fit the model, its factors are not on
/// disk, the disk refuses, or the caller breaks off.
pub fn write_lora(mut export: Export<'_>, options: &LoraOptions, dir: &Path) -> Result<LoraReport, ExportError> {
    options.check()?;
    let expert = export.expert.ok_or(ExportError::NoExpert)?;
    export.check(dir)?;
    let tensors = export.files.tensors()?;
    let mut adapter = Adapter { rank: options.rank.min(most_directions(&tensors, expert)), modules: vec![] };
    let mut others = vec![];
    for (done, tensor) in tensors.iter().enumerate() {
        // The name that transformers gives it, which a file may abbreviate.
        let name = tensor.sources.first().and_then(|source| source.names.first()).unwrap_or(&tensor.name);
        let module = name.strip_suffix(".weight").unwrap_or(name).to_owned();
        if tensor.sources.iter().any(|source| expert.z(&source.path).is_some()) {
            let values = tensor.values();
            let changes = Change::of(tensor, values.as_slice().unwrap_or_default(), expert, export.factors)?;
            adapter.add(module, [tensor.shape[0], tensor.shape[1]], &changes);
        } else {
            others.push(module);
        }
        export.tell(done + 1, tensors.len())?;
    }
    adapter.write(&dir.join("adapter_model.safetensors"))?;
    let config = config(options, adapter.rank, &adapter.targets(&others));
    write_atomically(&dir.join("adapter_config.json"), format!("{config:#}\n").as_bytes())?;
    Ok(adapter.report())
}

/// The most directions that `expert` changes in one module: more than these no adapter has to hold.
fn most_directions(tensors: &[FileTensor<'_>], expert: &Expert) -> usize {
    let changed =
        |tensor: &FileTensor<'_>| tensor.sources.iter().filter_map(|source| Some(expert.z(&source.path)?.len())).sum();
    tensors.iter().map(changed).max().unwrap_or(1).max(1)
}

fn config(options: &LoraOptions, rank: usize, targets: &[String]) -> Value {
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": options.base_model,
        "r": rank,
        // The scaling is alpha over rank: one.
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
    })
}

struct Adapter {
    rank: usize,
    modules: Vec<Module>,
}

/// The two factors of one module, and the squares of what they hold and leave out.
struct Module {
    name: String,
    /// `[rank, d_in]`.
    a: Vec<f32>,
    /// `[d_out, rank]`.
    b: Vec<f32>,
    shape: [usize; 2],
    kept: f64,
    lost: f64,
}

/// A direction of a change.
struct Direction<'a> {
    change: &'a Change,
    /// Position among the singular values.
    index: usize,
    sigma: f32,
}

impl Adapter {
    /// Add the module `name`, whose stored weight is `[d_out, d_in]`, with the largest directions of `changes`.
    fn add<'c>(&mut self, name: String, [d_out, d_in]: [usize; 2], changes: &'c [Change]) {
        let of_change = |change: &'c Change| {
            change.sigma().iter().enumerate().map(move |(index, &sigma)| Direction { change, index, sigma })
        };
        let mut directions: Vec<Direction<'_>> = changes.iter().flat_map(of_change).collect();
        directions.sort_by(|one, other| other.sigma.abs().total_cmp(&one.sigma.abs()));
        let square = |directions: &[Direction<'_>]| directions.iter().map(|d| f64::from(d.sigma).powi(2)).sum::<f64>();
        let (kept, lost) = directions.split_at(self.rank.min(directions.len()));
        let mut module = Module {
            name,
            a: vec![0.0; self.rank * d_in],
            b: vec![0.0; d_out * self.rank],
            shape: [d_out, d_in],
            kept: square(kept),
            lost: square(lost),
        };
        for (column, direction) in kept.iter().enumerate() {
            let root = direction.sigma.abs().sqrt();
            let row = &mut module.a[column * d_in..(column + 1) * d_in];
            row.iter_mut().zip(direction.change.left(direction.index)).for_each(|(a, u)| *a = u * root);
            let signed = root * direction.sigma.signum();
            let right = direction.change.right_as_stored(direction.index, d_out);
            module.b.iter_mut().skip(column).step_by(self.rank).zip(right).for_each(|(b, v)| *b = v * signed);
        }
        self.modules.push(module);
    }

    /// Names for `target_modules`: the last part of a name where it means every module of the model that ends so, whole
    /// names elsewhere. `others` are the modules without an adapter.
    fn targets(&self, others: &[String]) -> Vec<String> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let taken: Vec<String> = others.iter().map(|name| last(name)).collect();
        let target = |module: &Module| {
            let short = last(&module.name);
            if taken.contains(&short) { module.name.clone() } else { short }
        };
        let mut targets: Vec<String> = self.modules.iter().map(target).collect();
        targets.sort();
        targets.dedup();
        targets
    }

    fn write<'a>(&'a self, path: &Path) -> Result<(), ExportError> {
        let view = |name: &str, part: &str, shape: [usize; 2], values| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values))?;
            Ok((format!("{PREFIX}{name}.{part}.weight"), view))
        };
        let both = |module: &'a Module| {
            let Module { name, a, b, shape: [d_out, d_in], .. } = module;
            [view(name, "lora_A", [self.rank, *d_in], a), view(name, "lora_B", [*d_out, self.rank], b)]
        };
        let views = self.modules.iter().flat_map(both).collect::<Result<Vec<_>, SafeTensorError>>();
        Ok(write_atomically_with(path, |path| {
            let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
            let written = views.and_then(|views| safetensors::serialize_to_file(views, Some(metadata), path));
            written.map_err(io::Error::other)
        })?)
    }

    fn report(&self) -> LoraReport {
        let share = |lost: f64, kept: f64| if lost > 0.0 { (lost / (lost + kept)).sqrt() } else { 0.0 };
        let sum = |f: fn(&Module) -> f64| self.modules.iter().map(f).sum::<f64>();
        let residual =
            |module: &Module| Residual { module: module.name.clone(), residual: share(module.lost, module.kept) };
        LoraReport {
            residual: share(sum(|module| module.lost), sum(|module| module.kept)),
            matrices: self.modules.iter().map(residual).collect(),
        }
    }
}
