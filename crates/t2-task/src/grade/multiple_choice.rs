//! One of some choices, named by a generated letter.

use std::sync::LazyLock;

use regex::Regex;

use super::exact_match::ExactMatch;
use super::grader::{Grade, GraderInfo};
use super::python;

/// A letter, as people write it.
pub(super) const CHOICE: GraderInfo =
    GraderInfo { name: "choice", version: 1, about: "the letter of a choice, or its text, as people write it" };

/// Grades a text that chooses: `reference` is the letter of the right one of `choices`.
///
/// The metric that counts, `letter`, is ours: the choice whose very text is given, else the letter that a text marks,
/// announces, opens with or names last (see [`final_letter`](super::final_letter)), else the choice whose text it
/// announces. Two are of lm-evaluation-harness: `exact_match,remove_whitespace` of `arc_challenge_chat`, where all of the
/// text must be the letter (the task puts words into the model's mouth so that it is), and `exact_match,flexible-extract`
/// of `mmlu_flan_cot_zeroshot`, which takes the last letter in parentheses, else the last choice whose text occurs, else
/// the last letter behind a colon.
pub fn choice(reference: &str, choices: &[String], completion: &str) -> Grade {
    let said = super::final_text(completion).unwrap_or_default();
    let quoted_alone = quoted(choices, completion).filter(|_| !is_letter(completion));
    let chosen = quoted_alone.or_else(|| super::final_letter(completion)).or_else(|| quoted(choices, said));
    let loosely = ExactMatch { ignore_case: true, ignore_punctuation: true };
    let flexible = flexible(choices, completion);
    Grade::new(
        chosen.map(Into::into),
        [
            ("letter", chosen.is_some() && chosen == super::choice::reference_letter(reference)),
            ("exact_match,remove_whitespace", loosely.same(reference, python::strip(completion))),
            ("exact_match,flexible-extract", loosely.same(reference, &flexible)),
        ],
    )
}

/// The letter of the choice at an index from 0.
pub(super) fn letter(index: usize) -> char {
    u32::try_from(index).ok().and_then(|index| char::from_u32(u32::from('A') + index)).unwrap_or('?')
}

/// Which choice a letter means, from 0.
pub(super) fn index(letter: &str) -> Option<usize> {
    let letter = super::choice::reference_letter(letter)?;
    Some(usize::from(u8::try_from(letter).ok()? - b'A'))
}

fn is_letter(text: &str) -> bool {
    matches!(text.trim().as_bytes(), [letter] if letter.is_ascii_alphabetic())
}

/// The letter of the one choice whose text is what is said, to the letter or else but for capitals and signs around it.
fn quoted(choices: &[String], said: &str) -> Option<char> {
    let only = |same: &dyn Fn(&str) -> bool| {
        let mut same = choices.iter().enumerate().filter(|(_, choice)| same(choice));
        let (index, _) = same.next()?;
        same.next().is_none().then(|| letter(index))
    };
    let plain = super::bare(said);
    only(&|choice| choice.trim() == said.trim()).or_else(|| only(&|choice| super::bare(choice) == plain))
}

/// The filter `multi_choice_regex` of lm-evaluation-harness, as `mmlu_flan_cot_zeroshot` sets it.
fn flexible(choices: &[String], completion: &str) -> String {
    static LETTER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\([A-Z]\)").expect("the pattern is a regular expression"));
    let parenthesised = LETTER.find_iter(completion).last().map(|found| found.as_str().to_owned());
    let letter = parenthesised
        .or_else(|| last_choice(choices, &plain(completion)))
        .or_else(|| last_behind_colon(choices.len(), completion));
    letter.unwrap_or_else(|| "[invalid]".into())
}

/// Small letters without the punctuation of any script.
fn plain(text: &str) -> String {
    static PUNCTUATION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\p{P}").expect("the pattern is a regular expression"));
    PUNCTUATION.replace_all(&text.to_lowercase(), "").into_owned()
}

/// The letter, in parentheses, of the choice that occurs last in a plain text, where occurrences do not overlap and of
/// those at one place the longest counts. A choice that has no text left is found at the end of any text, and hides the
/// others. One that is left with white space around it is found and not known: then it is its own text.
fn last_choice(choices: &[String], text: &str) -> Option<String> {
    let plain: Vec<String> = choices.iter().map(|choice| plain(python::strip(choice))).collect();
    let mut longest_first: Vec<&String> = plain.iter().collect();
    longest_first.sort_by_key(|choice| std::cmp::Reverse(choice.chars().count()));
    let (mut rest, mut last) = (text, longest_first.iter().find(|choice| choice.is_empty()).copied());
    let hidden = last.is_some();
    while let Some(next) = rest.chars().next().filter(|_| !hidden) {
        let found = longest_first.iter().find(|choice| rest.starts_with(choice.as_str()));
        last = found.copied().or(last);
        rest = &rest[found.map_or(next.len_utf8(), |choice| choice.len())..];
    }
    let found = python::strip(last?);
    let letter = plain.iter().rposition(|choice| choice == found).map(|index| format!("({})", letter(index)));
    letter.or_else(|| Some(found.to_owned())).filter(|_| !found.is_empty())
}

/// The last letter of a choice that stands behind a colon, in parentheses.
fn last_behind_colon(choices: usize, text: &str) -> Option<String> {
    let letters: Vec<char> = (0..choices).map(letter).collect();
    let after_colons = text.rsplit(':').take(text.matches(':').count());
    let mut found = after_colons.filter_map(|after| after.trim_start_matches(python::is_space).chars().next());
    found.find(|letter| letters.contains(letter)).map(|letter| format!("({letter})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, right: [bool; 3]) {
        let choices = ["red", "a dark blue", "blue"].map(Into::into);
        let metrics: Vec<bool> = choice("C", &choices, completion).metrics.iter().map(|(_, right)| *right).collect();
        assert_eq!(metrics, right, "{completion:?}");
    }

    #[test]
    fn a_letter_chooses() {
        for (completion, right) in [
            ("C", [true, true, false]),
            (" c. ", [true, true, false]),
            ("(C)", [true, true, true]),
            ("The answer is C.", [true, false, false]),
            ("The answer: C", [true, false, true]),
            ("(A) is wrong, so (C)", [true, false, true]),
            ("I pick (C), as (A) is red", [true, false, false]),
            ("(B)", [false, false, false]),
            ("I cannot say.", [false, false, false]),
            ("", [false, false, false]),
        ] {
            check(completion, right);
        }
    }

    #[test]
    fn the_text_of_a_choice_chooses_it() {
        for (completion, right) in [
            ("Blue!", [true, false, true]),
            ("The answer is blue.", [true, false, true]),
            ("a dark blue", [false, false, false]),
            ("Is it blue or red?", [false, false, false]),
            ("Not red but blue", [false, false, true]),
        ] {
            check(completion, right);
        }
    }

    #[test]
    fn choices_with_one_text_are_not_told_apart_by_it() {
        assert_eq!(quoted(&["x".into(), "X".into()], "x."), None);
        assert_eq!(quoted(&["x".into(), "y".into()], "X."), Some('A'));
        assert_eq!(quoted(&["RR".into(), "Rr".into()], "Rr"), Some('B'));
    }

    #[test]
    fn letters_and_places_are_one() {
        for (at, name) in ["A", "B", "C", "D", "E"].iter().enumerate() {
            assert_eq!((letter(at).to_string().as_str(), index(name)), (*name, Some(at)));
        }
        assert_eq!(index("none of them"), None);
    }
}
