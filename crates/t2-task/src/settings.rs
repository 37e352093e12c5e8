//! How a task is asked, where that differs from what the task says itself.

use std::path::PathBuf;

use crate::sandbox::Walls;

/// How a task is asked. The generated tasks have one way only, and take the walls alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The way to ask; `plain` where none is named.
    pub variant: Option<String>,
    /// How many examples are shown before a question; as many as the variant says where there is no number.
    pub shots: Option<usize>,
    /// What they are drawn by; what the variant says where there is none.
    pub seed: Option<u64>,
    /// The folder that has the files of a data set; that of its description, where the description is a file.
    pub data: Option<PathBuf>,
    /// What stands between generated programs and the machine.
    pub walls: Walls,
}
