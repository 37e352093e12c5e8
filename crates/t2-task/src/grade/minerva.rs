//! Answers of MATH as the prompt of Minerva asks for them: found behind its phrase, normalized as in appendix D of
//! [Lewkowycz et al. 2022](https://arxiv.org/abs/2206.14858), here as lm-evaluation-harness's `minerva_math` has it.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::python;

/// What stands between `Final Answer: The final answer is` and `. I hope it is correct.`
pub(super) fn behind_phrase(text: &str) -> Option<String> {
    static PHRASE: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"Final Answer: The final answer is(.*?). I hope it is correct."));
    // A text that was cut off after the answer counts.
    let text = [text, "I hope it is correct."].concat();
    PHRASE.captures(&text).map(|found| python::strip(&found[1]).to_owned())
}

/// An answer without units, signs of LaTeX and shorthand.
pub(super) fn normalize(answer: &str) -> String {
    let answer = answer.rsplit('=').next().unwrap_or_default();
    let words = REMOVED.iter().filter(|removed| is_word(removed));
    let answer = words.fold(answer.to_owned(), |text, word| without_word(&text, word));
    let answer = SUBSTITUTIONS.iter().fold(answer, |text, (before, after)| text.replace(before, after));
    let answer = REMOVED.iter().fold(answer, |text, removed| match text.contains(removed) && is_word(removed) {
        true => outside_commands(&text, |part| part.replace(removed, "")),
        false => text.replace(removed, ""),
    });
    let answer = SHORTHAND.iter().fold(answer, |text, (shorthand, full)| shorthand.replace_all(&text, *full).into());
    let answer = answer.replace('$', "");
    static THOUSANDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^-?\d{1,3}(?:,\d{3})+$"));
    if THOUSANDS.is_match(&answer) { answer.replace(',', "") } else { answer }
}

const SUBSTITUTIONS: &[(&str, &str)] = &[
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// What is removed: letters as words first, then wherever they stand outside the names of commands.
const REMOVED: &[&str] = &[
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
    "\"",
    "\\dots",
];

fn is_word(removed: &str) -> bool {
    removed.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// What is written out, in order: the content of dollars, texts and boxes, the braces of fractions and roots.
static SHORTHAND: LazyLock<[(Regex, &str); 8]> = LazyLock::new(|| {
    [
        (r"(.*?)(\$)(.*?)(\$)(.*)", "$$${3}$$"),
        (r"(\\text\{)(.*?)(\})", "${2}"),
        (r"(\\textbf\{)(.*?)(\})", "${2}"),
        (r"(\\overline\{)(.*?)(\})", "${2}"),
        (r"(\\boxed\{)(.*)(\})", "${2}"),
        (r"(frac)([^{])(.)", "frac{${2}}{${3}}"),
        (r"(sqrt)(\[[^\]]*\])(\w)", "${1}${2}{${3}}"),
        (r"(sqrt)([^{\[])", "sqrt{${2}}"),
    ]
    .map(|(shorthand, full)| (pattern(shorthand), full))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a regular expression")
}

/// A text without a word, unless a backslash makes a command of it.
fn without_word(text: &str, word: &str) -> String {
    if !text.contains(word) {
        return text.into();
    }
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut kept = String::new();
    let mut rest = 0;
    for (at, found) in text.match_indices(word) {
        let (before, after) = (text[..at].chars().next_back(), text[at + found.len()..].chars().next());
        if !in_word(before) && !in_word(after) && before != Some('\\') {
            kept += &text[rest..at];
            rest = at + found.len();
        }
    }
    kept + &text[rest..]
}

/// A text with what is not the name of a command changed.
fn outside_commands(text: &str, change: impl Fn(&str) -> String) -> String {
    static PARTS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\\[a-zA-Z]+)|((?s:.)[^\\]*)"));
    let part = |part: &Captures<'_>| part.get(1).map_or_else(|| change(&part[0]), |command| command.as_str().into());
    PARTS.replace_all(text, part).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_normalized() {
        #[track_caller]
        fn check(answer: &str, expected: &str) {
            assert_eq!(normalize(answer), expected, "{answer:?}");
        }
        for (answer, expected) in [
            ("$x = 5$", "5"),
            ("12\\text{ cm}", "12"),
            ("2\\pi cm", "2\\pi"),
            ("\\left(1, 2\\right)", "\\left(1,2\\right)"),
            ("\\frac12", "\\frac{1}{2}"),
            ("\\sqrt3", "\\sqrt{3}"),
            ("\\sqrt[3]2", "\\sqrt[3]{2}"),
            ("10,000", "10000"),
            ("0,1", "0,1"),
            ("12 square feet", "12"),
            ("\\text{Monday}", "Monday"),
        ] {
            check(answer, expected);
        }
    }

    #[test]
    fn the_phrase_is_found() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(behind_phrase(text).as_deref(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("So. Final Answer: The final answer is $5$. I hope it is correct.", Some("$5$")),
            ("Final Answer: The final answer is $5$. ", Some("$5$")),
            ("Final Answer: The final answer is\n5. I hope it is correct.", None),
            ("The final answer is 5.", None),
        ] {
            check(text, expected);
        }
    }
}
