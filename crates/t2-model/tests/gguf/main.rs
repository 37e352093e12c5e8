//! GGUF: the numbers of its blocks, its container, and writing it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(test)]
mod config;
#[cfg(test)]
mod container;
#[cfg(test)]
mod describe;
#[cfg(test)]
mod load;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod quant;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod tokenizer;
#[cfg(test)]
mod vocabulary;
#[cfg(test)]
mod write;
