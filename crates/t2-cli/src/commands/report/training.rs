//! `metrics.jsonl`: what every step of a run reports, drawn as curves and summed up in a table.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use super::short_hash;
use crate::html::{Fact, Figure, Page, Table};
use crate::plot::{Curve, MISSING, brief, line_chart, short, steps_per_point};

const STEP: &str = "step";
const REWARD: &str = "reward_mean";
const HASH: &str = "expert_hash";

/// A metric that the report knows how to explain.
struct Known {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    note: &'static str,
}

/// The metrics that are explained, in the order in which they are drawn. Other numbers of the log follow, under their
/// keys.
const KNOWN: [Known; 10] = [
    Known::new(REWARD, "Reward", "reward", "Mean of the completions of a step."),
    Known::new("reward_std", "Spread of the reward", "reward", "Standard deviation within a step."),
    Known::new(
        "entropy",
        "Entropy of the policy",
        "nats per token",
        "How undecided the model is about the next token.",
    ),
    Known::new(
        "kl",
        "Divergence from the base model",
        "nats per token",
        "How far the expert has moved the model (KL).",
    ),
    Known::new("grad_norm", "Norm of the gradient", "norm", "Of the whole gradient of z, before clipping."),
    Known::new("zero_variance_share", "Groups that teach nothing", "share of groups", "All their rewards are equal."),
    Known::new("completion_len", "Length of completions", "tokens", "Mean of a step."),
    Known::new("completion_len_max", "Longest completion", "tokens", "Of a step."),
    Known::new("tokens_per_sec", "Speed", "tokens per second", "Sampled tokens over the time of the whole step."),
    Known::new("logprob_gap", "Gap between sampling and scoring", "nats", "Largest difference of a log-probability."),
];

/// One line of the log.
type Step = Map<String, Value>;

/// The course of one metric: each step with its value, NaN where the step has none.
type Points = Vec<(f64, f64)>;

/// The steps in `text`, the content of the file at `path`. A last line without a line break is left out: it was still
/// being written.
pub(super) fn parse(text: &str, path: &Path) -> anyhow::Result<Vec<Step>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("line {} of {} is no JSON object; delete that line", i + 1, path.display()))
    };
    lines.map(parse).collect()
}

/// How long the run was, what became of the reward, and the expert at the end.
pub(super) fn facts(steps: &[Step]) -> Vec<Fact> {
    let Some(last) = steps.last() else { return vec![] };
    let steps_done = last.get(STEP).and_then(Value::as_f64).unwrap_or(steps.len() as f64);
    let mut facts = vec![Fact { label: "Steps".into(), value: short(steps_done), note: String::new() }];
    let rewards: Vec<f64> = steps.iter().filter_map(|step| step.get(REWARD)?.as_f64()).collect();
    if !rewards.is_empty() {
        let tenth = rewards.len().div_ceil(10);
        let mean = |rewards: &[f64]| brief(rewards.iter().sum::<f64>() / rewards.len() as f64);
        facts.push(Fact {
            label: "Mean reward".into(),
            value: format!("{} → {}", mean(&rewards[..tenth]), mean(&rewards[rewards.len() - tenth..])),
            note: "first tenth → last tenth of the steps".into(),
        });
    }
    if let Some(hash) = last.get(HASH).and_then(Value::as_str) {
        facts.push(Fact { label: "Expert".into(), value: short_hash(hash), note: "hash at the last step".into() });
    }
    facts
}

/// Add the sections about the training to the page.
pub(super) fn write(page: &mut Page, steps: &[Step]) {
    let curves = curves(steps);
    let known = KNOWN.iter().filter_map(|known| {
        let Known { key, title, unit, note } = *known;
        Some(line_chart(&Curve { title, note, unit, points: curves.get(key)? }))
    });
    let others = curves.iter().filter(|(key, _)| KNOWN.iter().all(|known| known.key != **key));
    let others = others.map(|(title, points)| line_chart(&Curve { title, note: "", unit: "", points }));
    page.heading("Training");
    let per_point = steps_per_point(steps.len());
    if per_point > 1 {
        page.paragraph(&format!("The curves are means of {per_point} steps each; the bands span their range."));
    }
    page.figures(&known.chain(others).collect::<Vec<Figure>>());
    page.table(&table(&curves));
    let texts = steps.last().into_iter().flatten();
    let texts: Vec<(&str, &str)> = texts.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
    if !texts.is_empty() {
        page.heading("Last step");
        page.texts(&texts);
    }
}

/// The course of every number in the log. A metric of [`KNOWN`] is kept even if it is null in every step, since that is
/// worth knowing.
fn curves(steps: &[Step]) -> BTreeMap<&str, Points> {
    let is_drawn = |(key, value): &(&String, &Value)| {
        *key != STEP && (value.is_number() || value.is_null() && KNOWN.iter().any(|known| known.key == *key))
    };
    let keys = steps.iter().flat_map(|step| step.iter().filter(is_drawn).map(|(key, _)| key.as_str()));
    let mut curves: BTreeMap<&str, Points> = keys.map(|key| (key, vec![])).collect();
    for (i, step) in steps.iter().enumerate() {
        let number = |key: &str| step.get(key).and_then(Value::as_f64);
        for (key, points) in &mut curves {
            points.push((number(STEP).unwrap_or(i as f64), number(key).unwrap_or(f64::NAN)));
        }
    }
    curves
}

/// First, last, least, greatest and mean value of every curve.
fn table(curves: &BTreeMap<&str, Points>) -> Table {
    let header = ["metric", "first", "last", "least", "greatest", "mean", "values"];
    let row = |(key, points): (&&str, &Points)| {
        let values: Vec<f64> = points.iter().map(|point| point.1).filter(|value| value.is_finite()).collect();
        let sum: f64 = values.iter().sum();
        let numbers = [
            values.first().copied(),
            values.last().copied(),
            values.iter().copied().min_by(f64::total_cmp),
            values.iter().copied().max_by(f64::total_cmp),
            (!values.is_empty()).then(|| sum / values.len() as f64),
            Some(values.len() as f64),
        ];
        let cells = numbers.map(|number| number.map_or_else(|| MISSING.to_owned(), short));
        std::iter::once((*key).to_owned()).chain(cells).collect()
    };
    Table {
        caption: "Every metric over the steps that have a value".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: curves.iter().map(row).collect(),
    }
}

impl Known {
    const fn new(key: &'static str, title: &'static str, unit: &'static str, note: &'static str) -> Self {
        Self { key, title, unit, note }
    }
}
