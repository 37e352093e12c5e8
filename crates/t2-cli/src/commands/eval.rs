//! `t2 eval`: accuracy on a task, with its standard error.

use std::path::PathBuf;

use serde_json::{Value, json};
use t2_task::Split;

use crate::adapt::adapt;
use crate::cli::{ExpertArgs, Global, ModelArg};
use crate::commands::generate::tokenizer;
use crate::grading::{Grading, Problems, greedy, percent};
use crate::model::LoadedModel;
use crate::output::Output;
use crate::pool;

/// Grade a model on a task
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The task: a name of the list, or a .jsonl file
    #[arg(long, value_name = "T")]
    task: String,
    /// Which problems: train, valid or test
    #[arg(long, default_value = "test", value_name = "SPLIT")]
    split: Split,
    /// Most problems
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 80, value_name = "N")]
    max_new_tokens: usize,
    #[command(flatten)]
    experts: ExpertArgs,
    /// A folder of experts for the first pass to choose among [default: MODEL's own]
    #[arg(long = "experts", value_name = "DIR", conflicts_with = "experts", id = "pool")]
    pool: Option<PathBuf>,
    /// How the first pass chooses: none, prompt, classifier or few-shot
    #[arg(long, default_value = "none", value_name = "S", conflicts_with = "experts")]
    strategy: String,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let strategy = t2_dispatch::strategy::find(&args.strategy, &t2_dispatch::Settings::default())?;
    let problems = Problems::load(&args.task, args.split, args.limit)?;
    let mut model = LoadedModel::load(&args.model.model, global, out)?;
    let generate = greedy(&model.checkpoint.generation.eos, args.max_new_tokens);
    let result = if args.strategy == "none" {
        adapt(&mut model, &args.experts.experts, out)?;
        plain(&model, &problems, &generate, out)?
    } else {
        let dir = args.pool.clone().unwrap_or_else(|| model.dir.join(pool::EXPERTS));
        let (adapted, pool) = pool::pool(&model, pool::read(&dir)?, out)?;
        let grading = Grading { model: &adapted, tokenizer: tokenizer(&model)?, generate: &generate, out };
        let mut strategy = strategy;
        let dispatched = grading.dispatched(&problems, &pool, &mut *strategy)?;
        note(out, &dispatched.task, &dispatched.strategy, &percent(&dispatched.accuracy), dispatched.accuracy.n);
        serde_json::to_value(dispatched)?
    };
    out.json(&result)
}

fn plain(
    model: &LoadedModel,
    problems: &Problems,
    generate: &t2_model::generate::GenerateConfig,
    out: &Output,
) -> anyhow::Result<Value> {
    let grading = Grading { model: &model.checkpoint.model, tokenizer: tokenizer(model)?, generate, out };
    let start = std::time::Instant::now();
    let accuracy = grading.plain(problems, model.active(), problems.task.name())?;
    note(out, problems.task.name(), "none", &percent(&accuracy), accuracy.n);
    Ok(json!({
        "task": problems.task.name(), "split": problems.split,
        "n": accuracy.n, "accuracy": accuracy.accuracy, "stderr": accuracy.stderr,
        "strategy": "none", "first_pass_secs": 0.0, "second_pass_secs": start.elapsed().as_secs_f64(),
        "choices": {}, "expert_hash": model.expert_hash(),
    }))
}

fn note(out: &Output, task: &str, strategy: &str, percent: &str, n: usize) {
    out.note(&format!("{task}, strategy {strategy}: {percent} % of {n} problems"));
}
