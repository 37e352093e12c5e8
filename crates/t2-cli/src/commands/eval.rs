//! `t2 eval`: accuracy on a task, with its interval.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use t2_dispatch::StrategyConfig;
use t2_dispatch::strategy::FewShotConfig;
use t2_model::files::write_atomically;
use t2_session::{Examples, Graded, Input, SampleRecord, experts};
use t2_task::Split;

use crate::cli::{self, ExpertArgs, Global, ModelArg, load_experts};
use crate::output::{Output, percent};
use crate::terminal::Terminal;

/// Grade a model on a task
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[arg(long, value_name = "T", help = cli::task_help())]
    task: String,
    /// Which questions: train, valid, test, or all of a small file
    #[arg(long, default_value = "test", value_name = "SPLIT")]
    split: Split,
    /// Most questions
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 80, value_name = "N")]
    max_new_tokens: usize,
    /// Keep every answer in this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    #[command(flatten)]
    experts: ExpertArgs,
    /// A folder of experts for the first pass to choose among [default: MODEL's own]
    #[arg(long = "experts", value_name = "DIR", conflicts_with = "experts", id = "pool")]
    pool: Option<PathBuf>,
    /// How the first pass chooses
    #[arg(
        long,
        default_value = t2_dispatch::strategy::base().name,
        value_name = "S",
        conflicts_with = "experts",
        value_parser = cli::strategy(true)
    )]
    strategy: String,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let examples = Examples::load(&args.task, args.split, args.limit)?;
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let model = session.load(&args.model.model, Input::Text)?;
    let generate = model.greedy(args.max_new_tokens);
    let graded = if args.strategy == t2_dispatch::strategy::base().name && args.pool.is_none() {
        let experts = load_experts(&args.experts.experts, Some(model.dir()))?;
        let model = session.adapt(model, &experts)?;
        let graded = session.plain(model.subject(&generate)?, &examples, examples.task.name())?;
        match &model.expert {
            Some(expert) => graded.by(&expert.info.name, Some(expert.hash())),
            None => graded,
        }
    } else {
        let few_shot = FewShotConfig { seed: session.seed, ..FewShotConfig::default() };
        let mut strategy = t2_dispatch::strategy::find(&args.strategy, &StrategyConfig { few_shot })?;
        let dir = args.pool.clone().unwrap_or_else(|| model.dir().join(experts::FOLDER));
        let pool = session.pool(&model, experts::load_folder(&dir)?)?;
        session.dispatched(&pool, &examples, &generate, &mut *strategy)?
    };
    say(&graded, out);
    out.json(&graded)?;
    args.samples.as_ref().map_or(Ok(()), |path| keep(path, &graded.samples))
}

fn say(graded: &Graded, out: &Output) {
    let Graded { task, strategy, accuracy, .. } = graded;
    out.note(&format!("{task}, strategy {strategy}: {} % of {} problems", percent(accuracy), accuracy.n));
    if let Some(note) = graded.note() {
        out.note(&note);
    }
}

/// Write every answer to `path`, a line each.
fn keep(path: &Path, samples: &[SampleRecord]) -> anyhow::Result<()> {
    let mut text = String::new();
    for sample in samples {
        writeln!(text, "{}", serde_json::to_string(sample)?)?;
    }
    Ok(write_atomically(path, text.as_bytes())?)
}
