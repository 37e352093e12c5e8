//! Text to token ids and back: the tokenizer of a checkpoint and its chat template.

pub mod bpe;
mod special;
mod template;
mod tokenizer;

pub use tokenizer::{TextStream, Tokenizer, TokenizerError};
