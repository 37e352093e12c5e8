#![doc = include_str!("../README.md")]

pub mod dataset;
mod error;
mod example;
pub mod grade;
pub mod jsonl;
pub mod sandbox;
mod settings;
mod split;
mod task;
pub mod tiny;

pub use error::TaskError;
pub use example::Example;
pub use grade::Grade;
pub use sandbox::Tests;
pub use settings::Settings;
pub use split::Split;
pub use t2_chat::Message;
pub use task::{AnswerBy, Answering, AsText, RIGHT, TASKS, Task, WRONG, find, reward};
