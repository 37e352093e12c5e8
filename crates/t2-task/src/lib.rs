#![doc = include_str!("../README.md")]

pub mod grade;
pub mod jsonl;
pub mod sandbox;
mod task;
pub mod tiny;

pub use t2_chat::Message;
pub use task::{Example, RIGHT, Split, TASKS, Task, TaskError, WRONG, find, reward};
