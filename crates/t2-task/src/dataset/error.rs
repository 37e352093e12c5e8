//! What can go wrong with a data set: its description, its files, a row.

use std::fmt;
use std::path::PathBuf;

/// Where in a file something is. What a person opens in an editor has lines; Parquet has rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, counted from 1.
    Line(usize),
    /// A row, counted from 1, without the heading.
    Row(usize),
}

impl fmt::Display for Place {
    /// What follows the path of the file: `:3`, or ` (row 3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, ":{line}"),
            Self::Row(row) => write!(f, " (row {row})"),
        }
    }
}

/// What can go wrong with a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A description is no TOML, has a key that it may not have, or lacks one.
    #[error("the data set {name}: {problem}")]
    Spec {
        /// The name of the task, or the path of its TOML file.
        name: String,
        /// What is wrong, what is expected, and the way out.
        problem: String,
    },
    /// A file could not be read.
    #[error("{} could not be read; expected {expected}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row is broken, or does not fit the description.
    #[error("{}{place}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: Place,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// The data set has no such split.
    #[error("{name} has no {split} split; it has {has}, and `all` takes every row of them")]
    NoSplit {
        /// The task.
        name: String,
        /// The split that was asked for.
        split: String,
        /// The splits there are.
        has: String,
    },
    /// It was not said where the files are.
    #[error("{name} needs a folder with its files; those of {hub} on the Hugging Face Hub will do")]
    NoFolder {
        /// The task.
        name: String,
        /// The data set of the Hub that has the files.
        hub: String,
    },
    /// None of the files of a split is there.
    #[error(
        "{name} has no file for its {split} split in {}; expected {wanted}: download the data set, or name the folder \
         that has it",
        folder.display()
    )]
    NoFile {
        /// The task.
        name: String,
        /// The split.
        split: String,
        /// Where was looked.
        folder: PathBuf,
        /// The names that would do.
        wanted: String,
    },
    /// The task is asked in no such way.
    #[error("{name} has no variant `{variant}`; use one of {known}")]
    NoVariant {
        /// The task.
        name: String,
        /// The variant that was asked for.
        variant: String,
        /// The variants there are.
        known: String,
    },
    /// There are fewer examples to show than were asked for.
    #[error(
        "{name} has {has} examples to show before a question, and {asked} were asked for; ask for fewer shots, or write \
         some as `[[shots]]`"
    )]
    FewShots {
        /// The task.
        name: String,
        /// The examples there are.
        has: usize,
        /// The examples that were asked for.
        asked: usize,
    },
}
