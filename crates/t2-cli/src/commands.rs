//! The commands. To add one: a file with `Args` and `run`, a variant and an arm.

mod answer;
mod chat;
mod decompose;
mod demo;
mod eval;
mod expert;
mod export;
pub(crate) mod generate;
mod import;
mod info;
mod logits;
mod pretrain;
mod report;
mod train;

use clap::Subcommand;

use crate::cli::Global;
use crate::output::Output;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Info(info::Args),
    Decompose(decompose::Args),
    Generate(generate::Args),
    Logits(logits::Args),
    Train(train::Args),
    Eval(eval::Args),
    Answer(answer::Args),
    Chat(chat::Args),
    Expert(expert::Args),
    Export(export::Args),
    Import(import::Args),
    Report(report::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    Pretrain(pretrain::Args),
}

impl Command {
    pub(crate) fn run(&self, global: &Global, out: &Output) -> anyhow::Result<()> {
        match self {
            Self::Info(args) => info::run(args, global, out),
            Self::Decompose(args) => decompose::run(args, global, out),
            Self::Generate(args) => generate::run(args, global, out),
            Self::Logits(args) => logits::run(args, global, out),
            Self::Train(args) => train::run(args, global, out),
            Self::Eval(args) => eval::run(args, global, out),
            Self::Answer(args) => answer::run(args, global, out),
            Self::Chat(args) => chat::run(args, global, out),
            Self::Expert(args) => expert::run(args, global, out),
            Self::Export(args) => export::run(args, global, out),
            Self::Import(args) => import::run(args, global, out),
            Self::Report(args) => report::run(args, out),
            Self::Demo(args) => demo::run(args, global, out),
            Self::Pretrain(args) => pretrain::run(args, global, out),
        }
    }
}
