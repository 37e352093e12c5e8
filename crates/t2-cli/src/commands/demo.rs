//! `t2 demo`: the whole story on the bundled model.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use t2_dispatch::cross_entropy::CrossEntropy;
use t2_dispatch::strategy::FewShotConfig;
use t2_dispatch::{Query, STRATEGIES, StrategyConfig, two_pass_with};
use t2_model::adapter::{Active, Expert};
use t2_model::decoder::Decoder;
use t2_model::decomposition::Targets;
use t2_model::generate::GenerateConfig;
use t2_rl::evaluate::Accuracy;
use t2_rl::metrics::StepMetrics;
use t2_rl::train::TrainConfig;
use t2_session::source::BUNDLED;
use t2_session::{Examples, Graded, Input, Model, Pool, Run, Samples, Session, Subject, experts};
use t2_task::sandbox::{self, Program, Walls};
use t2_task::{RIGHT, Split};

use crate::cli::Global;
use crate::interrupt;
use crate::output::{Output, percent};
use crate::terminal::{Terminal, sparkline};

mod page;

/// The families the experts were trained on, each named after its expert.
const SEEN: [(&str, &str); 3] = [("math", "tiny-math"), ("code", "tiny-code"), ("reason", "tiny-reason")];
/// The families that no expert was trained on, harder siblings of the others.
const UNSEEN: [&str; 3] = ["tiny-math-hard", "tiny-code-hard", "tiny-reason-hard"];
/// Steps of the expert trained before your eyes.
const LIVE_STEPS: usize = 20;
/// Most tokens of an answer.
const MAX_NEW_TOKENS: usize = 80;
/// The family that the answer shown in full comes from: its first held-out problem that the base model gets wrong.
const SAMPLE: &str = "tiny-math";
/// How many problems are searched for that answer.
const SAMPLES: usize = 100;

/// Show the whole story on the bundled model, and write it as a page
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Held-out problems of each family
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Problems of each unseen family
    #[arg(long, default_value_t = 500, value_name = "N")]
    unseen_limit: usize,
    /// Folder of experts to show instead of the bundled ones; those named math, code and reason make the tables
    #[arg(long, value_name = "DIR")]
    experts: Option<PathBuf>,
    /// Where the page goes
    #[arg(long, default_value = "out/demo.html", value_name = "FILE")]
    out: PathBuf,
}

/// Accuracy of one expert, or of the base model, on one family.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    expert: String,
    task: String,
    #[serde(flatten)]
    accuracy: Accuracy,
}

/// Everything the demo finds out.
struct Story {
    decomposed: String,
    live: Vec<StepMetrics>,
    cells: Vec<Cell>,
    dispatched: Vec<Graded>,
    answer: Sample,
    seconds: f64,
}

/// One question answered in two passes.
struct Sample {
    question: String,
    base: String,
    adapted: String,
    mixture: String,
}

impl Sample {
    fn lines(&self) -> String {
        let Self { question, base, adapted, mixture } = self;
        format!("  {question}\n  base:    {base}\n  adapted: {adapted}  ({mixture})")
    }
}

/// What every table of the demo is made with.
#[derive(Clone, Copy)]
struct Grading<'a> {
    session: &'a Session<'a>,
    pool: &'a Pool<'a>,
    generate: &'a GenerateConfig,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let start = Instant::now();
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let model = session.load(BUNDLED, Input::Text)?;
    let folder = args.experts.clone().unwrap_or_else(|| model.dir().join(experts::FOLDER));
    let experts = experts::load_folder(&folder)?;
    let skip_code = match sandbox::shared(Walls::All).run(&[Program::default()]) {
        Err(error) => {
            out.note(&format!("skipping the code families: {error}"));
            true
        }
        Ok(_) => false,
    };
    let pool = session.pool(&model, experts.clone())?;
    let decomposed = decomposition_line(&session, &model, out)?;
    let live = train_live(&session, &model, out)?;
    let generate = model.greedy(MAX_NEW_TOKENS);
    let grading = Grading { session: &session, pool: &pool, generate: &generate };
    let seen: Vec<_> = SEEN.into_iter().filter(|(name, _)| !(skip_code && *name == "code")).collect();
    let cells = seen_table(grading, &experts, &seen, args.limit)?;
    show_cells(&cells, &seen, out);
    let unseen = UNSEEN.into_iter().filter(|task| !(skip_code && task.contains("code")));
    let dispatched = unseen_table(grading, unseen, args.unseen_limit)?;
    show_dispatched(&dispatched, out);
    let answer = answer(grading)?;
    out.note(&format!("\nthe first held-out problem of {SAMPLE} that the base model gets wrong:\n{}", answer.lines()));
    let story = Story { decomposed, live, cells, dispatched, answer, seconds: start.elapsed().as_secs_f64() };
    finish(&story, &args.out, out)
}

