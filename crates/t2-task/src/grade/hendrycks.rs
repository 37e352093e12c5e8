//! Answers of MATH compared as its authors compare them: as LaTeX, after a normalization of its commonest spellings
//! ([Hendrycks et al. 2021](https://arxiv.org/abs/2103.03874), `math_equivalence.py`; here as lm-evaluation-harness's
//! `hendrycks_math` has it).

use super::python;

/// Whether two answers are the same LaTeX once both are [normalized](normalize). Where one of them cannot be, they must
/// be the same as they stand.
pub(super) fn is_equivalent(a: &str, b: &str) -> bool {
    match (normalize(a), normalize(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// What stands between the first and the last dollar sign of a text, else all of it: what `hendrycks_math` takes for the
/// answer.
pub(super) fn between_dollars(text: &str) -> &str {
    match (text.find('$'), text.rfind('$')) {
        (Some(first), Some(last)) if first < last => &text[first + 1..last],
        _ => text,
    }
}

/// What stands in the last `\boxed{}` of a text, or in its last `\fbox{}` where there is none. `\boxed 5` counts too, up
/// to a dollar sign. `None` where the last box does not close.
pub(super) fn boxed(text: &str) -> Option<&str> {
    if let Some((_, rest)) = text.rsplit_once("\\boxed ") {
        return rest.split('$').next();
    }
    let at = text.rfind("\\boxed").or_else(|| text.rfind("\\fbox"))?;
    let command = &text[at..];
    let open = command.find('{')?;
    let mut depth = 0_usize;
    for (at, c) in command.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(&command[open + 1..at]),
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// The LaTeX of an answer in one spelling, without spaces, units and signs of degrees, dollars and percent. `None` where
/// the original raises an error.
pub(super) fn normalize(answer: &str) -> Option<String> {
    let text = SPELLINGS.iter().fold(answer.to_owned(), |text, (spelling, usual)| text.replace(spelling, usual));
    let text = without_unit(&text)?.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    let text = if text.starts_with('.') { format!("0{text}") } else { text };
    let text = with_braced_roots(without_name(&text))?.replace(' ', "");
    let text = with_braced_fractions(&text)?;
    let text = if text == "0.5" { "\\frac{1}{2}".into() } else { text };
    with_fraction_for_slash(text)
}

/// What is replaced, in order.
const SPELLINGS: &[(&str, &str)] = &[
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
];

/// The text before the one `\text{ `, which is how MATH writes a unit.
fn without_unit(text: &str) -> Option<&str> {
    let mut parts = text.split("\\text{ ");
    let (first, more) = (parts.next(), parts.nth(1));
    first.filter(|_| more.is_none())
}

/// `x = 5` without its name, which may have two characters.
fn without_name(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, value)) if name.chars().count() <= 2 && !value.contains('=') => value,
        _ => text,
    }
}

/// `\sqrt3` as `\sqrt{3}`.
fn with_braced_roots(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut braced = parts.next()?.to_owned();
    for part in parts {
        let first = part.chars().next()?;
        let rest = &part[first.len_utf8()..];
        braced += &if first == '{' { format!("\\sqrt{part}") } else { format!("\\sqrt{{{first}}}{rest}") };
    }
    Some(braced)
}

/// `\frac12` and `\frac1{2}` as `\frac{1}{2}`. A text that has too little behind a `\frac` stays as it is.
fn with_braced_fractions(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut braced = parts.next()?.to_owned();
    for part in parts {
        let mut rest = part.chars();
        let above = rest.next()?;
        braced += "\\frac";
        if above == '{' {
            braced += part;
            continue;
        }
        let Some(below) = rest.next() else { return Some(text.into()) };
        braced += &match below {
            '{' => format!("{{{above}}}{{{}", rest.as_str()),
            _ => format!("{{{above}}}{{{below}}}{}", rest.as_str()),
        };
    }
    Some(braced)
}

/// `3/4` as `\frac{3}{4}`. Another text with one slash is an error unless both sides are whole numbers.
fn with_fraction_for_slash(text: String) -> Option<String> {
    let Some((above, below)) = text.split_once('/').filter(|(_, below)| !below.contains('/')) else {
        return Some(text);
    };
    if !(python::is_int(above) && python::is_int(below)) {
        return None;
    }
    let fraction = python::is_canonical_int(above) && python::is_canonical_int(below);
    Some(if fraction { format!("\\frac{{{above}}}{{{below}}}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_answer_are_equivalent() {
        #[track_caller]
        fn check(a: &str, b: &str, same: bool) {
            assert_eq!((is_equivalent(a, b), is_equivalent(b, a)), (same, same), "{a:?} and {b:?}");
        }
        for (a, b, same) in [
            ("\\dfrac{1}{2}", "\\frac12", true),
            ("0.5", "\\frac{1}{2}", true),
            (".5", "1/2", true),
            ("x=5", "5", true),
            ("abc=5", "5", false),
            ("5\\text{ cm}", "5", true),
            ("90^\\circ", "90", true),
            ("50\\%", "50", true),
            ("\\sqrt3", "\\sqrt{3}", true),
            ("\\left( 1, 2 \\right)", "(1,2)", true),
            ("10,\\!000", "10,000", true),
            ("10000", "10,000", false),
            ("x/2", "x/2", true),
            ("x/2", "x / 2", false),
            ("03/4", "3/4", false),
            ("\\frac", "\\frac", true),
            ("", "", true),
        ] {
            check(a, b, same);
        }
    }

    #[test]
    fn the_last_box_is_opened() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(boxed(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("\\boxed{1} and $\\boxed{\\frac{1}{2}}$.", Some("\\frac{1}{2}")),
            ("$\\boxed 5$ it is", Some("5")),
            ("\\fbox{7}", Some("7")),
            ("\\boxed{1} \\fbox{7}", Some("1")),
            ("\\boxed{{1}", None),
            ("\\boxed{}", Some("")),
            ("none", None),
        ] {
            check(text, expected);
        }
    }
}
