//! `t2 eval`: accuracy on tasks, with its interval.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use serde_json::{Value, json};
use t2_dispatch::StrategyConfig;
use t2_dispatch::strategy::FewShotConfig;
use t2_model::files::write_atomically;
use t2_model::generate::{GenerateConfig, Sampling};
use t2_rl::evaluate::Comparison;
use t2_session::evaluate::{ResultsOf, comparable, compare, read, results};
use t2_session::{Examples, Graded, Input, Model, Samples, Session, SessionError, experts};
use t2_task::Split;

use crate::cli::{self, ExpertArgs, Global, ModelArg, TaskArgs, load_experts};
use crate::device;
use crate::output::{Output, percent};
use crate::terminal::Terminal;

/// Grade a model on tasks
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[arg(long, value_name = "T[,T…]", value_delimiter = ',', required = true, help = cli::task_help())]
    task: Vec<String>,
    #[command(flatten)]
    how: TaskArgs,
    /// Which questions: train, valid, test, or all of a small file
    #[arg(long, default_value = "test", value_name = "SPLIT")]
    split: Split,
    /// Most questions of each task
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Most tokens of an answer [default: what the task says]
    #[arg(long, value_name = "N", value_parser = cli::at_least_1)]
    max_new_tokens: Option<usize>,
    /// Draw answers at this temperature; 0 takes the most likely token [default: 0]
    #[arg(long, value_name = "T", value_parser = cli::temperature)]
    temperature: Option<f32>,
    /// Draw among the fewest tokens whose probabilities reach P [default: 1]
    #[arg(long, value_name = "P", value_parser = cli::top_p, requires = "temperature")]
    top_p: Option<f32>,
    /// Answers to each question, for pass@k [default: 1]
    #[arg(long, value_name = "N", value_parser = cli::at_least_1, requires = "temperature", conflicts_with = "pool")]
    repeats: Option<usize>,
    /// Put the whole conversation as one text, without the chat template
    #[arg(long)]
    raw: bool,
    /// Keep every answer in this file, a JSON object a line, as it comes; the same command goes on where it was broken off
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Compare with the answers in this file, kept by `--samples` before
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Write the results in the shape of the lm-evaluation-harness
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
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
    let repeats = args.repeats.unwrap_or(1);
    if repeats > 1 && args.temperature == Some(0.0) {
        bail!("{repeats} greedy answers to a question are all the same; add --temperature 0.8, or leave --repeats out");
    }
    if repeats > 1 && args.is_dispatched() {
        bail!("two passes give one answer to a question; take --strategy none, or leave --repeats out");
    }
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let wishes = args.how.wishes();
    let load = |name: &String| Examples::load(session.task(name, &wishes)?, args.split, args.limit);
    let tasks = args.task.iter().map(load).collect::<Result<Vec<_>, SessionError>>()?;
    for (at, examples) in tasks.iter().enumerate() {
        let name = examples.task.name();
        if tasks[..at].iter().any(|before| before.task.name() == name) {
            bail!("two of the tasks are called {name}; name each once, or grade them in two commands");
        }
    }
    let other = args.compare.as_deref().map(read).transpose()?;
    if let (Some(path), Some(other)) = (&args.compare, &other) {
        tasks.iter().try_for_each(|examples| comparable(examples, other, path))?;
    }
    let mut samples = args.samples.as_deref().map_or_else(|| Ok(Samples::default()), Samples::open)?;
    let mut model = session.load(&args.model.model, Input::Text)?;
    if args.raw {
        model.tokenizer = model.tokenizer.map(|tokenizer| tokenizer.raw());
    }
    // The model has its share of the memory by now.
    let session = Session { memory: device::memory_for_answers(&session.device), ..session };
    let graded = grade(args, &session, model, &tasks, &mut samples).map_err(|error| match error {
        error if error.is_interrupted() && args.samples.is_some() => {
            anyhow::anyhow!("{error}; those are kept, and the same command goes on from there")
        }
        error => error.into(),
    })?;
    samples.finish(graded.iter().flat_map(|graded| &graded.samples))?;
    let shaped = results(&graded, &described(args, &session));
    if let Some(path) = &args.results {
        write_atomically(path, serde_json::to_string_pretty(&shaped)?.as_bytes())?;
    }
    let mut compared = vec![];
    for graded in &graded {
        say(graded, out);
        if let (Some(path), Some(other)) = (&args.compare, &other) {
            let comparison = compare(&graded.samples, other, path, session.seed)?;
            say_comparison(&comparison, out);
            compared.push(comparison);
        }
    }
    out.json(&document(&graded, compared, shaped)?)
}

