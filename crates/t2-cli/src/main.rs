//! `t2`: decompose a language model, train experts, answer in two passes. Parse, run, exit code.

mod cli;
mod commands;
mod device;
mod environment;
mod error;
mod heat_map;
mod html;
mod interrupt;
mod memory;
mod output;
mod plot;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    memory::keep();
    let cli = cli::Cli::parse();
    error::report_panics();
    output::init_tracing(&cli.global);
    device::keep_kernels(environment::kernels());
    let result = interrupt::install().and_then(|()| {
        let out = output::Output::new(&cli.global);
        cli.command.run(&cli.global, &out)
    });
    error::exit_code(result)
}
