//! `eval.json`: accuracies on held-out problems, drawn as bars beside their table.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::short_hash;
use crate::html::{Fact, Page, Table};
use crate::plot::{BASE, Bar, MISSING, Whisker, bar_chart, percent, short};

/// What `eval.json` calls the strategy where answers were given in a single pass.
const NO_STRATEGY: &str = "none";

/// One row of `eval.json`; shares lie between 0 and 1.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EvalRow {
    task: String,
    split: String,
    n: usize,
    accuracy: f64,
    stderr: Option<f64>,
    /// Ends of Wilson's 95 % interval.
    low: Option<f64>,
    high: Option<f64>,
    strategy: Option<String>,
    expert: Option<String>,
    expert_hash: Option<String>,
}

/// The rows in `text`, the content of the file at `path`.
pub(super) fn parse(text: &str, path: &Path) -> anyhow::Result<Vec<EvalRow>> {
    let rows: Vec<EvalRow> = serde_json::from_str(text).with_context(|| {
        format!("{} is broken; expected a list of rows with task, split, n and accuracy", path.display())
    })?;
    for (i, row) in rows.iter().enumerate() {
        for (key, share) in [("accuracy", Some(row.accuracy)), ("low", row.low), ("high", row.high)] {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                anyhow::bail!(
                    "{key} {share} in row {} of {} is no share; expected 0 to 1, so divide percentages by 100",
                    i + 1,
                    path.display()
                );
            }
        }
    }
    Ok(rows)
}

/// For every task graded under the base model and under experts: the accuracy of the base and of the best expert.
pub(super) fn facts(rows: &[EvalRow]) -> Vec<Fact> {
    let bases = rows.iter().filter(|row| row.under() == BASE);
    let fact = |base: &EvalRow| {
        let is_other = |row: &&EvalRow| row.group() == base.group() && row.under() != BASE;
        let best = rows.iter().filter(is_other).max_by(|a, b| a.accuracy.total_cmp(&b.accuracy))?;
        Some(Fact {
            label: format!("Accuracy on {}", base.group()),
            value: format!("{} → {}", percent(base.accuracy), percent(best.accuracy)),
            note: format!("{BASE} → {}", best.under()),
        })
    };
    bases.filter_map(fact).collect()
}

/// Add the section about the evaluation to the page.
pub(super) fn write(page: &mut Page, rows: &[EvalRow]) {
    let bars: Vec<Bar> = rows.iter().map(EvalRow::bar).collect();
    let figure = bar_chart("Accuracy", "Share of held-out problems answered right.", &bars);
    page.heading("Evaluation");
    page.figure_and_table(&figure, &table(rows));
}

/// The rows as a table, without the columns that no row fills.
fn table(rows: &[EvalRow]) -> Table {
    type Column = (&'static str, fn(&EvalRow) -> Option<String>);
    let columns: [Column; 7] = [
        ("task", |row| Some(row.group())),
        ("under", |row| Some(row.under())),
        ("problems", |row| Some(short(row.n as f64))),
        ("accuracy", |row| Some(percent(row.accuracy))),
        ("95 % interval", |row| row.interval().map(|(low, high)| format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high))),
        ("standard error", |row| row.stderr.filter(|_| row.interval().is_none()).map(percent)),
        ("expert hash", |row| row.expert_hash.as_deref().map(short_hash)),
    ];
    let filled: Vec<Column> =
        columns.into_iter().filter(|(_, cell)| rows.iter().any(|row| cell(row).is_some())).collect();
    let cells = |row| filled.iter().map(|(_, cell)| cell(row).unwrap_or_else(|| MISSING.to_owned())).collect();
    Table {
        caption: "The same in numbers".into(),
        header: filled.iter().map(|(name, _)| (*name).to_owned()).collect(),
        rows: rows.iter().map(cells).collect(),
    }
}

impl EvalRow {
    /// What the model ran under.
    fn under(&self) -> String {
        let strategy = self.strategy.as_deref().filter(|strategy| *strategy != NO_STRATEGY);
        let unnamed = if self.expert_hash.is_some() { "expert" } else { BASE };
        self.expert.as_deref().or(strategy).unwrap_or(unnamed).to_owned()
    }

    /// The problems that were answered.
    fn group(&self) -> String {
        format!("{}, {}", self.task, self.split)
    }

    fn interval(&self) -> Option<(f64, f64)> {
        self.low.zip(self.high)
    }

    fn bar(&self) -> Bar {
        let interval = self.interval().map(|(low, high)| Whisker::Interval(low, high));
        Bar {
            group: self.group(),
            name: self.under(),
            share: self.accuracy,
            whisker: interval.or(self.stderr.map(Whisker::StandardError)),
        }
    }
}
