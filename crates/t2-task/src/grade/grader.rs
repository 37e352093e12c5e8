//! What a grader is and what it says: every grader of text that has a name, with its version.
//!
//! A verdict means something only beside the rule that gave it. So a grader has a version, which goes up with every
//! change that can turn a verdict, and `gsm8k@1` is kept with each sample.

use std::fmt;

use serde::Serialize;

use super::{exact_match, gsm8k, likelihood, math, multiple_choice, paper, words};
use crate::task::reward;

/// Every grader that needs nothing but text, in the order in which help texts list them.
pub const GRADERS: &[Grader] = &[
    Grader { info: gsm8k::GSM8K, run: |reference, _, completion| gsm8k(reference, completion) },
    Grader { info: gsm8k::GSM8K_COT, run: |reference, _, completion| gsm8k::gsm8k_cot(reference, completion) },
    Grader {
        info: gsm8k::GSM8K_COT_LLAMA,
        run: |reference, _, completion| gsm8k::gsm8k_cot_llama(reference, completion),
    },
    Grader { info: math::MATH, run: |reference, _, completion| math(reference, completion) },
    Grader { info: multiple_choice::CHOICE, run: multiple_choice::choice },
    Grader { info: words::FINAL, run: |reference, _, completion| words::arrived(reference, completion) },
    Grader { info: exact_match::EXACT, run: |reference, _, completion| exact_match::exact(reference, completion) },
    Grader { info: words::YES_NO, run: |reference, _, completion| words::yes_no(reference, completion) },
    Grader { info: words::TOPIC, run: |reference, _, completion| words::topic(reference, completion) },
    Grader { info: paper::GSM8K, run: |reference, _, completion| paper::gsm8k(reference, completion) },
    Grader { info: paper::MATH, run: |reference, _, completion| paper::math(reference, completion) },
    Grader { info: paper::ARC, run: paper::arc },
];

/// What grades programs: by running them, see [`sandbox`](crate::sandbox). It is no function of text, so it is not in
/// [`GRADERS`].
pub const PROGRAM: GraderInfo =
    GraderInfo { name: "program", version: 1, about: "a Python program, run against hidden tests in the sandbox" };

/// What grades choices by how likely the model finds them: [`likelihood`]. It needs a model, so it is not in
/// [`GRADERS`].
///
/// [`likelihood`]: likelihood::likelihood
pub const LIKELIHOOD: GraderInfo = likelihood::LIKELIHOOD;

/// The grader called `name`.
pub fn grader(name: &str) -> Option<&'static Grader> {
    GRADERS.iter().find(|grader| grader.info.name == name)
}

/// A grader of text: a pure function with a name and a version.
#[derive(Clone, Copy, Debug)]
pub struct Grader {
    /// What it is called.
    pub info: GraderInfo,
    run: fn(&str, &[String], &str) -> Grade,
}

impl Grader {
    /// What this grader says of `completion`, where `reference` is a right answer in full, and `choices` those of a
    /// multiple-choice question (else none).
    pub fn grade(&self, reference: &str, choices: &[String], completion: &str) -> Grade {
        (self.run)(reference, choices, completion)
    }
}

/// Name and version of a grader. As text it is what is kept with every sample: `gsm8k@1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GraderInfo {
    /// The name in files and help texts.
    pub name: &'static str,
    /// Goes up with every change that can turn a verdict.
    pub version: u32,
    /// One line for help texts and docs.
    pub about: &'static str,
}

impl fmt::Display for GraderInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What a grader says of one answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grade {
    /// What the answer is worth.
    pub reward: f32,
    /// What the grader took for the answer, where it looks for one.
    pub extracted: Option<String>,
    /// Whether that is right, by each metric of the grader; the first one is what rewards and reports count. Metrics of
    /// another project have the names that it reports them by.
    pub metrics: Vec<(&'static str, bool)>,
    /// Why not, where the grader can say: how a program failed.
    pub why: Option<String>,
}

impl Grade {
    /// Whether the answer is right by the metric that counts.
    pub fn is_right(&self) -> bool {
        self.metrics.first().is_some_and(|(_, right)| *right)
    }

    /// Whether the answer is right by the metric called `name`; `None` where the grader has no such metric.
    pub fn metric(&self, name: &str) -> Option<bool> {
        self.metrics.iter().find(|(metric, _)| *metric == name).map(|(_, right)| *right)
    }

    /// Of `metrics`, at least one: the answer is worth what the first says.
    pub fn new(extracted: Option<String>, metrics: impl Into<Vec<(&'static str, bool)>>) -> Self {
        let metrics = metrics.into();
        let right = metrics.first().is_some_and(|&(_, right)| right);
        Self { reward: reward(right), extracted, metrics, why: None }
    }

    /// Of a reward: right where it is more than 0.
    pub fn of_reward(reward: f32) -> Self {
        Self { reward, ..Self::new(None, [("acc", reward > 0.0)]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for wanted in GRADERS {
            let found: Vec<_> = GRADERS.iter().filter(|grader| grader.info.name == wanted.info.name).collect();
            assert_eq!(found.len(), 1, "{}", wanted.info);
            assert_eq!(grader(wanted.info.name).map(|grader| grader.info), Some(wanted.info));
        }
        assert!(grader("gsm9k").is_none());
    }

    #[test]
    fn a_grader_is_kept_with_its_version() {
        assert_eq!(gsm8k::GSM8K.to_string(), "gsm8k@1");
    }

    #[test]
    fn every_grader_survives_a_text_without_end() {
        let choices = ["yes".to_owned(), "no".to_owned()];
        for part in ["{", "-", "\\boxed{", "(", "[", "\\sqrt", "the answer is ", "is ", "1,", "```\n"] {
            let text = format!("the answer is {}", part.repeat(20_000));
            for grader in GRADERS {
                for (reference, completion) in [("A", text.as_str()), (&text, &text)] {
                    let grade = grader.grade(reference, &choices, completion);
                    assert!(!grade.metrics.is_empty(), "{} has no metric", grader.info);
                }
            }
        }
    }

    #[test]
    fn every_grader_survives_any_text() {
        let choices = ["yes".to_owned(), String::new()];
        let texts =
            ["", " ", "\\boxed{", "\\boxed{}", "$$", "\\frac", "\\sqrt", "^", "((((", "}", "####", "é\u{301}\0", "A"];
        for grader in GRADERS {
            for (reference, completion) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
                let grade = grader.grade(reference, &choices, completion);
                assert!(!grade.metrics.is_empty(), "{} has no metric", grader.info);
            }
        }
    }
}
