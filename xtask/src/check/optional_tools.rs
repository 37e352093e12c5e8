//! Checks that are made by other tools, and skipped where these are not installed.

use super::{Args, Verdict};
use crate::spawn::{cargo, command, is_installed, run};

/// No misspelt words, by `typos` and `_typos.toml`.
pub(super) fn typos(_: &Args) -> anyhow::Result<Verdict> {
    if !is_installed("typos") {
        return Ok(Verdict::Skipped("typos is not installed"));
    }
    run(command("typos", ["."]))?;
    Ok(Verdict::Clean)
}

/// Licences and sources of the dependencies, by `cargo-deny` and `deny.toml`.
pub(super) fn deny(_: &Args) -> anyhow::Result<Verdict> {
    if !is_installed("cargo-deny") {
        return Ok(Verdict::Skipped("cargo-deny is not installed"));
    }
    run(cargo(["deny", "check", "bans", "licenses", "sources"]))?;
    Ok(Verdict::Clean)
}
