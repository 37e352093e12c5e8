//! The checks that cargo itself does: formatting, lints, documentation, and the other backends.

use super::{Args, Backend, Verdict};
use crate::spawn::{cargo, run};

/// The code is formatted.
pub(super) fn fmt(_: &Args) -> anyhow::Result<Verdict> {
    run(cargo(["fmt", "--all", "--check"]))?;
    Ok(Verdict::Clean)
}

/// No compiler or clippy warning, tests and benches included.
pub(super) fn clippy(_: &Args) -> anyhow::Result<Verdict> {
    run(cargo(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    Ok(Verdict::Clean)
}

/// The documentation builds without a warning: every link resolves.
pub(super) fn doc(_: &Args) -> anyhow::Result<Verdict> {
    let mut command = cargo(["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    run(command)?;
    Ok(Verdict::Clean)
}

/// No warning in what is compiled for the backends asked for alone.
pub(super) fn backends(args: &Args) -> anyhow::Result<Verdict> {
    if args.backends.is_empty() {
        return Ok(Verdict::Skipped("ask for it with --backends or --backends=wgpu,cuda"));
    }
    // All in one build: their features add up, and what they share is compiled once.
    let features: Vec<&str> = args.backends.iter().map(|backend| feature(*backend)).collect();
    let features = features.join(",");
    run(cargo(["clippy", "--workspace", "--all-targets", "--features", &features, "--", "--deny", "warnings"]))?;
    Ok(Verdict::Clean)
}

fn feature(backend: Backend) -> &'static str {
    match backend {
        Backend::Wgpu => "wgpu",
        Backend::Cuda => "cuda",
    }
}
