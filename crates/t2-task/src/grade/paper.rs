//! Answers as the original project (`SakanaAI/self-adaptive-llms`, with its package fishfarm) reads them, for
//! comparison with its numbers: three parsers. Programs are found and run as everywhere. Its faults are kept: see each
//! grader.

use std::sync::LazyLock;

use regex::Regex;

use super::grader::{Grade, GraderInfo};
use super::{hendrycks, symbolic};

/// The last number, without its sign.
pub const GSM8K: GraderInfo =
    GraderInfo { name: "paper-gsm8k", version: 1, about: "the last number as the original project reads it" };
/// The value in the last box, nearly.
pub const MATH: GraderInfo =
    GraderInfo { name: "paper-math", version: 1, about: "the last box as the original project compares it" };
/// A letter, else a guess.
pub const ARC: GraderInfo =
    GraderInfo { name: "paper-arc", version: 1, about: "a letter as the original project reads it, else its guess" };

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a regular expression")
}

/// Grades the last number of a text. Its pattern knows no signs and no commas: −5 is 5, and `1,234` is 234. Digits that
/// are not those of ASCII, which the original knows, are passed over here.
pub fn gsm8k(reference: &str, completion: &str) -> Grade {
    let [wanted, found] = [reference, completion].map(last_number);
    // A reference is made a whole number before it is compared.
    let wanted = wanted.and_then(|text| text.parse::<f64>().ok()).map(f64::trunc);
    let value = found.and_then(|text| text.parse::<f64>().ok());
    Grade::new(found.map(Into::into), [("acc", value.is_some() && value == wanted)])
}

fn last_number(text: &str) -> Option<&str> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]*\.?[0-9]+"));
    NUMBER.find_iter(text).last().map(|found| found.as_str())
}

/// Grades a letter: behind the first `answer is`, else behind the last `Answer:` of the first line that has one, else the
/// last that stands alone. A text without any gets a guess from a generator that is seeded anew each time: A, or C of
/// three choices.
pub fn arc(reference: &str, choices: &[String], completion: &str) -> Grade {
    let found = letter(completion);
    let guess = if choices.len() == 3 { "C" } else { "A" };
    Grade::new(found.map(Into::into), [("acc", found.unwrap_or(guess) == reference.trim())])
}

fn letter(text: &str) -> Option<&str> {
    static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| pattern(r"answer is \(?([A-J])\)?"));
    static COLON: LazyLock<Regex> = LazyLock::new(|| pattern(r".*[aA]nswer:\s*([A-J])"));
    static ALONE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[A-J]\b"));
    let announced = ANNOUNCED.captures(text).or_else(|| COLON.captures(text));
    let letter = announced.and_then(|found| found.get(1)).or_else(|| ALONE.find_iter(text).last());
    letter.map(|found| found.as_str())
}

/// Grades what follows the last `The answer is: `, else the last box. Two numbers are the same when they differ by less
/// than 1 in 10,000, also when one is a hundred times the other; LaTeX is the same also when only braces and parentheses
/// differ; values are the same when they differ by less than 1 in 1,000. The original leaves these to `sympy`, which reads
/// more than we do: this part is rebuilt.
pub fn math(reference: &str, completion: &str) -> Grade {
    let wanted = hendrycks::boxed(reference).unwrap_or(reference);
    let found = announced(completion).or_else(|| last_box(completion));
    Grade::new(found.map(Into::into), [("acc", found.is_some_and(|found| is_equivalent(wanted, found)))])
}

/// What the last `\boxed` holds, where a brace opens right behind it.
fn last_box(completion: &str) -> Option<&str> {
    let (before, rest) = completion.rsplit_once("\\boxed")?;
    if rest.starts_with('{') { hendrycks::boxed(&completion[before.len()..]) } else { None }
}

fn announced(completion: &str) -> Option<&str> {
    let (_, answer) = completion.rsplit_once("The answer is: ")?;
    let sentence = answer.split(".\n").next().unwrap_or(answer).trim();
    Some(sentence.strip_suffix('.').unwrap_or(sentence).trim())
}

fn is_equivalent(wanted: &str, found: &str) -> bool {
    match (hendrycks::normalize(wanted), hendrycks::normalize(found)) {
        (Some(wanted), Some(found)) => is_equal(&wanted, &found),
        _ => is_equal(wanted, found),
    }
}

