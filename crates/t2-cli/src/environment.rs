//! Every environment variable that t2 reads.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `T2_CACHE` | where decompositions, compiled kernels and the unpacked bundled model are kept |
//! | `HF_HUB_CACHE` (or `HUGGINGFACE_HUB_CACHE`), `HF_HOME` | where downloads are kept, as in every Hugging Face tool |
//! | `HF_TOKEN` (or `HUGGING_FACE_HUB_TOKEN`), `HF_TOKEN_PATH` | the access token of the Hub, or the file it is in |
//! | `HF_ENDPOINT` | the address of the Hub |
//! | `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`) | `1`, `true`, `yes` or `on`: download nothing |
//! | `MIMALLOC_PURGE_DELAY` | milliseconds after which memory that is not used goes back to the system; -1 for never |
//! | `XDG_CACHE_HOME` | where caches are unless a variable above says otherwise |
//! | `NO_COLOR` | plain text, also on a terminal |
//! | `RUST_LOG` | which log lines to show, instead of `-v` |
//!
//! `~` at the start of a folder is the home folder.

#![expect(clippy::disallowed_methods, reason = "this is the one file of t2 that reads the environment")]

use std::path::PathBuf;

use t2_session::{Hub, Sources};

/// The Hub that models come from unless `HF_ENDPOINT` names another.
const HUB: &str = "https://huggingface.co";

/// The folder t2 keeps things in that it can make again; `None` where there is no home folder.
fn cache_dir() -> Option<PathBuf> {
    if let Some(dir) = path("T2_CACHE") {
        return Some(dir);
    }
    let dir = if cfg!(windows) {
        path("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        path("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    Some(dir?.join("t2"))
}

/// Whether the allocator is told by the environment how long it keeps memory.
pub(crate) fn says_how_long_memory_is_kept() -> bool {
    text("MIMALLOC_PURGE_DELAY").is_some()
}

/// The folder of what is compiled for GPUs.
pub(crate) fn kernels() -> Option<PathBuf> {
    cache_dir().map(|dir| dir.join("kernels"))
}

/// What models are taken from, and where they are kept.
pub(crate) fn sources() -> Sources {
    let home = hub_home();
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let token_file = path("HF_TOKEN_PATH").or_else(|| below_home("token"));
    let logged_in = || token_file.and_then(|file| std::fs::read_to_string(file).ok()).and_then(|token| stated(&token));
    Sources {
        cache: cache_dir(),
        hub: Hub {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()).trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(logged_in),
            cache: path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).or_else(|| below_home("hub")),
            offline: text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE")).is_some_and(|text| is_true(&text)),
        },
    }
}

/// The folder that Hugging Face tools keep everything in.
fn hub_home() -> Option<PathBuf> {
    let caches = || path("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    path("HF_HOME").or_else(|| caches().map(|caches| caches.join("huggingface")))
}

/// A switch, as Hugging Face tools read one.
fn is_true(text: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&text.to_lowercase().as_str())
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
    let stated = std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    match (stated.strip_prefix("~"), std::env::home_dir()) {
        (Ok(below), Some(home)) => Some(home.join(below)),
        _ => Some(stated),
    }
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().and_then(|value| stated(&value))
}

/// `text` without the space around it; `None` when nothing is left.
fn stated(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
