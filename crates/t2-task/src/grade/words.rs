//! Answers that are words, or whatever their reference is: yes or no, a topic, a final answer.

use super::exact_match::ExactMatch;
use super::grader::{Grade, GraderInfo};
use super::python;

/// A number, a letter or a text, as the reference is.
pub(crate) const FINAL: GraderInfo = GraderInfo {
    name: "final",
    version: 1,
    about: "the final answer: a number, a letter or a text, as the reference is",
};
/// Yes or no.
pub(super) const YES_NO: GraderInfo = GraderInfo { name: "yes-no", version: 1, about: "yes or no, true or false" };
/// The first word.
pub(super) const TOPIC: GraderInfo = GraderInfo { name: "topic", version: 1, about: "the first word" };

/// Grades the [final answer](super::same_final_answer) of a text.
pub(super) fn arrived(reference: &str, completion: &str) -> Grade {
    let found = super::final_answer(reference, completion);
    Grade::new(found, [("final_answer", super::same_final_answer(reference, completion))])
}

/// Grades a decision: what a text announces, else what it opens with, else the one thing that it says, where `yes` is
/// `true` and `no` is `false`. The metric `exact_match` is whether all of the text is the reference, but for capitals,
/// punctuation and white space around it. It is ours: that of the task `boolq-seq2seq` of lm-evaluation-harness wants the
/// space that stands before the word.
pub fn yes_no(reference: &str, completion: &str) -> Grade {
    let (wanted, found) = (decision(reference), decided(completion));
    let loosely = ExactMatch { ignore_case: true, ignore_punctuation: true };
    let name = |decision| if decision { "yes" } else { "no" };
    Grade::new(
        found.map(|found| name(found).into()),
        [
            ("decision", found.is_some() && found == wanted),
            ("exact_match", loosely.same(python::strip(reference), python::strip(completion))),
        ],
    )
}

/// Grades the first word of a text, without regard to capitals and to signs around it.
pub fn topic(reference: &str, completion: &str) -> Grade {
    let first = completion.split_whitespace().next().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let right = first.is_some_and(|first| first.eq_ignore_ascii_case(reference));
    Grade::new(first.map(Into::into), [("first_word", right)])
}

fn decision(word: &str) -> Option<bool> {
    match word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn decided(text: &str) -> Option<bool> {
    let said = || {
        let mut said = text.split_whitespace().filter_map(decision);
        let first = said.next()?;
        said.all(|other| other == first).then_some(first)
    };
    super::choice::announced_word(text)
        .and_then(|word| decision(&word))
        .or_else(|| text.split_whitespace().next().and_then(decision))
        .or_else(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_found() {
        #[track_caller]
        fn check(text: &str, expected: Option<bool>) {
            assert_eq!(decided(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("yes", Some(true)),
            ("False.", Some(false)),
            ("**No**, there is no such thing: that is true.", Some(false)),
            ("the correct answer is true", Some(true)),
            ("It is true of some. The answer is no.", Some(false)),
            ("So it is false.", Some(false)),
            ("It may be true or false.", None),
            ("I know nothing.", None),
            ("", None),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn a_topic_is_the_first_word() {
        assert!(topic("math", " Math, of course").is_right());
        assert!(!topic("math", "I say math").is_right());
    }
}
