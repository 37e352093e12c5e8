//! What comes into the first pass, a query, and what goes out, a choice.

use serde::{Deserialize, Serialize};
use t2_chat::Message;
use t2_model::adapter::Mixture;

/// The answer to the question for the topic that means: none of the experts.
pub const OTHER: &str = "other";

/// A conversation that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The conversation, ending with a turn of the user.
    pub prompt: Vec<Message>,
    /// Seed of the answer, where it is sampled.
    #[serde(default)]
    pub seed: u64,
}

impl Query {
    /// A single question.
    pub fn user(question: impl Into<String>) -> Self {
        Self { prompt: vec![Message::user(question)], seed: 0 }
    }

    /// What the first pass looks at: the turns of the user, a line each.
    pub fn text(&self) -> String {
        let turns = self.prompt.iter().filter(|message| message.role == "user");
        turns.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
    }
}

/// The outcome of the first pass for one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What the second pass runs under.
    pub mixture: Mixture,
    /// The mixture in a word: the name of an expert, `base`, or `mixture`.
    pub label: String,
    /// What the strategy saw, by name: probabilities of the topics, or rewards of the finalists.
    pub scores: Vec<(String, f32)>,
}