fn is_equal(wanted: &str, found: &str) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * a.abs().max(b.abs());
    if let (Some(a), Some(b)) = (number(wanted), number(found)) {
        return [b / 100.0, b, b * 100.0].into_iter().any(|b| close(a, b));
    }
    if wanted.is_empty() {
        return false;
    }
    let [a, b] = [wanted, found].map(str::trim);
    same_without_brackets(a, b) || same_parts(a, b) || symbolic::nearly_same(a, b, 1e-3)
}

fn same_without_brackets(a: &str, b: &str) -> bool {
    let open = (a.starts_with('[') && a.ends_with(']') && !b.starts_with('('))
        || (a.starts_with('(') && a.ends_with(')') && !b.starts_with('['));
    let opened = |text: &str| if open { text.trim_matches(['[', ']', '(', ')']).to_owned() } else { text.into() };
    let [a, b] = [a, b].map(|text| opened(text).replace(['{', '}', '(', ')'], ""));
    a == b
}

/// What Python's `float` makes of a text without commas.
fn number(text: &str) -> Option<f64> {
    text.replace(',', "").trim().parse().ok()
}

/// Whether two tuples are the same part by part.
fn same_parts(a: &str, b: &str) -> bool {
    let inside = |text: &str, open: char, close: char| Some(text.strip_prefix(open)?.strip_suffix(close)?.to_owned());
    [('[', ']'), ('(', ')')].into_iter().any(|(open, close)| {
        let (Some(a), Some(b)) = (inside(a, open, close), inside(b, open, close)) else { return false };
        let (a, b): (Vec<&str>, Vec<&str>) = (a.split(',').collect(), b.split(',').collect());
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_signs_and_thousands() {
        #[track_caller]
        fn check(reference: &str, completion: &str, right: bool) {
            assert_eq!(gsm8k(reference, completion).is_right(), right, "{reference:?} against {completion:?}");
        }
        for (reference, completion, right) in [
            ("#### 18", "It is $18.00.", true),
            ("#### 5", "It is -5", true),
            ("#### 1,234", "It is 234", true),
            ("#### 1,234", "It is 1234", false),
            ("#### 18", "18 apples of 20", false),
            ("#### 18", "none", false),
        ] {
            check(reference, completion, right);
        }
    }

    #[test]
    fn letters_are_announced_or_last_or_guessed() {
        #[track_caller]
        fn check(completion: &str, choices: usize, chosen: &str) {
            let choices = vec![String::new(); choices];
            assert!(arc(chosen, &choices, completion).is_right(), "{completion:?} is not {chosen}");
        }
        for (completion, choices, chosen) in [
            ("The answer is (B). No, the answer is C", 4, "B"),
            ("Answer: B, or rather answer: C", 4, "C"),
            ("I rule out A. It is D", 4, "D"),
            ("A dog, I think", 4, "I"),
            ("nothing fits", 4, "A"),
            ("nothing fits", 5, "A"),
            ("nothing fits", 3, "C"),
        ] {
            check(completion, choices, chosen);
        }
    }

    #[test]
    fn mathematics_is_compared_nearly() {
        #[track_caller]
        fn check(reference: &str, completion: &str, right: bool) {
            assert_eq!(math(reference, completion).is_right(), right, "{reference:?} against {completion:?}");
        }
        for (reference, completion, right) in [
            ("\\boxed{\\frac{1}{2}}", "\\boxed{0.5}", true),
            ("\\boxed{25}", "\\boxed{0.25}", true),
            ("\\boxed{100000}", "\\boxed{100001}", true),
            ("\\boxed{\\pi}", "The answer is: 3.14.\nDone", true),
            ("\\boxed{\\sqrt{8}}", "\\boxed{2\\sqrt{2}}", true),
            ("\\boxed{(1, 2)}", "\\boxed{(1.00001, 2)}", true),
            ("\\boxed{(5)}", "\\boxed{5}", true),
            ("\\boxed{5}", "It is 5", false),
            ("\\boxed{5}", "\\fbox{5}", false),
            ("\\boxed{1,2}", "\\boxed{2,1}", false),
            ("\\boxed{5}", "\\boxed{6}", false),
        ] {
            check(reference, completion, right);
        }
    }
}
