//! Numbers at the end of a calculation, found as the `gsm8k` tasks of lm-evaluation-harness find them.
//!
//! Its two filters are regular expressions: `strict-match` takes the number behind the phrase that the task asks for,
//! `flexible-extract` the last thing that looks like a number. What is found is compared as text, after commas, dollar
//! signs, all up to the last `#### ` and a full stop at the end are taken out of both sides: `18.00` is not `18`.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::grader::{Grade, GraderInfo};
use super::python;

/// The number behind `####`, as GSM8K's own answers have it.
pub(super) const GSM8K: GraderInfo =
    GraderInfo { name: "gsm8k", version: 1, about: "the last number (strict: the first behind ####)" };
/// The number behind `The answer is`.
pub(super) const GSM8K_COT: GraderInfo =
    GraderInfo { name: "gsm8k-cot", version: 1, about: "the last number (strict: the first behind `The answer is`)" };
/// The number behind `The final answer is`, the phrase that Llama 3 is asked for.
pub(super) const GSM8K_COT_LLAMA: GraderInfo = GraderInfo {
    name: "gsm8k-cot-llama",
    version: 1,
    about: "the last number (strict: the last behind `The final answer is`)",
};

/// Grades as the task `gsm8k` of lm-evaluation-harness does.
pub fn gsm8k(reference: &str, completion: &str) -> Grade {
    static STRICT: LazyLock<Regex> = LazyLock::new(|| pattern(r"#### (-?[0-9.,]+)"));
    grade(reference, completion, STRICT.captures_iter(completion).next())
}

/// Grades as the tasks `gsm8k_cot` and `gsm8k_cot_zeroshot` of lm-evaluation-harness do. The strict pattern wants a
/// character after the number: a text that ends on `The answer is 72` says 7.
pub fn gsm8k_cot(reference: &str, completion: &str) -> Grade {
    static STRICT: LazyLock<Regex> = LazyLock::new(|| pattern(r"The answer is (-?[0-9.,]+)."));
    grade(reference, completion, STRICT.captures_iter(completion).next())
}

/// Grades as the task `gsm8k_cot_llama` of lm-evaluation-harness does.
pub fn gsm8k_cot_llama(reference: &str, completion: &str) -> Grade {
    static STRICT: LazyLock<Regex> = LazyLock::new(|| pattern(r"The final answer is (?:(-?[$0-9.,]{2,})|(-?[0-9]+))"));
    grade(reference, completion, STRICT.captures_iter(completion).last())
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a regular expression")
}

fn grade(reference: &str, completion: &str, strict: Option<Captures<'_>>) -> Grade {
    static FLEXIBLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(-?[$0-9.,]{2,})|(-?[0-9]+)"));
    let flexible = FLEXIBLE.captures_iter(completion).last().and_then(found);
    let wanted = plain(reference);
    let right = |found: Option<&str>| plain(found.unwrap_or(INVALID)) == wanted;
    let strict = strict.and_then(found);
    Grade::new(
        flexible.map(Into::into),
        [("exact_match,flexible-extract", right(flexible)), ("exact_match,strict-match", right(strict))],
    )
}

/// What the filters hand on where they find nothing.
const INVALID: &str = "[invalid]";

/// What the first group that took part holds.
fn found<'a>(captures: Captures<'a>) -> Option<&'a str> {
    captures.iter().skip(1).flatten().next().map(|group| python::strip(group.as_str()))
}

/// A side of the comparison: the task's `regexes_to_ignore`, one after the other, and `ignore_case`.
fn plain(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    let answer = text.rsplit("#### ").next().unwrap_or_default();
    let (line, newline) = answer.strip_suffix('\n').map_or((answer, ""), |line| (line, "\n"));
    [line.strip_suffix('.').unwrap_or(line), newline].concat().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_strictly_and_flexibly() {
        #[track_caller]
        fn check(grade: fn(&str, &str) -> Grade, completion: &str, [flexible, strict]: [bool; 2]) {
            let metrics = [("exact_match,flexible-extract", flexible), ("exact_match,strict-match", strict)];
            assert_eq!(grade("5 * 9 = <<5*9=45>>45\n#### 45", completion).metrics, metrics, "{completion:?}");
        }
        for (grader, completion, right) in [
            (gsm8k as fn(&str, &str) -> Grade, "5 * 9 = 45\n#### 45", [true, true]),
            (gsm8k, "#### $45", [true, false]),
            (gsm8k, "#### 45. Done", [true, true]),
            (gsm8k, "#### 45\n#### 46", [false, true]),
            (gsm8k, "It is 45.", [true, false]),
            (gsm8k, "It is 45.00", [false, false]),
            (gsm8k, "It is -45", [false, false]),
            (gsm8k, "none", [false, false]),
            (gsm8k_cot, "The answer is 45.", [true, true]),
            (gsm8k_cot, "The answer is 45", [true, false]),
            (gsm8k_cot_llama, "The final answer is $45", [true, true]),
            (gsm8k_cot_llama, "The final answer is 44. The final answer is 45", [true, true]),
        ] {
            check(grader, completion, right);
        }
    }
}
