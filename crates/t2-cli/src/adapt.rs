//! Running a model under experts: load, mix, decompose what they scale, attach.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use indicatif::HumanDuration;
use t2_linalg::AutoSvd;
use t2_model::decomposition::{Decomposition, Progress, Targets};
use t2_model::adapter::{Expert, ExpertInfo};

use crate::cli::WeightedExpert;
use crate::model::LoadedModel;
use crate::output::Output;
use crate::pool::{EXPERTS, EXTENSION};
use crate::{environment, interrupt};

/// Put `model` under the mixture of `experts`; the base model stays as it is without any.
pub(crate) fn adapt(model: &mut LoadedModel, experts: &[WeightedExpert], out: &Output) -> anyhow::Result<()> {
    if experts.is_empty() {
        return Ok(());
    }
    let experts = load(experts, Some(&model.dir))?;
    for (expert, _) in &experts {
        expert.check_base(&model.checkpoint.hash)?;
    }
    let expert = mix(experts)?;
    let targets = expert.info.targets.parse().with_context(|| format!("expert `{}`", expert.info.name))?;
    let decomposition = decompose(model, targets, out)?;
    let adapted = model.checkpoint.model.clone().apply_reparameterization(&decomposition);
    model.checkpoint.model = expert.apply_to(adapted)?;
    model.expert = Some(expert);
    Ok(())
}

/// The singular value decomposition of the `targets` of `model`, from the cache where it is there.
pub(crate) fn decompose(model: &LoadedModel, targets: Targets, out: &Output) -> anyhow::Result<Decomposition> {
    decompose_into(model, targets, &decompositions_dir()?, out)
}

/// The same, with the factors in `dir`.
pub(crate) fn decompose_into(
    model: &LoadedModel,
    targets: Targets,
    dir: &Path,
    out: &Output,
) -> anyhow::Result<Decomposition> {
    let solver = AutoSvd::default();
    let decomposition = Decomposition::of(&model.checkpoint.model, targets, &solver, Some(dir), progress(out))?;
    Ok(decomposition)
}

/// A bar that follows a decomposition, with the time that is left, and Ctrl-C.
pub(crate) fn progress(out: &Output) -> impl FnMut(Progress) -> ControlFlow<()> {
    let bar = out.progress_without_estimate(0, "decomposing");
    move |Progress { done, total, remaining }| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_prefix(remaining.map_or_else(String::new, |remaining| format!("{} left", HumanDuration(remaining))));
        if done == total {
            bar.finish_and_clear();
        }
        interrupt::poll()
    }
}

/// Where decompositions are kept.
pub(crate) fn decompositions_dir() -> anyhow::Result<PathBuf> {
    Ok(environment::cache_dir()?.join("decompositions"))
}

/// Read experts; a name that is no file is looked for among the model's own experts in `dir`.
pub(crate) fn load(experts: &[WeightedExpert], dir: Option<&Path>) -> anyhow::Result<Vec<(Expert, f32)>> {
    let read = |one: &WeightedExpert| {
        let own = dir.map(|dir| dir.join(EXPERTS).join(&one.path).with_added_extension(EXTENSION));
        let path = own.filter(|own| !one.path.exists() && own.exists()).unwrap_or_else(|| one.path.clone());
        Ok((Expert::load(&path)?, one.weight))
    };
    experts.iter().map(read).collect()
}

/// One expert that acts like the weighted sum; a single whole expert stays itself, bit for bit.
pub(crate) fn mix(mut experts: Vec<(Expert, f32)>) -> anyhow::Result<Expert> {
    if let [(_, weight)] = experts[..]
        && weight == 1.0
    {
        return Ok(experts.remove(0).0);
    }
    let Some((first, _)) = experts.first() else { bail!("there is no expert to mix; give at least one file") };
    let base_model = first.info.base_model.clone();
    let mut targets = Targets { mlp: false, attn: false };
    for (expert, _) in &experts {
        let ExpertInfo { name, base_model: base, targets: own, .. } = &expert.info;
        if *base != base_model {
            bail!(
                "expert `{name}` belongs to the base model {base}, `{}` to {base_model}; mix experts of one model",
                first.info.name
            );
        }
        let own: Targets = own.parse().with_context(|| format!("expert `{name}`"))?;
        targets = Targets { mlp: targets.mlp || own.mlp, attn: targets.attn || own.attn };
    }
    check_same_ranks(&experts)?;
    let name = experts.iter().map(|(expert, weight)| format!("{weight}*{}", expert.info.name));
    let name = name.collect::<Vec<_>>().join("+");
    let info = ExpertInfo {
        training: format!("mixed: {name}"),
        name,
        base_model,
        targets: targets.to_string(),
        parametrization: first.info.parametrization.clone(),
    };
    let parts: Vec<(&Expert, f32)> = experts.iter().map(|(expert, weight)| (expert, *weight)).collect();
    Ok(Expert::mix(&parts, info))
}

fn check_same_ranks(experts: &[(Expert, f32)]) -> anyhow::Result<()> {
    for (i, (expert, _)) in experts.iter().enumerate() {
        for (path, z) in expert.iter() {
            let other = experts[..i].iter().find(|(other, _)| other.z(path).is_some_and(|o| o.len() != z.len()));
            if let Some((other, _)) = other {
                bail!("experts `{}` and `{}` differ in the rank of `{path}`", other.info.name, expert.info.name);
            }
        }
    }
    Ok(())
}
