//! What is printed where: progress, tables and notes on stderr for people, text and JSON on stdout for programs.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use t2_rl::Accuracy;
use tracing_subscriber::EnvFilter;

use crate::cli::Global;
use crate::environment;

/// How a progress bar of steps looks.
const STEPS: &str = "{msg} [{elapsed_precise}] {wide_bar} {pos}/{len} ({eta})";
/// How a progress bar of steps of unequal length looks: the prefix says how long it will take.
const UNEQUAL: &str = "{msg} [{elapsed_precise}] {wide_bar} {pos}/{len} {prefix}";
/// How a progress bar of bytes looks.
const BYTES: &str = "{msg} [{elapsed_precise}] {wide_bar} {bytes}/{total_bytes} ({eta})";

/// The two streams, and what the user wants to see on them.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    bold: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let bold = io::stderr().is_terminal() && !environment::no_color();
        Self { json: global.json, quiet: global.quiet, bold }
    }

    /// True when stdout belongs to one JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Print the result of a command under `--json`; nothing otherwise.
    pub(crate) fn json(&self, result: &impl Serialize) -> anyhow::Result<()> {
        if !self.json {
            return Ok(());
        }
        let document = serde_json::to_string_pretty(result).context("cannot write the result as JSON")?;
        writeln!(io::stdout(), "{document}").context("cannot write to stdout")
    }

    /// Print text that is itself the result, at once and without a line break; nothing under `--json`.
    pub(crate) fn text(&self, text: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
    }

    /// Say something about how it went, on a line of stderr; nothing under `-q`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            // Nobody reads stderr any more: the result still counts.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Print a table on stderr; nothing under `-q` or `--json`. Cells that are numbers are flush right.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>]) {
        if !self.json && !rows.is_empty() {
            self.note(&format_table(header, rows, self.bold));
        }
    }

    /// Print a figure that `draw` makes, with colors or without, on stderr; nothing under `-q` or `--json`.
    pub(crate) fn figure(&self, draw: impl FnOnce(bool) -> String) {
        if !self.json {
            self.note(&draw(self.bold));
        }
    }

    /// An empty line between tables and figures.
    pub(crate) fn gap(&self) {
        self.figure(|_| String::new());
    }

    /// A bar for `total` steps; hidden under `-q` and where stderr is no terminal.
    pub(crate) fn progress(&self, total: u64, message: impl Into<Cow<'static, str>>) -> ProgressBar {
        self.bar(total, message, STEPS)
    }

    /// A bar for `total` steps of unequal length, which cannot tell how long the rest will take: whoever moves it
    /// writes that into its prefix.
    pub(crate) fn progress_without_estimate(&self, total: u64, message: impl Into<Cow<'static, str>>) -> ProgressBar {
        self.bar(total, message, UNEQUAL)
    }

    /// A bar for `total` bytes; hidden under `-q` and where stderr is no terminal.
    pub(crate) fn progress_bytes(&self, total: u64, message: impl Into<Cow<'static, str>>) -> ProgressBar {
        self.bar(total, message, BYTES)
    }

    fn bar(&self, total: u64, message: impl Into<Cow<'static, str>>, template: &str) -> ProgressBar {
        let target = if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(total), target).with_style(style).with_message(message)
    }
}

/// Send log lines to stderr: warnings, with `-v` what is going on, with `-vv` details, or what `RUST_LOG` says.
pub(crate) fn init_tracing(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "warn,t2=info,t2_linalg=info,t2_model=info,t2_task=info,t2_rl=info,t2_dispatch=info,t2_session=info",
        _ => {
            "info,t2=debug,t2_linalg=debug,t2_model=debug,t2_task=debug,t2_rl=debug,t2_dispatch=debug,t2_session=debug"
        }
    };
    let filter = environment::log_filter().unwrap_or_else(|| level.to_owned());
    let colors = io::stderr().is_terminal() && !environment::no_color();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(colors)
        .without_time()
        .try_init();
}

/// `71.4 [68.5, 74.1]`: a share and its interval, in percent.
pub(crate) fn percent(accuracy: &Accuracy) -> String {
    let [share, low, high] = [accuracy.accuracy, accuracy.low, accuracy.high].map(|share| 100.0 * share);
    format!("{share:.1} [{low:.1}, {high:.1}]")
}

fn format_table(header: &[&str], rows: &[Vec<String>], bold: bool) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_right = |column: usize| rows.iter().filter_map(|row| row.get(column)).all(|cell| is_number(cell));
    let right: Vec<bool> = (0..header.len()).map(is_right).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells
            .zip(widths.iter().zip(&right))
            .map(|(cell, (&width, &right))| if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(&mut header.iter().copied());
    let head = if bold { format!("\u{1b}[1m{head}\u{1b}[0m") } else { head };
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
}

/// True for the likes of `1,234`, `41.5 [40.1, 43.0]`, `3 %` and an empty cell, which takes no side.
fn is_number(cell: &str) -> bool {
    cell.is_empty()
        || cell
            .trim_end_matches(['%', 's'])
            .split('[')
            .next()
            .unwrap_or_default()
            .replace([',', ' '], "")
            .parse::<f64>()
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["math".to_owned(), "41.5 %".to_owned()], vec!["ö".to_owned(), "100 %".to_owned()]];
        let table = format_table(&["task", "right"], &rows, false);
        assert_eq!(table, "task   right\nmath  41.5 %\nö      100 %");
        let mixed = [vec!["1".to_owned()], vec!["one".to_owned()]];
        assert_eq!(format_table(&["value"], &mixed, false), "value\n1\none");
    }
}
