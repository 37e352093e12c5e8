//! `cargo xtask <command>`: everything this repository is asked to do, in one place.
//!
//! A command here only spawns cargo, `t2` and a few tools. It links nothing of the project, so that it builds in seconds.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

mod check;
mod golden;
mod spawn;
mod t2;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole story on the bundled model: `t2 demo`.
    Demo(t2::PassThrough),
    /// Run every test: unit, integration and documentation tests.
    Test(test::Args),
    /// Run what a reviewer would ask first, cheapest first.
    Check(check::Args),
    /// Train one expert from a file in `runs/`, then write its report.
    Train(t2::Train),
    /// Run the Criterion benches, on the CPU or on the devices named.
    Bench(t2::Bench),
    /// Make the bundled model again: `t2 pretrain`.
    Pretrain(t2::PassThrough),
    /// Make the golden files again with the Python scripts that lie beside them.
    Golden(golden::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => t2::demo(&args),
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Train(args) => t2::train(&args),
        Command::Bench(args) => t2::bench(&args),
        Command::Pretrain(args) => t2::pretrain(&args),
        Command::Golden(args) => golden::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let code = error.downcast_ref::<spawn::Failed>().map_or(1, spawn::Failed::exit_code);
            ExitCode::from(code)
        }
    }
}
