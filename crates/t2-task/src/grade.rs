//! Graders: finding the answer in a text and comparing it with a reference.
//!
//! [`GRADERS`] are pure functions with names and versions, for the data sets of the field: what they say is what
//! lm-evaluation-harness says, where they name a metric of it. [`same_final_answer`] grades anything else.
//!
//! A final answer is put after `####` (as in GSM8K) or in `\boxed{}` (as in MATH), or it is what the text announces or
//! ends on. `####` is also how Markdown writes a heading, so it counts only with an answer right behind it.

mod choice;
mod exact_match;
pub(crate) mod fences;
mod grader;
mod gsm8k;
mod hendrycks;
mod likelihood;
mod math;
mod minerva;
mod multiple_choice;
mod numbers;
pub mod paper;
mod pass_at_k;
pub(crate) mod program;
mod python;
mod symbolic;
mod words;

pub use choice::{announced_letter, announced_word};
pub use exact_match::{ExactMatch, exact};
pub use grader::{GRADERS, Grade, Grader, GraderInfo, LIKELIHOOD, PROGRAM, grader};
pub use gsm8k::{gsm8k, gsm8k_cot, gsm8k_cot_llama};
pub use likelihood::likelihood;
pub use math::math;
pub use multiple_choice::choice;
pub use pass_at_k::pass_at_k;
pub(crate) use words::FINAL;
pub use words::{topic, yes_no};

use numbers::Number;

/// The marker that GSM8K puts in front of a final answer.
const MARKER: &str = "####";
/// How LaTeX puts a box around a final answer.
const BOX: &str = "\\boxed{";

/// Whether `completion` arrives at the final answer of `reference`.
///
/// The final answer of a reference is the text after its last `####` or in its last `\boxed{}`, or all of it. A number
/// is compared as a number, a single letter as a choice, anything else as text, without regard to capitals, emphasis
/// and the mark that ends a sentence.
///
/// A reference whose final answer is empty has none, and no completion arrives at it.
pub fn same_final_answer(reference: &str, completion: &str) -> bool {
    let wanted = wanted(reference);
    if wanted.is_empty() {
        return false;
    }
    if let Some(number) = numbers::whole(wanted) {
        return last_number(completion).is_some_and(|found| found.same(number));
    }
    if let Some(letter) = choice::reference_letter(wanted) {
        return final_letter(completion) == Some(letter);
    }
    let wanted = bare(wanted);
    let stated = final_text(completion).unwrap_or_default();
    let sentence = stated.split(". ").next().unwrap_or_default();
    [completion, stated, sentence].into_iter().any(|text| bare(text) == wanted)
}

/// What [`same_final_answer`] compares with `reference`: the number, the letter or the text that `completion` arrives
/// at.
pub fn final_answer(reference: &str, completion: &str) -> Option<String> {
    let wanted = wanted(reference);
    if numbers::whole(wanted).is_some() {
        return final_number(completion).map(|number| number.to_string());
    }
    if choice::reference_letter(wanted).is_some() {
        return final_letter(completion).map(|letter| letter.to_string());
    }
    final_text(completion).map(str::to_owned)
}

/// The final answer of a reference; empty where it has none.
pub(crate) fn wanted(reference: &str) -> &str {
    after_marker(reference).or(boxed(reference).map(|(_, answer)| answer)).unwrap_or(reference).trim()
}

/// The number right after the last `####`.
pub fn marked_number(text: &str) -> Option<f64> {
    let (number, rest) = numbers::leading(after_marker(text)?)?;
    (!numbers::is_continued(&rest)).then_some(number.value)
}

/// The number that a text ends on: the one right after the last `####` that has one, else the last one in the last
/// `\boxed{}`, else the last one of all.
pub fn final_number(text: &str) -> Option<f64> {
    last_number(text).map(|number| number.value)
}

