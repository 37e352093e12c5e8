//! Every family, as a folder of the Hub and as a GGUF file, against what transformers computed of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

#[cfg(test)]
mod converted;
#[cfg(test)]
mod gguf;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod transformers;
