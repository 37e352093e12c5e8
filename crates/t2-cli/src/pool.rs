//! A folder of experts of one model, ready for the first pass.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use t2_dispatch::ExpertPool;
use t2_model::decoder::Decoder;
use t2_model::decomposition::Targets;
use t2_model::adapter::Expert;

use crate::adapt::decompose;
use crate::model::LoadedModel;
use crate::output::Output;

/// Folder of a model that holds experts made for it.
pub(crate) const EXPERTS: &str = "experts";
/// What expert files are called.
pub(crate) const EXTENSION: &str = "safetensors";

/// The experts of `dir`, sorted by file name.
pub(crate) fn read(dir: &Path) -> anyhow::Result<Vec<Expert>> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read the folder of experts {}", dir.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == EXTENSION));
    files.sort();
    if files.is_empty() {
        bail!("{} holds no .{EXTENSION} files; train experts with `t2 train`, or name another folder", dir.display());
    }
    files.iter().map(|file| Ok(Expert::load(file)?)).collect()
}

/// `model` decomposed for all of `experts`, with the pool of them.
pub(crate) fn pool(model: &LoadedModel, experts: Vec<Expert>, out: &Output) -> anyhow::Result<(Decoder, ExpertPool)> {
    let mut targets = Targets { mlp: false, attn: false };
    for expert in &experts {
        expert.check_base(&model.checkpoint.hash)?;
        let own: Targets = expert.info.targets.parse().with_context(|| format!("expert `{}`", expert.info.name))?;
        targets = Targets { mlp: targets.mlp || own.mlp, attn: targets.attn || own.attn };
    }
    let decomposition = decompose(model, targets, out)?;
    let adapted = model.checkpoint.model.clone().apply_reparameterization(&decomposition);
    let pool = ExpertPool::new(&adapted, &model.checkpoint.hash, experts)?;
    Ok((adapted, pool))
}
