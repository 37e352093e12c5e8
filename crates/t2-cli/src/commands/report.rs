//! `t2 report`: a training run as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use t2_model::files;

use crate::html::Page;
use crate::output::Output;

mod evaluation;
mod training;

const METRICS: &str = "metrics.jsonl";
const EVAL: &str = "eval.json";
const PAGE: &str = "report.html";

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

pub(crate) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let [metrics, eval] = [METRICS, EVAL].map(|name| args.dir.join(name));
    let steps = read(&metrics)?.map_or(Ok(vec![]), |text| training::parse(&text, &metrics))?;
    let rows = read(&eval)?.map_or(Ok(vec![]), |text| evaluation::parse(&text, &eval))?;
    if steps.is_empty() && rows.is_empty() {
        bail!("{} has neither {METRICS} nor {EVAL}; give the --out folder of `t2 train`", args.dir.display());
    }
    let name = args.dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let mut page = Page::new(&format!("Run {}", name.as_deref().unwrap_or("report")));
    page.facts(&[evaluation::facts(&rows), training::facts(&steps)].concat());
    if !rows.is_empty() {
        evaluation::write(&mut page, &rows);
    }
    if !steps.is_empty() {
        training::write(&mut page, &steps);
    }
    let path = args.out.clone().unwrap_or_else(|| args.dir.join(PAGE));
    files::write_atomically(&path, page.finish().as_bytes())?;
    out.text(&format!("{}\n", path.display()))?;
    out.json(&json!({ "report": path, "steps": steps.len(), "evaluations": rows.len() }))
}

/// The text of a file that need not exist.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The beginning of a hash, for people.
fn short_hash(hash: &str) -> String {
    hash.chars().take(8).collect()
}
