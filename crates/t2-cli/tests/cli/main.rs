//! The built binary, as scripts and people meet it: exit codes, JSON keys, error sentences.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bundled;
mod chats;
mod errors;
mod evaluations;
mod experts;
mod hub;
mod models;
mod reports;
mod runs;
mod support;
