//! `t2 train`: one expert by reinforcement learning.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use serde_json::{Value, json};
use t2_model::adapter::Expert;
use t2_model::files::write_atomically;
use t2_model::adapter::Active;
use t2_task::Split;
use t2_rl::train::TrainConfig;

use crate::adapt::decompose;
use crate::cli::Global;
use crate::commands::generate::tokenizer;
use crate::grading::{Grading, Problems, greedy, percent};
use crate::interrupt;
use crate::model::LoadedModel;
use crate::output::Output;
use crate::training::{Run, train_expert};

/// Name of the finished expert in its run's folder.
const EXPERT: &str = "expert.safetensors";

/// Train one expert by reinforcement learning; resumes what the folder holds
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `tiny` (bundled), a folder in the Hugging Face layout, or a Hub id
    #[arg(value_name = "MODEL", required_unless_present = "config", conflicts_with = "config")]
    model: Option<String>,
    /// The task to learn: a name of the list, or a .jsonl file
    #[arg(long, value_name = "T", required_unless_present = "config", conflicts_with = "config")]
    task: Option<String>,
    /// A run file, such as runs/tiny-math.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run: checkpoints, metrics.jsonl and the expert
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Optimizer steps, instead of those of the run file
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// What the expert is called [default: the task, or the run file's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let run = described(args, global)?;
    let model = LoadedModel::load(&run.model, global, out)?;
    let (expert, steps) = train_expert(&model, &run, &args.out, out)?;
    if interrupt::requested() {
        bail!("interrupted; run the same command again to go on from the last checkpoint in {}", args.out.display());
    }
    let path = args.out.join(EXPERT);
    expert.save(&path)?;
    out.note(&format!("expert {} ({} scales) in {}", expert.hash().short(), expert.num_params(), path.display()));
    let evaluation = if run.eval_limit > 0 { grade(&model, &run, expert.clone(), &args.out, out)? } else { vec![] };
    let mut result = steps.last().map(serde_json::to_value).transpose()?.unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut result {
        fields.insert("expert".into(), json!(path));
        fields.insert("expert_hash".into(), json!(expert.hash().to_string()));
        fields.insert("eval".into(), json!(evaluation));
    }
    out.json(&result)
}

/// The run that the command line describes.
fn described(args: &Args, global: &Global) -> anyhow::Result<Run> {
    let mut run = match (&args.config, &args.model, &args.task) {
        (Some(path), ..) => read(path)?,
        (None, Some(model), Some(task)) => Run {
            model: model.clone(),
            task: task.clone(),
            name: args.name.clone().unwrap_or_else(|| task.clone()),
            targets: "mlp,attn".into(),
            eval_limit: 0,
            train: TrainConfig { seed: global.seed, ..TrainConfig::default() },
        },
        _ => bail!("name a MODEL and a --task, or a --config file"),
    };
    if let Some(name) = &args.name {
        run.name.clone_from(name);
    }
    if let Some(steps) = args.steps {
        run.train.steps = steps;
    }
    if global.seed != 0 {
        run.train.seed = global.seed;
    }
    Ok(run)
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the run file {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no run file; see runs/ for examples", path.display()))
}

/// Accuracy of base and expert on held-out problems, into `eval.json`.
fn grade(model: &LoadedModel, run: &Run, expert: Expert, dir: &Path, out: &Output) -> anyhow::Result<Vec<Value>> {
    let problems = Problems::load(&run.task, Split::Test, run.eval_limit)?;
    let decomposition = decompose(model, run.targets.parse()?, out)?;
    let adapted = expert.apply_to(model.checkpoint.model.clone().apply_reparameterization(&decomposition))?;
    let generate = greedy(&model.checkpoint.generation.eos, run.train.max_new_tokens);
    let grading = Grading { model: &adapted, tokenizer: tokenizer(model)?, generate: &generate, out };
    let mut rows = Vec::new();
    for (name, active) in [("base", Active::Base), (run.name.as_str(), Active::Own)] {
        let accuracy = grading.plain(&problems, active, &format!("grading {name}"))?;
        out.note(&format!("{name}: {} % of {} held-out problems", percent(&accuracy), accuracy.n));
        rows.push(json!({
            "task": run.task, "split": "test", "expert": name,
            "n": accuracy.n, "accuracy": accuracy.accuracy, "stderr": accuracy.stderr,
        }));
    }
    write_atomically(&dir.join("eval.json"), serde_json::to_string_pretty(&rows)?.as_bytes())?;
    Ok(rows)
}