fn finish(story: &Story, path: &std::path::Path, out: &Output) -> anyhow::Result<()> {
    let (first, second) = pass_seconds(&story.dispatched);
    out.note(&format!(
        "\nchoosing by topic, the first pass took {:.0} % of the time of the second",
        100.0 * first / second
    ));
    t2_model::files::write_atomically(path, page::write(story).as_bytes())?;
    out.note(&format!("{:.0} s in all; the report:", story.seconds));
    out.text(&format!("{}\n", path.display()))?;
    let is_base = |cell: &&Cell| cell.expert == "base";
    out.json(&json!({
        "base": story.cells.iter().filter(is_base).collect::<Vec<_>>(),
        "experts": story.cells.iter().filter(|cell| !is_base(cell)).collect::<Vec<_>>(),
        "strategies": story.dispatched,
        "live": story.live,
        "seconds": story.seconds,
        "report": path,
    }))
}

/// Seconds of all first passes that choose by topic, and of the second passes that follow them.
fn pass_seconds(dispatched: &[Graded]) -> (f64, f64) {
    let by_topic = dispatched.iter().filter(|d| ["prompt", "classifier"].contains(&d.strategy.as_str()));
    by_topic.fold((0.0, 0.0), |(first, second), d| (first + d.first_pass_secs, second + d.second_pass_secs))
}

fn decomposition_line(session: &Session<'_>, model: &Model, out: &Output) -> anyhow::Result<String> {
    let start = Instant::now();
    let report = session.decompose_into(model, Targets::ALL, None)?.report;
    let line = format!(
        "{} matrices decomposed in {:.2} s: W = U diag(s) Vᵀ to a relative {:.1e}",
        report.matrices,
        start.elapsed().as_secs_f64(),
        report.max_residual
    );
    out.note(&line);
    Ok(line)
}

/// Train a math expert for a few steps, from nothing.
fn train_live(session: &Session<'_>, model: &Model, out: &Output) -> anyhow::Result<Vec<StepMetrics>> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let run = Run {
        name: "live".into(),
        train: TrainConfig { steps: LIVE_STEPS, seed: session.seed, ..TrainConfig::default() },
        ..Run::new(BUNDLED, "tiny-math")
    };
    let trained = session.train(model, &run, dir.path())?;
    let rewards: Vec<f32> = trained.steps.iter().map(|step| step.reward_mean).collect();
    if let (Some(first), Some(last)) = (rewards.first(), rewards.last()) {
        out.note(&format!(
            "a math expert of {} numbers in {LIVE_STEPS} steps of RL: reward {first:+.2} {} {last:+.2}",
            trained.expert.num_params(),
            sparkline(&rewards)
        ));
    }
    Ok(trained.steps)
}

fn seen_table(
    grading: Grading<'_>,
    experts: &[Expert],
    seen: &[(&str, &str)],
    limit: usize,
) -> anyhow::Result<Vec<Cell>> {
    let Grading { session, pool, generate } = grading;
    let mut cells = Vec::new();
    for (_, task) in seen {
        let examples = Examples::named(task, Split::Test, limit)?;
        let mut grade = |name: &str, model: &Decoder, active: Active<'_>| -> anyhow::Result<()> {
            let what = format!("{name} on {task}");
            let tokenizer = pool.tokenizer;
            let subject = Subject { model, tokenizer, active, name, hash: None, generate, repeats: 1 };
            let accuracy = session.plain(subject, &examples, &what, &mut Samples::default())?.accuracy;
            cells.push(Cell { expert: name.to_owned(), task: (*task).to_owned(), accuracy });
            Ok(())
        };
        grade("base", &pool.model, Active::Base)?;
        for expert in experts.iter().filter(|expert| seen.iter().any(|(name, _)| *name == expert.info.name)) {
            grade(&expert.info.name, &expert.apply_to(pool.model.clone())?, Active::Own)?;
        }
    }
    Ok(cells)
}

/// A search short enough to be watched: `t2 eval --strategy few-shot` looks at 4 times as many mixtures.
fn strategy_config(seed: u64) -> StrategyConfig {
    let search = CrossEntropy { population: 16, iterations: 5, ..CrossEntropy::default() };
    StrategyConfig { few_shot: FewShotConfig { search, seed, ..FewShotConfig::default() } }
}

