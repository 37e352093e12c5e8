//! Two evaluations of the same examples, side by side.

use std::collections::HashMap;
use std::path::Path;

use t2_rl::evaluate::Comparison;

use super::samples::{SampleKey, SampleRecord};
use crate::error::SessionError;

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
    let mut pairs = vec![];
    for sample in samples {
        let Some(their) = theirs.get(&sample.key()) else { continue };
        if their.grader != sample.grader {
            return Err(refuse(format!(
                "these were graded by {} and those by {}; grade both by the same version",
                sample.grader, their.grader
            )));
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
