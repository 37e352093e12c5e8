//! `cargo xtask check`: what a reviewer would ask first, cheapest first, with a table of the time each took.
//!
//! A new check is one file in `check/` with a function `fn(&Args) -> Result<Verdict>`, and one line in [`CHECKS`].

mod arrows;
mod builds;
mod cargo_lints;
mod files;
mod optional_tools;
mod rust_text;
mod seams;
mod sources;

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;

/// One question a reviewer would ask.
struct Check {
    name: &'static str,
    ask: fn(&Args) -> anyhow::Result<Verdict>,
}

/// Every check, cheapest first.
const CHECKS: &[Check] = &[
    Check { name: "fmt", ask: cargo_lints::fmt },
    Check { name: "typos", ask: optional_tools::typos },
    Check { name: "files", ask: files::check },
    Check { name: "arrows", ask: arrows::check },
    Check { name: "seams", ask: seams::check },
    Check { name: "one-build", ask: builds::check },
    Check { name: "deny", ask: optional_tools::deny },
    Check { name: "clippy", ask: cargo_lints::clippy },
    Check { name: "doc", ask: cargo_lints::doc },
    Check { name: "backends", ask: cargo_lints::backends },
];

/// `cargo xtask check`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these checks, for example `fmt arrows`; all of them if none is named.
    #[arg(value_parser = PossibleValuesParser::new(CHECKS.iter().map(|check| check.name)))]
    names: Vec<String>,
    /// Lint what is compiled for these backends too.
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "wgpu,cuda")]
    backends: Vec<Backend>,
}

/// A backend beside the CPU's, by the name of its feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    Wgpu,
    Cuda,
}

/// The answer of a check.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing is wrong.
    Clean,
    /// The check was not made, for this reason.
    Skipped(&'static str),
    /// One line for each thing to put right.
    Broken(Vec<String>),
}

impl Verdict {
    /// Clean if there are no violations.
    fn of(violations: Vec<String>) -> Self {
        if violations.is_empty() { Self::Clean } else { Self::Broken(violations) }
    }
}

/// Asks every check, or the named ones; all are asked even if one fails.
///
/// # Errors
/// If a check failed.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for check in select(&args.names) {
        println!("-- {}", check.name);
        let start = Instant::now();
        let outcome = outcome(check, args);
        rows.push((check.name, outcome, start.elapsed()));
    }
    println!();
    for (name, outcome, time) in &rows {
        println!("{}", row(name, outcome, *time));
    }
    let failed: Vec<_> = rows.iter().filter(|(_, outcome, _)| outcome == FAILED).map(|(name, ..)| *name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

const FAILED: &str = "FAILED";

/// Make a check and print what is wrong. Returns what the table says of it.
fn outcome(check: &Check, args: &Args) -> String {
    match (check.ask)(args) {
        Ok(Verdict::Clean) => "ok".to_owned(),
        Ok(Verdict::Skipped(why)) => format!("skipped: {why}"),
        Ok(Verdict::Broken(violations)) => {
            violations.iter().for_each(|violation| println!("{violation}"));
            FAILED.to_owned()
        }
        Err(error) => {
            println!("{error:#}");
            FAILED.to_owned()
        }
    }
}

/// The checks of these names, or every check if there are none, in their own order.
fn select(names: &[String]) -> Vec<&'static Check> {
    let is_wanted = |check: &&Check| names.is_empty() || names.iter().any(|name| name == check.name);
    CHECKS.iter().filter(is_wanted).collect()
}

fn row(name: &str, outcome: &str, time: Duration) -> String {
    format!("{name:<10} {:>7.1} s  {outcome}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn checks_run_in_their_own_order_whatever_order_they_are_named_in() {
        let names = ["arrows".to_owned(), "fmt".to_owned()];
        let selected: Vec<_> = select(&names).iter().map(|check| check.name).collect();
        assert_eq!(selected, ["fmt", "arrows"]);
        assert_eq!(select(&[]).len(), CHECKS.len());
    }

    #[test]
    fn backends_are_all_or_some_or_none() {
        let parse = |words: &[&str]| {
            let command = <Args as clap::Args>::augment_args(clap::Command::new("check").no_binary_name(true));
            Args::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap().backends
        };
        assert_eq!(parse(&["fmt"]), []);
        assert_eq!(parse(&["--backends", "fmt"]), [Backend::Wgpu, Backend::Cuda]);
        assert_eq!(parse(&["--backends=cuda"]), [Backend::Cuda]);
    }

    #[test]
    fn a_check_that_breaks_or_errs_is_failed() {
        let args = Args { names: Vec::new(), backends: Vec::new() };
        let broken = Check { name: "broken", ask: |_| Ok(Verdict::of(vec!["a line".to_owned()])) };
        let erring = Check { name: "erring", ask: |_| anyhow::bail!("no such tool") };
        let clean = Check { name: "clean", ask: |_| Ok(Verdict::of(Vec::new())) };
        assert_eq!([&broken, &erring, &clean].map(|check| outcome(check, &args)), [FAILED, FAILED, "ok"]);
    }
}