/// The letter that a text chooses, in upper case: after `####` or in `\boxed{}`, else after `answer is` and the like,
/// else the one that it opens with or names last. A text that names two letters in one breath has chosen none.
pub fn final_letter(text: &str) -> Option<char> {
    let marked = markers(text).into_iter().rev().map(|marker| marker.answer);
    choice::chosen(text, marked.chain(boxed(text).map(|(_, answer)| answer)))
}

/// The text after the last `####`, trimmed.
fn after_marker(text: &str) -> Option<&str> {
    Some(markers(text).last()?.answer)
}

/// A `####` of a text.
struct Marker<'a> {
    at: usize,
    /// Whether it may be a heading: nothing stands before it in its line.
    opens_line: bool,
    /// The text after it, trimmed.
    answer: &'a str,
}

impl Marker<'_> {
    fn number(&self) -> Option<Number> {
        let (number, rest) = numbers::leading(self.answer)?;
        let mut rest = rest.chars();
        let heading = self.opens_line
            && rest.next().is_some_and(|c| matches!(c, '.' | ')' | ':'))
            && rest.next() == Some(' ')
            && rest.next().is_some_and(char::is_alphabetic);
        (!heading).then_some(number)
    }
}

fn markers(text: &str) -> Vec<Marker<'_>> {
    let marker = |(at, _): (usize, &str)| {
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        let answer = text[at..].trim_start_matches('#').trim();
        Marker { at, opens_line: line.trim().is_empty(), answer }
    };
    text.match_indices(MARKER).map(marker).collect()
}

/// What stands in the last `\boxed{}`, and where that starts. A box that was cut off goes to the end.
fn boxed(text: &str) -> Option<(usize, &str)> {
    let at = text.rfind(BOX)? + BOX.len();
    let mut depth = 1;
    let end = text[at..].char_indices().find(|(_, c)| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    });
    Some((at, &text[at..end.map_or(text.len(), |(end, _)| at + end)]))
}

fn last_number(text: &str) -> Option<Number> {
    let marked = markers(text).iter().rev().find_map(Marker::number);
    let boxed = || numbers::all(boxed(text)?.1).pop();
    marked.or_else(boxed).or_else(|| numbers::all(text).pop())
}

/// The first line of the answer that is marked by `####`, boxed or announced, whichever comes last in the text.
fn final_text(text: &str) -> Option<&str> {
    let marked = markers(text).pop().map(|marker| (marker.at, marker.answer));
    let announced = choice::announced(text).map(|answer| (text.len() - answer.len(), answer));
    let (_, answer) = [marked, boxed(text), announced].into_iter().flatten().max_by_key(|(at, _)| *at)?;
    answer.trim().lines().next()
}

