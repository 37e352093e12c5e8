//! `t2 answer`: one question in two passes.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use t2_dispatch::{Query, StrategyConfig, two_pass_with};
use t2_session::{Input, experts};

use crate::cli::{self, Global, ModelArg, SamplingArgs};
use crate::interrupt;
use crate::output::Output;
use crate::terminal::Terminal;

/// Answer one question in two passes, and say what was chosen
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The question; `-` reads it from standard input
    #[arg(value_name = "QUESTION", allow_hyphen_values = true)]
    question: String,
    /// A folder of experts to choose among [default: MODEL's own]
    #[arg(long, value_name = "DIR")]
    experts: Option<PathBuf>,
    /// How the first pass chooses
    #[arg(long, default_value = "classifier", value_name = "S", value_parser = cli::strategy(false))]
    strategy: String,
    /// What the model is told before the question
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// `text`, or standard input where it is `-`.
pub(crate) fn text_or_stdin(text: &str) -> anyhow::Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    interrupt::while_waiting(|| std::io::stdin().read_to_string(&mut read))
        .context("cannot read stdin; text in UTF-8 is expected")?;
    Ok(read.trim_end_matches(['\n', '\r']).to_owned())
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let mut strategy = t2_dispatch::strategy::find(&args.strategy, &StrategyConfig::default())?;
    let question = text_or_stdin(&args.question)?;
    anyhow::ensure!(!question.trim().is_empty(), "the question is empty; write something to answer");
    let model = session.load(&args.model.model, Input::Text)?;
    let dir = args.experts.clone().unwrap_or_else(|| model.dir().join(experts::FOLDER));
    let pool = session.pool(&model, experts::load_folder(&dir)?)?;
    let mut query = Query { seed: session.seed, ..Query::user(question) };
    if let Some(system) = &args.system {
        query.prompt.insert(0, t2_chat::Message::system(system));
    }
    let prompt_len = pool.tokenizer.encode_chat(&query.prompt)?.len();
    let mut oracle = pool.oracle(model.generate_config(args.sampling.wishes(), prompt_len));
    let passes = two_pass_with(&mut *strategy, &[query], &pool.experts, &mut oracle, |_, _| interrupt::poll())?;
    let answer = passes.answers.first().context("the batch of one question has no answer")?;
    out.note(&format!(
        "{} chose {} in {:.3} s; answered in {:.3} s",
        args.strategy, answer.choice.label, passes.first_pass_secs, passes.second_pass_secs
    ));
    out.text(&format!("{}\n", answer.text))?;
    out.json(&json!({
        "mixture": pool.experts.named(&answer.choice.mixture.mean()),
        "choice": answer.choice.label,
        "expert_hash": pool.experts.hashes().get(&answer.choice.label),
        "expert_hashes": pool.experts.hashes(),
        "scores": answer.choice.scores.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "answer": answer.text,
        "first_pass_secs": passes.first_pass_secs,
        "second_pass_secs": passes.second_pass_secs,
    }))
}
