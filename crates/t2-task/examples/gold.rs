//! Grades the right answer of every row of a folder of data sets, and counts what is graded right.
//!
//! `cargo run --package t2-task --example gold -- FOLDER [DESCRIPTIONS]`
//!
//! A shipped data set is looked for in the folder of its name below FOLDER. DESCRIPTIONS is a folder of further TOML
//! files, whose paths are those below FOLDER; `crates/t2-task/examples/gold` has some, which say where their data is from.
//! A data set that is not there is passed over, and says so.

#![expect(clippy::print_stdout, reason = "an example shows its figures")]

use std::path::{Path, PathBuf};

use t2_task::dataset::{DatasetError, DatasetSpec, SPECS, shipped};
use t2_task::{RIGHT, Settings, Split, Task, TaskError};

fn main() -> Result<(), TaskError> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(folder) = arguments.next() else {
        println!("name a folder of data sets: gold FOLDER [DESCRIPTIONS]");
        return Ok(());
    };
    let (folder, descriptions) = (Path::new(&folder), arguments.next());
    for (name, _) in SPECS {
        let spec = shipped(name).expect("a shipped description is right");
        count(&spec, &folder.join(name))?;
    }
    let mut files: Vec<PathBuf> =
        descriptions.iter().flat_map(std::fs::read_dir).flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    for file in files {
        count(&DatasetSpec::read(file)?, folder)?;
    }
    Ok(())
}

/// Prints, for each split, how many rows there are and how many right answers are graded right; shows some that are not.
fn count(spec: &DatasetSpec, folder: &Path) -> Result<(), TaskError> {
    let task = spec.open(folder, &Settings::default())?;
    for split in [Split::Train, Split::Valid, Split::Test] {
        let examples = match task.load(split, usize::MAX) {
            Ok(examples) => examples,
            Err(TaskError::Dataset(DatasetError::NoSplit { .. })) => continue,
            Err(TaskError::Dataset(DatasetError::NoFile { name, .. })) => {
                println!("{name:<60} {split:<6} is not there");
                continue;
            }
            Err(error) => return Err(error),
        };
        let graded: Vec<_> = examples.iter().map(|example| (example, example.reference.as_str())).collect();
        let rewards = task.rewards(&graded)?;
        let wrong: Vec<_> = examples.iter().zip(rewards).filter(|(_, reward)| *reward != RIGHT).collect();
        println!("{:<60} {split:<6} {:>5} of {:>5}", task.name(), examples.len() - wrong.len(), examples.len());
        for (example, _) in wrong.iter().take(3) {
            println!("    {} is graded wrong: {:?}", example.id, example.reference);
        }
    }
    Ok(())
}