impl Args {
    /// Whether a first pass chooses among experts.
    fn is_dispatched(&self) -> bool {
        self.strategy != t2_dispatch::strategy::base().name || self.pool.is_some()
    }
}

/// Every task, graded as the command line says.
fn grade(
    args: &Args,
    session: &Session<'_>,
    model: Model,
    tasks: &[Examples],
    samples: &mut Samples,
) -> Result<Vec<Graded>, SessionError> {
    let sampling = match args.temperature {
        None | Some(0.0) => Sampling::GREEDY,
        Some(temperature) => Sampling { temperature, top_p: args.top_p.unwrap_or(1.0), ..Sampling::PLAIN },
    };
    let stop = model.stop().to_vec();
    let generate = |examples: &Examples| GenerateConfig {
        max_new_tokens: args.max_new_tokens.unwrap_or(examples.task.answering().max_new_tokens),
        sampling,
        stop: stop.clone(),
        ..GenerateConfig::default()
    };
    if !args.is_dispatched() {
        let experts = load_experts(&args.experts.experts, Some(model.dir()))?;
        let model = session.adapt(model, &experts)?;
        let graded = tasks.iter().map(|examples| {
            let generate = generate(examples);
            let subject = t2_session::Subject { repeats: args.repeats.unwrap_or(1), ..model.subject(&generate)? };
            session.plain(subject, examples, examples.task.name(), samples)
        });
        return graded.collect();
    }
    let few_shot = FewShotConfig { seed: session.seed, ..FewShotConfig::default() };
    let mut strategy = t2_dispatch::strategy::find(&args.strategy, &StrategyConfig { few_shot })?;
    let dir = args.pool.clone().unwrap_or_else(|| model.dir().join(experts::FOLDER));
    let pool = session.pool(&model, experts::load_folder(&dir)?)?;
    let graded =
        tasks.iter().map(|examples| session.dispatched(&pool, examples, &generate(examples), &mut *strategy, samples));
    graded.collect()
}

fn say(graded: &Graded, out: &Output) {
    let Graded { task, strategy, accuracy, metrics, .. } = graded;
    out.note(&format!("{task}, strategy {strategy}: {} % of {} problems", percent(accuracy), accuracy.n));
    if metrics.len() > 1 {
        for (name, accuracy) in metrics {
            out.note(&format!("  {name}: {} %", percent(accuracy)));
        }
    }
    if let Some(note) = graded.note() {
        out.note(&note);
    }
}

fn say_comparison(comparison: &Comparison, out: &Output) {
    let Comparison { n, difference, low, high, only_first, only_second, mcnemar_p, .. } = comparison;
    out.note(&format!(
        "  {:+.1} points to the other, 95 % from {:+.1} to {:+.1}, on {n} questions of both; right here alone {only_first}, \
         there alone {only_second}; McNemar p {}",
        100.0 * difference,
        100.0 * low,
        100.0 * high,
        if *mcnemar_p < 0.001 { "< 0.001".to_owned() } else { format!("= {mcnemar_p:.3}") }
    ));
}

fn described(args: &Args, session: &Session<'_>) -> ResultsOf {
    ResultsOf {
        model: args.model.model.clone(),
        device: format!("{:?}", session.device),
        dtype: session.dtype.map_or("f32", |dtype| dtype.name()).to_owned(),
        limit: Some(args.limit),
        date: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
    }
}

/// What `--json` prints: of a single task its figures at the top, of several a list of them; beside them the results in
/// the shape of the lm-evaluation-harness.
fn document(graded: &[Graded], compared: Vec<Comparison>, shaped: Value) -> anyhow::Result<Value> {
    let mut entries = graded.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    for (entry, comparison) in entries.iter_mut().zip(compared) {
        entry["comparison"] = json!(comparison);
    }
    let (mut document, Value::Object(shaped)) = (json!({}), shaped) else { bail!("the results are no object") };
    if let [entry] = &mut entries[..] {
        document = entry.take();
    } else {
        document["tasks"] = entries.into();
    }
    for (key, value) in shaped {
        document[key] = value;
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_has_its_figures_at_the_top_and_several_have_a_list() {
        let graded = |task: &str| Graded { task: task.to_owned(), ..Graded::empty() };
        let shaped = |graded: &[Graded]| results(graded, &ResultsOf::default());
        let one = [graded("a")];
        let document_of_one = document(&one, vec![], shaped(&one)).unwrap();
        assert_eq!((&document_of_one["task"], document_of_one["results"].as_object().unwrap().len()), (&json!("a"), 1));
        let two = [graded("a"), graded("b")];
        let document_of_two = document(&two, vec![], shaped(&two)).unwrap();
        assert_eq!(document_of_two["tasks"][1]["task"], "b");
        assert_eq!(document_of_two["n-shot"]["b"], 0);
    }
}
