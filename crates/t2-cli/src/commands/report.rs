//! `t2 report`: a training run as one HTML page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use t2_model::files;

use crate::html::Page;
use crate::output::Output;
use crate::plot::{self, Bar};

const METRICS: &str = "metrics.jsonl";
const EVAL: &str = "eval.json";
const PAGE: &str = "report.html";
const STEP: &str = "step";
/// Numbers below this are shown with an exponent.
const SMALL: f64 = 1e-3;

/// Plots of metrics we know, in this order; other numbers of the log follow under their own names.
const KNOWN: [(&str, &str); 9] = [
    ("reward_mean", "Reward, mean of a batch"),
    ("reward_std", "Reward, spread"),
    ("entropy", "Entropy of the policy, nats per token"),
    ("kl", "KL to the base model, nats per token"),
    ("grad_norm", "Norm of the gradient of z"),
    ("completion_len", "Length of completions, tokens"),
    ("tokens_per_sec", "Tokens per second"),
    ("zero_variance_share", "Share of groups with equal rewards"),
    ("logprob_gap", "Gap of sampled and re-scored log-probability"),
];

/// Draw a training run as one HTML page
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The folder of the run, with metrics.jsonl and perhaps eval.json
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The page to write [default: DIR/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One row of `eval.json`.
#[derive(Clone, Debug, Deserialize)]
struct EvalRow {
    task: String,
    split: String,
    n: usize,
    accuracy: f64,
    #[serde(default)]
    stderr: Option<f64>,
    #[serde(default)]
    strategy: Option<String>,
    #[serde(default)]
    expert: Option<String>,
}

pub(crate) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let steps = read_metrics(&args.dir.join(METRICS))?;
    let rows = read_eval(&args.dir.join(EVAL))?;
    if steps.is_empty() && rows.is_empty() {
        bail!("{} has neither {METRICS} nor {EVAL}; give the --out folder of `t2 train`", args.dir.display());
    }
    let name = args.dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let mut page = Page::new(&format!("Run {}", name.as_deref().unwrap_or("report")));
    if !steps.is_empty() {
        add_metrics(&mut page, &steps);
    }
    if !rows.is_empty() {
        add_eval(&mut page, &rows);
    }
    let path = args.out.clone().unwrap_or_else(|| args.dir.join(PAGE));
    files::write_atomically(&path, page.finish().as_bytes())?;
    out.text(&format!("{}\n", path.display()))?;
    out.json(&json!({ "report": path, "steps": steps.len(), "evaluations": rows.len() }))
}

/// The steps of a run. A last line without its line break was being written and is left out.
fn read_metrics(path: &Path) -> anyhow::Result<Vec<Map<String, Value>>> {
    let Some(text) = read(path)? else { return Ok(vec![]) };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("line {} of {} is no JSON object; delete that line", i + 1, path.display()))
    };
    lines.map(parse).collect()
}

fn read_eval(path: &Path) -> anyhow::Result<Vec<EvalRow>> {
    let Some(text) = read(path)? else { return Ok(vec![]) };
    serde_json::from_str(&text).with_context(|| {
        format!("{} is broken; expected a list of rows with task, split, n and accuracy", path.display())
    })
}

/// The text of a file that need not exist.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn add_metrics(page: &mut Page, steps: &[Map<String, Value>]) {
    let curves = curves(steps);
    let known = KNOWN.iter().filter_map(|(key, title)| Some((*title, curves.get(*key)?)));
    let others = curves.iter().filter(|(key, _)| KNOWN.iter().all(|(known, _)| known != key));
    let all = known.chain(others.map(|(key, curve)| (key.as_str(), curve)));
    let figures: Vec<String> =
        all.map(|(title, curve)| plot::line_chart(title, STEP, &[("", curve.clone())])).collect();
    page.heading("Training");
    page.paragraph(&format!("{} steps.", steps.len()));
    page.figures(&figures);
    if let Some(last) = steps.last() {
        let rows = last.iter().map(|(key, value)| vec![key.clone(), cell(value)]);
        page.heading("Last step");
        page.table(&["metric", "value"], &rows.collect::<Vec<_>>());
    }
}

/// Every number of the log over the steps.
fn curves(steps: &[Map<String, Value>]) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (i, metrics) in steps.iter().enumerate() {
        let step = metrics.get(STEP).and_then(Value::as_f64).unwrap_or(i as f64);
        for (key, value) in metrics.iter().filter(|(key, _)| *key != STEP) {
            if let Some(value) = value.as_f64() {
                curves.entry(key.clone()).or_default().push((step, value));
            }
        }
    }
    curves
}

fn add_eval(page: &mut Page, rows: &[EvalRow]) {
    let bars: Vec<Bar> = rows
        .iter()
        .map(|row| Bar {
            label: row.task.clone(),
            value: 100.0 * row.accuracy,
            error: row.stderr.map(|error| 100.0 * error),
            series: row.under(),
        })
        .collect();
    let header = ["task", "split", "under", "problems", "accuracy", "standard error"];
    let lines = rows.iter().map(|row| {
        let error = row.stderr.map_or(String::new(), |error| format!("{:.1} %", 100.0 * error));
        let accuracy = format!("{:.1} %", 100.0 * row.accuracy);
        vec![row.task.clone(), row.split.clone(), row.under(), row.n.to_string(), accuracy, error]
    });
    page.heading("Evaluation");
    page.figures(&[plot::bar_chart("Accuracy, whiskers of one standard error", "%", &bars)]);
    page.table(&header, &lines.collect::<Vec<_>>());
}

impl EvalRow {
    /// What the model ran under.
    fn under(&self) -> String {
        self.expert.clone().or_else(|| self.strategy.clone()).unwrap_or_else(|| "base".to_owned())
    }
}

/// A value of the log as people read it.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(x) if x != 0.0 && x.abs() < SMALL => format!("{x:.3e}"),
            x => format!("{:.5}", x.unwrap_or(f64::NAN)),
        },
        other => other.to_string(),
    }
}
