#![doc = include_str!("../README.md")]

mod message;
mod topic;

pub use message::Message;
pub use topic::topic_question;
