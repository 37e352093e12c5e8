#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod architecture;
pub mod bpe;
pub mod cache;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod decomposition;
pub mod expert;
pub mod files;
pub mod generate;
pub mod mix;
mod paths;
pub mod rope;
pub mod sample;
pub mod score;
pub mod svf;
pub mod tokenizer;
