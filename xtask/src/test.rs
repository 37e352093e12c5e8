//! `cargo xtask test`: `cargo test` over the workspace with a named set of features.

use std::process::Command;

use crate::spawn::{self, cargo};

/// The arguments that choose which members of the workspace are tested.
///
/// The benches hold no tests, and their Criterion turns on a feature of `ciborium` that would compile Burn a second
/// time, beside the build that the demo uses.
pub(crate) const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "t2-benches"];

/// `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Test with the wgpu backend too; a software Vulkan driver such as Mesa's lavapipe will do.
    #[arg(long)]
    wgpu: bool,
    /// Passed on to `cargo test`, for example a filter on the names.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs every test, documentation tests included.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    spawn::run(cargo_test(args))
}

fn cargo_test(args: &Args) -> Command {
    let mut command = cargo(["test"]);
    command.args(PACKAGES);
    if args.wgpu {
        command.args(["--features", "wgpu"]);
    }
    command.args(&args.args);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_and_the_rest_is_passed_on() {
        let command = cargo_test(&Args { wgpu: true, args: vec!["svd".to_owned()] });
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        assert_eq!(args, ["test", "--workspace", "--exclude", "t2-benches", "--features", "wgpu", "svd"]);
    }
}
