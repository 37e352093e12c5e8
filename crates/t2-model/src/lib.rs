#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod adapter;
pub mod architecture;
pub mod checkpoint;
pub mod decoder;
pub mod decomposition;
pub mod export;
pub mod files;
pub mod footprint;
pub mod format;
pub mod generate;
mod hash;
pub mod import;
mod paths;
pub mod text;

pub use adapter::{Active, Bank, Expert, ExpertInfo, Mixture, RowScales};
pub use burn;
pub use checkpoint::Checkpoint;
pub use decoder::{CausalLm, Decoder, DecoderConfig, LmShape};
pub use decomposition::{DecomposeOptions, Decomposition, Targets};
pub use footprint::Footprint;
pub use generate::{Completion, GenerateConfig, Prompts, Sampling, generate};
pub use hash::Hash;
pub use t2_chat::Message;
pub use text::Tokenizer;
