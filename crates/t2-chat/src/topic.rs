//! The question that asks a model for the topic of a prompt.

/// The user turn that asks which of `topics` (or `other`) the text `prompt` belongs to.
///
/// ```
/// let question = t2_chat::topic_question(&["code", "math"], "What is 2 + 2?");
/// assert_eq!(question, "Which topic is this: code, math, other?\nWhat is 2 + 2?");
/// ```
pub fn topic_question(topics: &[&str], prompt: &str) -> String {
    format!("Which topic is this: {}, other?\n{prompt}", topics.join(", "))
}
