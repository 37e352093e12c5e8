//! Answers that must match as text, by the metric `exact_match` of lm-evaluation-harness.

use super::grader::{Grade, GraderInfo};
use super::python;

/// Text that must match.
pub(super) const EXACT: GraderInfo =
    GraderInfo { name: "exact", version: 1, about: "text that matches, apart from white space around it" };

/// Whether `completion` is `reference`, white space around both apart. Further metrics pass over capitals, and over
/// punctuation too. Their names are ours: in lm-evaluation-harness these are options of a task, which reports
/// `exact_match` whatever it sets.
pub fn exact(reference: &str, completion: &str) -> Grade {
    let (reference, completion) = (python::strip(reference), python::strip(completion));
    let same = |options: ExactMatch| options.same(reference, completion);
    let plain = ExactMatch::default();
    let ignore_case = ExactMatch { ignore_case: true, ..plain };
    Grade::new(
        Some(completion.into()),
        [
            ("exact_match", same(plain)),
            ("exact_match,ignore_case", same(ignore_case)),
            ("exact_match,ignore_punctuation", same(ExactMatch { ignore_punctuation: true, ..ignore_case })),
        ],
    )
}

/// What the metric passes over: options of `exact_match` in lm-evaluation-harness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExactMatch {
    /// Capitals.
    pub ignore_case: bool,
    /// The punctuation of ASCII.
    pub ignore_punctuation: bool,
}

impl ExactMatch {
    /// Whether two texts are the same but for what is passed over.
    pub fn same(self, a: &str, b: &str) -> bool {
        self.plain(a) == self.plain(b)
    }

    fn plain(self, text: &str) -> String {
        let text = if self.ignore_case { text.to_lowercase() } else { text.into() };
        text.chars().filter(|c| !(self.ignore_punctuation && python::is_punctuation(*c))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_matches_as_loosely_as_the_metric_says() {
        #[track_caller]
        fn check(reference: &str, completion: &str, right: [bool; 3]) {
            let metrics: Vec<bool> = exact(reference, completion).metrics.iter().map(|(_, right)| *right).collect();
            assert_eq!(metrics, right, "{reference:?} against {completion:?}");
        }
        for (reference, completion, right) in [
            ("Paris", "Paris", [true, true, true]),
            ("Paris", " Paris\n", [true, true, true]),
            ("Paris", "paris", [false, true, true]),
            ("Paris", "paris.", [false, false, true]),
            ("Paris", "Paris, France", [false, false, false]),
            ("ÉTÉ", "été", [false, true, true]),
            ("a b", "a  b", [false, false, false]),
            ("«x»", "x", [false, false, false]),
        ] {
            check(reference, completion, right);
        }
    }
}
