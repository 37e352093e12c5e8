//! What a task is: examples, how to ask them, how to reward an answer.
//!
//! A task is text only: it knows no tokens and no tensors. To add one, write a file and add a line to [`TASKS`].

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use t2_chat::Message;

use crate::jsonl::JsonlTask;
use crate::tiny;

/// The reward of a right answer.
pub const RIGHT: f32 = 1.0;
/// The reward of a wrong answer.
pub const WRONG: f32 = -1.0;

/// Every task that ships with the crate, in the order in which help texts list them.
pub const TASKS: &[&dyn Task] = tiny::TASKS;

/// The reward of a verdict: [`RIGHT`] or [`WRONG`].
pub fn reward(right: bool) -> f32 {
    if right { RIGHT } else { WRONG }
}

/// The reward of each completion, from whether it is right.
pub(crate) fn reward_each(
    graded: &[(&Example, &str)],
    right: impl Fn(&Example, &str) -> bool,
) -> Result<Vec<f32>, TaskError> {
    Ok(graded.iter().map(|(example, completion)| reward(right(example, completion))).collect())
}

/// The task called `name`, or the questions of a file when `name` ends in `.jsonl`.
///
/// # Errors
///
/// [`TaskError::Unknown`] lists the known names; [`TaskError::Read`] and [`TaskError::Line`] say what is wrong with a
/// file.
pub fn find(name: &str) -> Result<Box<dyn Task>, TaskError> {
    if name.ends_with(".jsonl") {
        return Ok(Box::new(JsonlTask::open(name)?));
    }
    match TASKS.iter().find(|task| task.name() == name) {
        Some(task) => Ok(Box::new(*task)),
        None => Err(TaskError::Unknown { name: name.into(), known: known_names() }),
    }
}

fn known_names() -> String {
    let names: Vec<&str> = TASKS.iter().map(Task::name).collect();
    names.join(", ")
}

/// Questions with rewards for their answers.
pub trait Task: Send + Sync {
    /// The name on the command line.
    fn name(&self) -> &str;

    /// One line for `--help` and the docs; empty unless a task says something.
    fn about(&self) -> &str {
        ""
    }

    /// The first `limit` examples of a split, always in the same order; fewer when the split has fewer.
    ///
    /// # Errors
    ///
    /// Says which file or line could not be read.
    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError>;

    /// The conversation that asks `example`: one user turn with the question unless a task says otherwise.
    fn prompt(&self, example: &Example) -> Vec<Message> {
        vec![Message::user(&example.question)]
    }

    /// What the grader takes for the answer in `completion`; `None` when it finds none, or judges the whole text. It is
    /// kept with every sample, so that a verdict can be understood.
    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        let _ = (example, completion);
        None
    }

    /// One reward per completion: [`RIGHT`] or [`WRONG`].
    ///
    /// A batch, because starting one interpreter for many programs is much cheaper than one for each.
    ///
    /// # Errors
    ///
    /// Where programs are graded: [`TaskError::NoPython`] when no interpreter was found, [`TaskError::Sandbox`] and
    /// [`TaskError::Untrusted`] when its verdicts are incomplete or cannot be relied on.
    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError>;
}

impl Task for &dyn Task {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn about(&self) -> &str {
        (**self).about()
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        (**self).load(split, limit)
    }

    fn prompt(&self, example: &Example) -> Vec<Message> {
        (**self).prompt(example)
    }

    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        (**self).extract(example, completion)
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        (**self).rewards(graded)
    }
}

/// One question of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Example {
    /// What the model is asked.
    pub question: String,
    /// A right answer, in full.
    pub answer: String,
    /// Hidden Python `assert` lines that a program must pass; empty for tasks that are not about programs.
    #[serde(default)]
    pub checks: Vec<String>,
}

impl Example {
    /// A question without hidden checks.
    pub fn new(question: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { question: question.into(), answer: answer.into(), checks: vec![] }
    }
}

/// Which part of a task's questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// 85 % of the questions, to learn from.
    Train,
    /// 5 % of the questions, to choose settings by.
    Valid,
    /// 10 % of the questions, to report.
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

/// What can go wrong with a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// No task has this name.
    #[error("there is no task `{name}`; use one of {known}, or the path of a .jsonl file")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// No split has this name.
    #[error("there is no split `{name}`; use train, valid, test or all")]
    UnknownSplit {
        /// The name asked for.
        name: String,
    },
    /// A file of questions could not be read.
    #[error("{} could not be read; expected a file with one JSON object a line", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a file of questions is broken.
    #[error(
        "{}:{line}: {problem}; expected a line such as {{\"question\": \"2 + 2?\", \"answer\": \"4\"}}",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        problem: String,
    },
    /// A task of the user's own failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// No Python interpreter was found.
    #[error(
        "python3 was not found on the PATH, so programs cannot be graded: tiny-code and tiny-code-hard are skipped; \
         install Python 3.8 or newer (`apt install python3`) to run them"
    )]
    NoPython,
    /// The Python driver did not give a verdict on every program.
    #[error(
        "the sandbox graded {graded} of {asked} programs and stopped: {detail}; it needs Python 3.8 or newer on Unix"
    )]
    Sandbox {
        /// Programs with a verdict.
        graded: usize,
        /// Programs handed in.
        asked: usize,
        /// The end of what the interpreter wrote to its standard error, or what the system said.
        detail: String,
    },
    /// A program could not be run under its limits, or a program whose verdict is known got the wrong one.
    #[error(
        "nothing was graded, because the sandbox cannot be trusted here: {fault}; it needs a python3 on the PATH that is \
         Python 3.8 or newer, on a system that lets a process limit itself (`ulimit -H -a` shows what it allows)"
    )]
    Untrusted {
        /// What went wrong.
        fault: String,
    },
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

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = find("gsm8k").err().unwrap().to_string();
        assert!(error.contains("`gsm8k`"), "{error}");
        for task in TASKS {
            assert!(error.contains(task.name()), "{error}");
            assert_eq!(find(task.name()).unwrap().name(), task.name());
        }
    }
}
