//! Conversations and the question a model is asked when it must name the topic of a prompt.

use serde::{Deserialize, Serialize};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

impl Message {
    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }

    /// A turn of the assistant.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".into(), content: content.into() }
    }
}

/// The user turn that asks which of `topics` (or `other`) `prompt` belongs to.
///
/// Written once because two crates must agree on it: the classification expert is trained on this question and the
/// first pass asks it.
pub fn topic_question(topics: &[&str], prompt: &str) -> String {
    format!("Which topic is this: {}, other?\n{prompt}", topics.join(", "))
}
