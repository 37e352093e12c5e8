//! `t2 train`: one expert by reinforcement learning.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Value, json};
use t2_session::{Input, Run, TaskWishes, Trained};
use t2_task::TASKS;

use crate::cli::{self, Global, TaskArgs};
use crate::output::{Output, percent};
use crate::terminal::Terminal;

/// Train one expert by reinforcement learning; resumes what the folder holds
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `tiny` (bundled), a folder in the Hugging Face layout, a .gguf file, or a Hub id
    #[arg(value_name = "MODEL", required_unless_present = "config", conflicts_with = "config")]
    model: Option<String>,
    #[arg(
        long,
        value_name = "T",
        required_unless_present = "config",
        conflicts_with = "config",
        help = cli::task_help()
    )]
    task: Option<String>,
    #[command(flatten)]
    how: TaskArgs,
    /// A run file, such as runs/tiny-math.toml; its relative paths start at its own folder
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
    let mut run = described(args, global)?;
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    if args.config.is_none() && !TASKS.iter().any(|task| task.name() == run.task) {
        // A file says itself how long answers may be; of a data set the task knows.
        run.train.max_new_tokens = session.task(&run.task, &run.asked)?.answering().max_new_tokens;
    }
    let model = session.load(&run.model, Input::Text)?;
    let trained = match session.train(&model, &run, &args.out) {
        Err(error) if error.is_interrupted() => {
            bail!("{error}; run the same command again to go on from the last checkpoint in {}", args.out.display())
        }
        trained => trained?,
    };
    let Trained { expert, path, steps } = &trained;
    out.note(&format!("expert {} ({} scales) in {}", expert.hash().short(), expert.num_params(), path.display()));
    if !steps.is_empty() && steps.iter().all(|step| step.grad_norm == 0.0) {
        out.note("nothing was learned: no step had a gradient; choose an easier or harder task, or larger groups");
    }
    let mut evaluation = vec![];
    if run.eval_limit > 0 {
        evaluation = session.grade_run(&model, &run, expert, &args.out)?;
        for row in &evaluation {
            let name = row.expert.as_deref().unwrap_or_default();
            out.note(&format!("{name}: {} % of {} held-out problems", percent(&row.accuracy), row.accuracy.n));
            if let Some(note) = row.note() {
                out.note(&note);
            }
        }
    }
    let mut result = steps.last().map(serde_json::to_value).transpose()?.unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut result {
        fields.insert("expert".into(), json!(path));
        fields.insert("expert_hash".into(), json!(expert.hash()));
        fields.insert("eval".into(), json!(evaluation));
    }
    out.json(&result)
}

/// The run that the command line describes.
fn described(args: &Args, global: &Global) -> anyhow::Result<Run> {
    let mut run = match (&args.config, &args.model, &args.task) {
        (Some(path), ..) => Run::read(path)?,
        (None, Some(model), Some(task)) => Run::new(model, task),
        _ => bail!("name a MODEL and a --task, or a --config file"),
    };
    if let Some(name) = &args.name {
        run.name.clone_from(name);
    }
    let wishes = args.how.wishes();
    run.asked = TaskWishes {
        variant: wishes.variant.or(run.asked.variant),
        shots: wishes.shots.or(run.asked.shots),
        data: wishes.data.or(run.asked.data),
        walls: wishes.walls,
    };
    run.train.steps = args.steps.unwrap_or(run.train.steps);
    run.train.seed = global.seed.unwrap_or(run.train.seed);
    Ok(run)
}
