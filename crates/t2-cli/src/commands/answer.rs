//! `t2 answer`: one question in two passes.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use t2_dispatch::{Query, two_pass};

use crate::cli::{Global, ModelArg, SamplingArgs};
use crate::commands::generate::tokenizer;
use crate::grading::Grading;
use crate::interrupt;
use crate::model::LoadedModel;
use crate::output::Output;
use crate::pool;

/// Answer one question in two passes, and say what was chosen
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The question
    #[arg(value_name = "QUESTION")]
    question: String,
    /// A folder of experts to choose among [default: MODEL's own]
    #[arg(long, value_name = "DIR")]
    experts: Option<PathBuf>,
    /// How to choose: none, prompt or classifier
    #[arg(long, default_value = "classifier", value_name = "S")]
    strategy: String,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let mut strategy = t2_dispatch::strategy::find(&args.strategy, &t2_dispatch::Settings::default())?;
    anyhow::ensure!(!args.question.trim().is_empty(), "the question is empty; write something to answer");
    let model = LoadedModel::load(&args.model.model, global, out)?;
    let tokenizer = tokenizer(&model)?;
    let dir = args.experts.clone().unwrap_or_else(|| model.dir.join(pool::EXPERTS));
    let (adapted, pool) = pool::pool(&model, pool::read(&dir)?, out)?;
    let query = Query { seed: global.seed, ..Query::user(args.question.as_str()) };
    let prompt_len = tokenizer.encode_chat(&query.prompt)?.len();
    let generate = model.generate_config(&args.sampling, prompt_len);
    let grading = Grading { model: &adapted, tokenizer, generate: &generate, out };
    let mut oracle = grading.oracle(&pool, None);
    let passes = two_pass(&mut *strategy, &[query], &mut oracle, |_, _| interrupt::poll())?;
    let answer = passes.answers.first().context("the batch of one question has no answer")?;
    let mixture: serde_json::Map<_, _> = pool
        .names()
        .into_iter()
        .map(str::to_owned)
        .zip(answer.choice.mixture.mean().into_iter().map(Into::into))
        .collect();
    out.note(&format!(
        "{} chose {} in {:.3} s; answered in {:.3} s",
        args.strategy, answer.choice.label, passes.first_pass_secs, passes.second_pass_secs
    ));
    out.text(&format!("{}\n", answer.text))?;
    out.json(&json!({
        "mixture": mixture,
        "choice": answer.choice.label,
        "scores": answer.choice.scores.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "answer": answer.text,
        "first_pass_secs": passes.first_pass_secs,
        "second_pass_secs": passes.second_pass_secs,
    }))
}
