//! Two evaluations of the same examples, side by side.

use std::collections::HashMap;
use std::path::Path;

use t2_rl::evaluate::Comparison;

use super::Examples;
use super::samples::{SampleKey, SampleRecord};
use crate::error::SessionError;

/// Refuse to compare answers to `examples` with `other`, the samples in the file at `path`, before they are given.
///
/// # Errors
///
/// As [`compare`], as far as it can be known.
pub fn comparable(examples: &Examples, other: &[SampleRecord], path: &Path) -> Result<(), SessionError> {
    let (task, split) = (examples.task.name(), examples.split);
    let refuse = |problem| Err(SessionError::NotComparable { path: path.to_owned(), task: task.to_owned(), problem });
    let mut theirs = other.iter().filter(|sample| sample.task == task && sample.split == split).peekable();
    if theirs.peek().is_none() {
        return refuse(format!("it has none to the same questions of the split {split}; name samples of them"));
    }
    let grader = examples.task.grader();
    match theirs.find(|sample| sample.grader != grader) {
        Some(sample) => refuse(other_grader(&grader, &sample.grader)),
        None => Ok(()),
    }
}

fn other_grader(these: &str, those: &str) -> String {
    format!("these are graded by {these} and those by {those}; grade both by the same version")
}

/// The answers `samples` to one task beside those of the file at `path`, which holds `other`. Only what both answered
/// counts. `seed` draws the bootstrap.
///
/// # Errors
///
/// [`SessionError::NotComparable`] where no answer of the other is to the same question, or another grader judged it.
pub fn compare(
    samples: &[SampleRecord],
    other: &[SampleRecord],
    path: &Path,
    seed: u64,
) -> Result<Comparison, SessionError> {
    let task = samples.first().map_or_else(String::new, |sample| sample.task.clone());
    let refuse = |problem: String| SessionError::NotComparable { path: path.to_owned(), task: task.clone(), problem };
    let theirs: HashMap<SampleKey<'_>, &SampleRecord> = other.iter().map(|sample| (sample.key(), sample)).collect();
    if samples.iter().chain(other).any(|sample| sample.repeat > 0) {
        let problem = "there are several answers to a question, which are not independent; compare single ones";
        return Err(refuse(problem.to_owned()));
    }
    let mut pairs = vec![];
    for sample in samples {
        let Some(their) = theirs.get(&sample.key()) else { continue };
        if their.grader != sample.grader {
            return Err(refuse(other_grader(&sample.grader, &their.grader)));
        }
        if their.reference != sample.reference {
            return Err(refuse(format!(
                "the right answer to {} is {:?} here and {:?} there; grade the same data",
                sample.id, sample.reference, their.reference
            )));
        }
        pairs.push((sample.is_right(), their.is_right()));
    }
    if pairs.is_empty() {
        let split = samples.first().map_or_else(String::new, |sample| sample.split.to_string());
        return Err(refuse(format!("it has none to the same questions of the split {split}; name samples of them")));
    }
    Ok(Comparison::of(&pairs, seed))
}
