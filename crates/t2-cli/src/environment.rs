//! Every environment variable that t2 reads.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `T2_CACHE` | where decompositions and the unpacked bundled model are kept |
//! | `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` | as in every Hugging Face tool |
//! | `NO_COLOR` | plain text, also on a terminal |
//! | `RUST_LOG` | which log lines to show, instead of `-v` |

#![expect(clippy::disallowed_methods, reason = "this is the one file of t2 that reads the environment")]

use std::path::PathBuf;

use anyhow::Context;

/// The Hub that models come from unless `HF_ENDPOINT` names another.
const HUB: &str = "https://huggingface.co";

/// The folder t2 keeps things in that it can make again.
pub(crate) fn cache_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = path("T2_CACHE") {
        return Ok(dir);
    }
    let dir = if cfg!(windows) {
        path("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        path("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    Ok(dir.context("there is no home folder to keep a cache in; set T2_CACHE to a folder")?.join("t2"))
}

/// The folder of the Hugging Face cache that holds models.
pub(crate) fn hub_cache() -> anyhow::Result<PathBuf> {
    let home = path("HF_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache/huggingface")));
    Ok(home.context("there is no home folder to keep downloads in; set HF_HOME to a folder")?.join("hub"))
}

/// The address of the Hub, without a slash at the end.
pub(crate) fn hub_endpoint() -> String {
    text("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()).trim_end_matches('/').to_owned()
}

/// The access token of the Hub, when given.
pub(crate) fn hub_token() -> Option<String> {
    text("HF_TOKEN")
}

/// True when nothing may be fetched.
pub(crate) fn hub_offline() -> bool {
    text("HF_HUB_OFFLINE").is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

/// True when the user wants no colours.
pub(crate) fn no_color() -> bool {
    text("NO_COLOR").is_some()
}

/// The filter of log lines, when given.
pub(crate) fn log_filter() -> Option<String> {
    text("RUST_LOG")
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
