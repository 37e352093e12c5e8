//! `t2 expert`: look into expert files, mix them, compare them.

mod diff;
mod inspect;
mod mix;

use clap::Subcommand;

use crate::cli::Global;
use crate::output::Output;

/// Look into expert files, mix them, compare them
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    Inspect(inspect::Args),
    Mix(mix::Args),
    Diff(diff::Args),
}

pub(crate) fn run(args: &Args, _: &Global, out: &Output) -> anyhow::Result<()> {
    match &args.action {
        Action::Inspect(args) => inspect::run(args, out),
        Action::Mix(args) => mix::run(args, out),
        Action::Diff(args) => diff::run(args, out),
    }
}
