//! `t2`: decompose a language model, train experts, answer in two passes. Parse, run, exit code.

mod cli;
mod commands;
mod device;
mod environment;
mod error;
mod heat_map;
mod html;
mod interrupt;
mod output;
mod plot;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// Keeps the buffers of one operation for the next: the allocators of most systems give large ones back to the kernel, which
/// then clears every page anew.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
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
