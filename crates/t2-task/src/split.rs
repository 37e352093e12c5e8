//! Parts of a task: to learn from, to choose settings by, to report.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TaskError;

/// Which part of a task's questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from; 85 % where the hash of the question decides.
    Train,
    /// To choose settings by; 5 % where the hash of the question decides.
    Valid,
    /// To report; 10 % where the hash of the question decides.
    Test,
    /// All questions, whichever part they belong to: for files too small to be split. What is reported on them must not
    /// have been learned from.
    All,
}

impl Split {
    /// Every split, in the order in which help texts list them.
    pub const EVERY: [Self; 4] = [Self::Train, Self::Valid, Self::Test, Self::All];

    /// Whether `question` belongs to this split.
    pub fn holds(self, question: &str) -> bool {
        self == Self::All || self == Self::of(question)
    }

    /// The part that `question` belongs to, by its hash: a question can never move from one part to another.
    pub fn of(question: &str) -> Self {
        let hash = blake3::hash(question.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        match u32::from_le_bytes([a, b, c, d]) % 20 {
            0 | 1 => Split::Test,
            2 => Split::Valid,
            _ => Split::Train,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
            Split::All => "all",
        })
    }
}

impl FromStr for Split {
    type Err = TaskError;

    fn from_str(name: &str) -> Result<Self, TaskError> {
        let known = Self::EVERY.into_iter().find(|split| split.to_string() == name);
        known.ok_or_else(|| TaskError::UnknownSplit { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_names_round_trip() {
        for split in Split::EVERY {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
            assert_eq!(serde_json::to_string(&split).unwrap(), format!("\"{split}\""));
        }
        assert!("dev".parse::<Split>().unwrap_err().to_string().contains("train, valid, test or all"));
    }

    #[test]
    fn a_question_is_in_its_part_and_in_all() {
        let question = "2 + 2?";
        let holding: Vec<Split> = Split::EVERY.into_iter().filter(|split| split.holds(question)).collect();
        assert_eq!(holding, [Split::of(question), Split::All]);
    }
}
