//! The commands. To add one: a file with `Args` and `run`, a variant and an arm.

mod chat;
mod expert;
mod generate;
mod info;
mod logits;
mod report;

use clap::Subcommand;

use crate::cli::Global;
use crate::output::Output;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Info(info::Args),
    Generate(generate::Args),
    Logits(logits::Args),
    Chat(chat::Args),
    Expert(expert::Args),
    Report(report::Args),
}

impl Command {
    pub(crate) fn run(&self, global: &Global, out: &Output) -> anyhow::Result<()> {
        match self {
            Self::Info(args) => info::run(args, global, out),
            Self::Generate(args) => generate::run(args, global, out),
            Self::Logits(args) => logits::run(args, global, out),
            Self::Chat(args) => chat::run(args, global, out),
            Self::Expert(args) => expert::run(args, global, out),
            Self::Report(args) => report::run(args, out),
        }
    }
}
