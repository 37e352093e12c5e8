//! One question of a task, with what it takes to grade an answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sandbox::Tests;

/// One question of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Example {
    /// What names the example within its task and split: an id of its file, else its place, from 0.
    pub id: String,
    /// What the model is asked.
    pub question: String,
    /// A right answer, in full; of a multiple-choice question the letter of the right choice.
    pub reference: String,
    /// The choices of a multiple-choice question, in the order of their letters; empty for others.
    #[serde(default)]
    pub choices: Vec<String>,
    /// What a program must pass; `None` for tasks that are not about programs.
    #[serde(default)]
    pub tests: Option<Tests>,
    /// What else the data set says of it, such as its level or subject.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
}

impl Example {
    /// A question whose answer is a text.
    pub fn new(question: impl Into<String>, reference: impl Into<String>) -> Self {
        Self { question: question.into(), reference: reference.into(), ..Self::default() }
    }

    /// A question whose answer is a program that must pass `tests`.
    pub fn program(question: impl Into<String>, reference: impl Into<String>, tests: Tests) -> Self {
        Self { tests: Some(tests), ..Self::new(question, reference) }
    }
}
