//! Data sets in a temporary folder.

use std::path::Path;

use t2_task::dataset::{DatasetSpec, DatasetTask};
use t2_task::sandbox::SandboxError;
use t2_task::{Example, Settings, Split, Task, TaskError};
use tempfile::TempDir;

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text.as_bytes());
    }
    folder
}

/// Writes a file and the folders that it is in.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A description of questions and answers, with `more` behind it.
pub(crate) fn spec(more: &str) -> DatasetSpec {
    let text = format!("name = 'q'\ngrader = 'exact'\nquestion = '{{{{ q }}}}'\nreference = '{{{{ a }}}}'\n{more}");
    DatasetSpec::parse("q.toml", &text).unwrap()
}

/// The task of a description with the settings that every task has.
pub(crate) fn open(spec: &DatasetSpec, folder: &TempDir) -> DatasetTask {
    spec.open(folder.path(), &Settings::default()).unwrap()
}

/// The examples of a split, or what is wrong.
pub(crate) fn load(spec: &DatasetSpec, folder: &TempDir, split: Split) -> Result<Vec<Example>, TaskError> {
    spec.open(folder.path(), &Settings::default())?.load(split, usize::MAX)
}

/// The questions of a split.
pub(crate) fn questions(spec: &DatasetSpec, folder: &TempDir, split: Split) -> Vec<String> {
    load(spec, folder, split).unwrap().into_iter().map(|example| example.question).collect()
}

/// The rewards; none, with a note, where programs are to be run on a machine without Python, or on one for which there is
/// no sandbox.
pub(crate) fn rewards(task: &DatasetTask, graded: &[(&Example, &str)]) -> Option<Vec<f32>> {
    match task.rewards(graded) {
        Ok(rewards) => Some(rewards),
        Err(error @ TaskError::Sandbox(SandboxError::NoPython { .. } | SandboxError::Unsupported { .. })) => {
            println!("{} is skipped: {error}", task.name());
            None
        }
        Err(error) => panic!("{}: {error}", task.name()),
    }
}
