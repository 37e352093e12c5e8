//! Text to token ids and back: the tokenizer of a checkpoint and its chat template.

pub mod bpe;
mod special;
pub mod stop;
mod template;
mod tokenizer;
mod vocabulary;

pub use stop::StopStrings;
pub use template::{ChatOptions, ChatTemplate};
pub use tokenizer::{TextStream, Tokenizer, TokenizerError};
pub use vocabulary::gguf::GgufVocabulary;
