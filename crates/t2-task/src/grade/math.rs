//! Answers of mathematics: found as models write them, compared as LaTeX, as numbers, as values.

use super::grader::{Grade, GraderInfo};
use super::{hendrycks, minerva, symbolic};

/// The value in the last box.
pub(super) const MATH: GraderInfo =
    GraderInfo { name: "math", version: 1, about: "the value in the last \\boxed{}, compared exactly as mathematics" };

/// Grades an answer of mathematics, against that in the last box of `reference`, or all of it where there is none.
///
/// The answer of a completion is what its last `\boxed{}` or `\fbox{}` holds, else what follows `Final Answer: The final
/// answer is` or another `answer is`, else what stands between its last dollar signs, else all of a text of one line. A box
/// that does not close was cut off, and is no answer. The metrics, from the one that counts:
///
/// | metric | the answer is right when |
/// | --- | --- |
/// | `same_value` | it is the same by one of the next two, or both have the same exact value |
/// | `is_equiv` | it is the same LaTeX after the normalization of Hendrycks et al. |
/// | `hendrycks_math/exact_match` | the task of lm-evaluation-harness says so, for which all between the first and the last dollar sign is the answer |
/// | `minerva_math/same_value` | it stands in the phrase of Minerva's prompt, and is the same after its normalization, or as an exact value (where the task of lm-evaluation-harness asks `sympy`) |
pub fn math(reference: &str, completion: &str) -> Grade {
    let wanted = hendrycks::boxed(reference).unwrap_or(reference);
    let found = answer(completion);
    let is_equivalent = found.as_deref().is_some_and(|found| hendrycks::is_equivalent(found, wanted));
    // A normal form without any text says nothing: a box that is empty, or holds `\text{ Monday}`.
    let says_something = hendrycks::normalize(wanted).is_none_or(|normal| !normal.is_empty());
    let same_value = || found.as_deref().is_some_and(|found| symbolic::same(found, wanted));
    Grade::new(
        found.clone(),
        [
            ("same_value", (is_equivalent && says_something) || same_value()),
            ("is_equiv", is_equivalent),
            ("hendrycks_math/exact_match", hendrycks::is_equivalent(hendrycks::between_dollars(completion), wanted)),
            ("minerva_math/same_value", by_minerva(wanted, completion)),
        ],
    )
}

/// What the task `minerva_math` of lm-evaluation-harness says, but for `sympy`, which it asks.
fn by_minerva(wanted: &str, completion: &str) -> bool {
    let Some(found) = minerva::behind_phrase(completion) else { return false };
    let [found, wanted] = [&found, wanted].map(minerva::normalize);
    (!found.is_empty() && found == wanted) || symbolic::same(&found, &wanted)
}

/// What a completion gives for its answer.
fn answer(completion: &str) -> Option<String> {
    if completion.contains("\\boxed") || completion.contains("\\fbox") {
        return hendrycks::boxed(completion).map(str::to_owned);
    }
    let announced = || super::choice::announced(completion).and_then(first_sentence);
    let line = || Some(completion.trim()).filter(|line| !line.is_empty() && !line.contains('\n'));
    minerva::behind_phrase(completion)
        .or_else(|| announced().or_else(|| last_in_dollars(completion)).or_else(line).map(str::to_owned))
        .map(|answer| without_dollars(answer.trim()).to_owned())
}

/// Where the dollar signs are that open and close LaTeX: those of amounts have a backslash.
fn dollars(text: &str) -> impl DoubleEndedIterator<Item = usize> {
    text.match_indices('$').map(|(at, _)| at).filter(|at| !text[..*at].ends_with('\\'))
}

fn last_in_dollars(text: &str) -> Option<&str> {
    let mut from_last = dollars(text).rev();
    let (close, open) = (from_last.next()?, from_last.next()?);
    Some(&text[open + 1..close])
}

fn without_dollars(text: &str) -> &str {
    let text = text.strip_prefix('$').unwrap_or(text);
    let end = dollars(text).next_back().filter(|end| end + 1 == text.len());
    text[..end.unwrap_or(text.len())].trim()
}

/// The answer that a text begins with: in dollar signs, else up to the end of its sentence or line.
fn first_sentence(text: &str) -> Option<&str> {
    let text = text.trim_start_matches([' ', ':', '*', '\n']);
    if let Some(inside) = text.strip_prefix('$') {
        return Some(&inside[..dollars(inside).next().unwrap_or(inside.len())]);
    }
    let line = text.lines().next()?;
    let sentence = line.split(". ").next().unwrap_or(line);
    Some(sentence.trim_end_matches(['.', ' ', '*'])).filter(|sentence| !sentence.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_normal_form_is_right_by_its_value_alone() {
        #[track_caller]
        fn check(reference: &str, completion: &str, right: bool) {
            let grade = math(reference, completion);
            assert_eq!((grade.is_right(), grade.metric("is_equiv")), (right, Some(true)), "{completion:?}");
        }
        check("\\boxed{}", "\\boxed{}", false);
        check("\\boxed{\\text{ Monday}}", "\\boxed{\\text{ Tuesday}}", false);
        check("\\boxed{\\text{ Monday}}", "\\boxed{\\text{ Monday}}", true);
    }

    #[test]
    fn answers_are_found() {
        #[track_caller]
        fn check(completion: &str, expected: Option<&str>) {
            assert_eq!(answer(completion).as_deref(), expected, "{completion:?}");
        }
        for (completion, expected) in [
            ("$\\boxed{1}$, no: $\\boxed{\\frac{1}{2}}$. Done.", Some("\\frac{1}{2}")),
            ("so \\boxed{\\frac{1}{2", None),
            ("Final Answer: The final answer is $2$. I hope it is correct.", Some("2")),
            ("We add. The answer is 7.", Some("7")),
            ("The answer is $x = 7$, as it should.", Some("x = 7")),
            ("It is $1$ or rather $2$", Some("2")),
            ("\\frac{1}{2}", Some("\\frac{1}{2}")),
            ("I do not\nknow", None),
            ("", None),
        ] {
            check(completion, expected);
        }
    }
}