fn unseen_table<'a>(
    grading: Grading<'_>,
    unseen: impl Iterator<Item = &'a str>,
    limit: usize,
) -> anyhow::Result<Vec<Graded>> {
    let Grading { session, pool, generate } = grading;
    let mut rows = Vec::new();
    for task in unseen {
        let examples = Examples::named(task, Split::Test, limit)?;
        for strategy in STRATEGIES {
            let mut strategy = (strategy.build)(&strategy_config(session.seed));
            rows.push(session.dispatched(pool, &examples, generate, &mut *strategy, &mut Samples::default())?);
        }
    }
    Ok(rows)
}

/// Rows of the table of experts by family.
fn cell_rows(cells: &[Cell], tasks: &[&str]) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = cells.iter().map(|cell| cell.expert.as_str()).collect();
    names.sort_unstable_by_key(|name| (*name != "base", *name));
    names.dedup();
    let find = |name: &str, task: &str| cells.iter().find(|cell| cell.expert == name && cell.task == task);
    let row = |name: &str| {
        let cells = tasks.iter().map(|task| find(name, task).map_or_else(String::new, |cell| percent(&cell.accuracy)));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    names.into_iter().map(row).collect()
}

/// Rows of the table of strategies by unseen family.
fn dispatched_rows(dispatched: &[Graded], tasks: &[&str]) -> Vec<Vec<String>> {
    let row = |strategy: &&str| {
        let find = |task: &&str| dispatched.iter().find(|d| d.strategy == *strategy && d.task == *task);
        let label = if *strategy == t2_dispatch::strategy::base().name { "base" } else { strategy };
        let cells = tasks.iter().map(|task| find(task).map_or_else(String::new, |d| percent(&d.accuracy)));
        std::iter::once(label.to_owned()).chain(cells).collect()
    };
    STRATEGIES.iter().map(|strategy| row(&strategy.name)).collect()
}

fn tasks_of(dispatched: &[Graded]) -> Vec<&str> {
    let mut tasks: Vec<&str> = dispatched.iter().map(|d| d.task.as_str()).collect();
    tasks.dedup();
    tasks
}

fn show_cells(cells: &[Cell], seen: &[(&str, &str)], out: &Output) {
    let tasks: Vec<&str> = seen.iter().map(|(_, task)| *task).collect();
    let n = cells.first().map_or(0, |cell| cell.accuracy.n);
    out.note(&format!("\nseen families, {n} held-out problems each, percent right and Wilson's 95 % interval:"));
    out.table(&header("expert", &tasks), &cell_rows(cells, &tasks));
}

fn show_dispatched(dispatched: &[Graded], out: &Output) {
    let tasks = tasks_of(dispatched);
    let n = dispatched.first().map_or(0, |d| d.accuracy.n);
    out.note(&format!("\nunseen families, {n} problems each, two passes:"));
    out.table(&header("strategy", &tasks), &dispatched_rows(dispatched, &tasks));
    for d in dispatched.iter().filter(|d| d.strategy != t2_dispatch::strategy::base().name) {
        let chosen: Vec<String> = d.mixture.iter().map(|(name, share)| format!("{name} {share:.2}")).collect();
        out.note(&format!("  {} on {}: {}", d.strategy, d.task, chosen.join(", ")));
    }
}

fn header<'a>(first: &'a str, tasks: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(first).chain(tasks.iter().copied()).collect()
}

/// The first held-out problem that the base model gets wrong, by the base model and in two passes.
fn answer(Grading { pool, generate, .. }: Grading<'_>) -> anyhow::Result<Sample> {
    let ask = |strategy: &str, question: &str| -> anyhow::Result<_> {
        let mut strategy = t2_dispatch::strategy::find(strategy, &StrategyConfig::default())?;
        let mut oracle = pool.oracle(generate.clone());
        let queries = [Query::user(question)];
        let mut passes = two_pass_with(&mut *strategy, &queries, &pool.experts, &mut oracle, |_, _| interrupt::poll())?;
        passes.answers.pop().context("one question has one answer")
    };
    let Examples { task, examples, .. } = Examples::named(SAMPLE, Split::Test, SAMPLES)?;
    for example in &examples {
        let base = ask(t2_dispatch::strategy::base().name, &example.question)?;
        if task.rewards(&[(example, base.text.as_str())])? == [RIGHT] {
            continue;
        }
        let adapted = ask("classifier", &example.question)?;
        let alpha = pool.experts.named(&adapted.choice.mixture.mean());
        let mixture: Vec<String> = alpha.iter().map(|(name, alpha)| format!("{name} {alpha:.2}")).collect();
        let question = example.question.clone();
        return Ok(Sample { question, base: base.text, adapted: adapted.text, mixture: mixture.join(", ") });
    }
    anyhow::bail!("the base model answers {SAMPLES} problems of {SAMPLE} without a mistake; there is nothing to show")
}