/// A text without emphasis, quotes and the mark that ends a sentence, in lower case and with single spaces.
fn bare(text: &str) -> String {
    const AROUND: [char; 9] = [' ', '\n', '*', '_', '`', '"', '“', '”', '$'];
    const AFTER: [char; 6] = ['.', ',', ';', ':', '!', '?'];
    let trimmed = text.trim().trim_matches(AROUND).trim_end_matches(AFTER).trim_matches(AROUND);
    let kept = if trimmed.is_empty() { text } else { trimmed };
    let inner = kept.strip_prefix("\\text{").and_then(|inner| inner.strip_suffix('}')).unwrap_or(kept);
    inner.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, completion: &str, same: bool) {
        assert_eq!(same_final_answer(reference, completion), same, "{reference:?} against {completion:?}");
    }

    #[test]
    fn final_answers_are_compared() {
        for (reference, completion, same) in [
            ("4 + 3 = 7. #### 7", "3 + 4 = 7. #### 7", true),
            ("#### 7", "#### 8\nno, #### 7", true),
            ("#### 7", "#### 7 #### 8", false),
            ("#### 7", "#### seven", false),
            ("7", "so it is 7", true),
            ("7", "7 apples and 2 pears", false),
            ("7", "", false),
            ("7", "####", false),
            ("1,234", "that makes 1234.", true),
            ("1234", "that makes $1,234.", true),
            ("#### -5", "it is -5", true),
            ("-5", "10-5", false),
            ("5", "10-5", true),
            ("-5", "5", false),
            ("0.5", "it is 0.50", true),
            ("B", "The answer is B.", true),
            ("B", "the answer is (B)", true),
            ("(b)", "#### B", true),
            ("B", "A or B? I say C", false),
            ("B", "I say B) the dog", true),
            ("B", "Because", false),
            ("A", "The answer is Anna.", false),
            ("Paris", " Paris\n", true),
            ("Paris", "so #### Paris", true),
            ("Paris", "London", false),
            ("Paris", "The answer is **Paris**.", true),
            ("Paris", "#### Conclusion\nThe answer is paris. It is large.", true),
            ("Paris", "The answer is Paris. no, #### London", false),
            ("Paris", "\\boxed{\\text{Paris}}", true),
            ("J. R. R. Tolkien", "The answer is J. R. R. Tolkien.", true),
            ("[1, 2)", "it's (1, 2]", false),
            ("...", "?", false),
            ("####", "no idea", false),
            ("The sum.\n#### ", "", false),
            ("\\boxed{}", "\\boxed{}", false),
            ("", "", false),
        ] {
            check(reference, completion, same);
        }
    }

    #[test]
    fn final_answers_are_found_as_people_write_them() {
        for (reference, completion, same) in [
            ("3/4", "it is 0.75", true),
            ("0.5", "The probability is .5", true),
            ("5", "The probability is .5", false),
            ("25%", "one quarter, 0.25", true),
            ("3", "They are 1,2,3", true),
            ("123", "They are 1,2,3", false),
            ("so $\\boxed{42}$.", "#### 42", true),
            ("42", "\\boxed{x = 42} as 1 fits", true),
            ("42", "\\boxed{\\frac{84}{2}}", true),
            ("42", "\\boxed{42", true),
            ("42", "#### 42\nCheck: 40 + 2.", true),
            ("42", "#### Step 1\nAdd.\n#### Step 2\nSo the total is 42.", true),
            ("2", "#### Step 1\nAdd.\n#### Step 2\nSo the total is 42.", false),
            ("42", "#### 1. Add\nWe add.\n#### 2. Conclude\nSo 42", true),
            ("42", "So 41. #### 42. Done", true),
            ("42", "So **42**.\n\n#### Check\n40 + 2 = 42.", true),
            ("42", "#### 42\n\n#### Check 1\nIt holds 3 times.", true),
            ("42", "#### **Final answer: 42**", true),
            ("42", "##### 42", true),
            ("42", "The answer:\n####\n42", true),
            ("B", "#### A note\nThe answer is B", true),
            ("B", "#### (B) red, as A is blue", true),
            ("B", "\\boxed{\\text{B}}", true),
            ("B", "The answer is A and B", false),
            ("B) the dog", "B", true),
        ] {
            check(reference, completion, same);
        }
    }

    #[test]
    fn numbers_are_marked() {
        #[track_caller]
        fn check(text: &str, number: Option<f64>) {
            assert_eq!(marked_number(text), number, "{text:?}");
        }
        for (text, number) in [
            ("4 + 3 = 7. #### 7", Some(7.0)),
            ("#### 7 apples", Some(7.0)),
            ("#### 1,000.", Some(1000.0)),
            ("#### -3", Some(-3.0)),
            ("#### 3 #### 4", Some(4.0)),
            ("7", None),
            ("####", None),
            ("#### ####", None),
            ("#### 4x", None),
            ("#### .5", Some(0.5)),
            ("#### **$1,200**", Some(1200.0)),
            ("#### 1,2", None),
            ("#### Step 2", None),
        ] {
            check(text, number);
        }
    }
}
