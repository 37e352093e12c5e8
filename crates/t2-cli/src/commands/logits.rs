//! `t2 logits`: what the model thinks comes next, to compare a checkpoint with another implementation.

use anyhow::bail;
use burn::prelude::*;
use burn::tensor::DType;
use serde_json::{Value, json};
use t2_model::decoder::CausalLm;
use t2_model::generate::check_prompt;
use t2_session::{Input, Model};

use crate::cli::{ExpertArgs, Global, ModelArg, load_experts};
use crate::output::Output;
use crate::terminal::Terminal;

/// Print the logits of every position, to check a checkpoint
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids to read
    #[arg(long, required = true, value_name = "IDS", value_delimiter = ',')]
    ids: Vec<u32>,
    /// How many of the most likely next tokens to list for each position
    #[arg(long, default_value_t = 5, value_name = "N")]
    top: usize,
    #[command(flatten)]
    experts: ExpertArgs,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let model = session.load(&args.model.model, Input::Ids)?;
    check_prompt(model.checkpoint.model.shape(), 0, &args.ids, 0)?;
    let experts = load_experts(&args.experts.experts, Some(model.dir()))?;
    let model = session.adapt(model, &experts)?;
    let rows = logits(&model, &args.ids, &session.device)?;
    let broken = |row: &Vec<f32>| row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY);
    if let Some(position) = rows.iter().position(broken) {
        bail!("the logits at position {position} are not finite; try --dtype f32, or another checkpoint or expert");
    }
    let top: Vec<Vec<(usize, f32)>> = rows.iter().map(|row| top(row, args.top)).collect();
    let logsumexp: Vec<f64> = rows.iter().map(|row| logsumexp(row)).collect();
    let lines = args.ids.iter().zip(&logsumexp).zip(&top).enumerate().map(|(i, ((id, norm), top))| {
        let top = top.iter().map(|(id, logit)| format!("{id}:{logit:.4}")).collect::<Vec<_>>().join(" ");
        vec![i.to_string(), id.to_string(), format!("{norm:.4}"), top]
    });
    out.table(&["position", "id", "logsumexp", "next id:logit"], &lines.collect::<Vec<_>>());
    let split = |top: &Vec<(usize, f32)>| -> Value {
        let (ids, logits): (Vec<usize>, Vec<f32>) = top.iter().copied().unzip();
        json!({ "ids": ids, "logits": logits })
    };
    out.json(&json!({
        "logsumexp": logsumexp,
        "top": top.iter().map(split).collect::<Vec<_>>(),
        "last_logits": rows.last(),
    }))
}

/// The logits after each of `ids`, `[seq][vocab]`.
fn logits(model: &Model, ids: &[u32], device: &Device) -> anyhow::Result<Vec<Vec<f32>>> {
    let wide: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(wide, [1, ids.len()]), device);
    let logits = model.checkpoint.model.forward(tokens, None, model.active()).cast(DType::F32);
    let [_, _, vocab] = logits.dims();
    let values: Vec<f32> = logits.try_into_data_as::<f32>()?.iter::<f32>().collect();
    Ok(values.chunks(vocab).map(<[f32]>::to_vec).collect())
}

fn top(logits: &[f32], n: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(n);
    all
}

fn logsumexp(logits: &[f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
    f64::from(top) + sum.ln()
}
