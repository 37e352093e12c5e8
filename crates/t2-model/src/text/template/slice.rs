//! Slices with a step, such as `messages[::-1]`, as Python cuts them.
//!
//! minijinja's own panic where there is nothing to cut, and run to the end where one stops at the first item. Templates
//! are rewritten to call a filter in their place.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::python::refuse;
use super::source::{is_quote, is_word, string_len};

/// The filter that slices are rewritten to.
pub(super) const FILTER: &str = "python_slice";
/// Words that a value may follow, so that a bracket after them is a list.
const KEYWORDS: [&str; 10] = ["and", "elif", "else", "if", "in", "is", "not", "or", "print", "set"];

/// The tag `text` with every `x[a:b:c]` as `(x|python_slice(a, b, c))`.
pub(super) fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Where the operand began that a bracket would belong to, in each of the brackets that are open.
    let mut operands: Vec<Option<usize>> = vec![None];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let operand = operands.pop().flatten();
        let length = token_len(rest, c);
        let (token, after) = rest.split_at(length);
        let here = Some(out.len());
        rest = after;
        match (c, operand) {
            ('[', Some(start)) if let Some(([from, to, step], length)) = parts(after) => {
                let sliced = out.split_off(start);
                let [from, to, step] = [from, to, step].map(|part| match part.trim() {
                    "" => "none".to_owned(),
                    part => rewrite(part),
                });
                write!(out, "({sliced}|{FILTER}({from}, {to}, {step}))").expect("a String takes every text");
                operands.push(operand);
                rest = &after[length..];
                continue;
            }
            ('(' | '[' | '{', _) => operands.extend([operand.or(here), None]),
            (')' | ']' | '}', _) if operands.is_empty() => operands.push(None),
            (')' | ']' | '}', _) => {}
            _ if is_word(c) && out.trim_end().ends_with('.') => operands.push(operand),
            _ if is_word(c) => operands.push(here.filter(|_| !KEYWORDS.contains(&token))),
            _ if is_quote(c) => operands.push(here),
            _ => operands.push(operand.filter(|_| c == '.' || c.is_whitespace())),
        }
        out.push_str(token);
    }
    out
}

fn token_len(text: &str, first: char) -> usize {
    match first {
        _ if is_quote(first) => string_len(text),
        _ if is_word(first) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

/// The three parts of `after` up to the bracket that closes the one before it, and the length of it all. `None` when
/// they are not three.
fn parts(after: &str) -> Option<([&str; 3], usize)> {
    let (mut depth, mut at, mut start) = (1, 0, 0);
    let mut parts = vec![];
    while let Some(c) = after[at..].chars().next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ':' if depth == 1 => {
                parts.push(&after[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            parts.push(&after[start..at]);
            return Some((parts.try_into().ok()?, at + 1));
        }
        at += token_len(&after[at..], c);
    }
    None
}

/// `value[from:to:step]`.
pub(super) fn slice(value: &Value, from: Option<i64>, to: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let chars: Vec<char> = text.chars().collect();
        return Ok(indices(chars.len(), from, to, step)?.map(|at| chars[at]).collect::<String>().into());
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(refuse(format!("{} cannot be sliced", value.kind())));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    Ok(indices(items.len(), from, to, step)?.map(|at| items[at].clone()).collect())
}

/// The indices below `length` that a slice takes, as `slice.indices` of Python has them.
fn indices(
    length: usize,
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
) -> Result<impl Iterator<Item = usize>, Error> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "the step of a slice is 0"));
    }
    let length = i64::try_from(length).map_err(|_| refuse("too long to be sliced".to_owned()))?;
    // Backwards, the place before the first item counts too.
    let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |at: i64| (if at < 0 { at.saturating_add(length) } else { at }).clamp(least, most);
    let (first, last) = if step > 0 { (least, most) } else { (most, least) };
    let (first, last) = (from.map_or(first, place), to.map_or(last, place));
    let inside = move |at: &i64| if step > 0 { *at < last } else { *at > last };
    let places = std::iter::successors(Some(first).filter(inside), move |at| at.checked_add(step).filter(inside));
    Ok(places.filter_map(|at| usize::try_from(at).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rewritten(source: &str, expected: &str) {
        assert_eq!(rewrite(source), expected);
    }

    #[test]
    fn slices_with_a_step_become_calls() {
        check_rewritten("{{ m[::-1] }}", "{{ (m|python_slice(none, none, -1)) }}");
        check_rewritten("{% for x in a.b[1:](c)[2::d] %}", "{% for x in (a.b[1:](c)|python_slice(2, none, d)) %}");
        check_rewritten(
            "{{ f(x, y[::2][::3]) ~ 'z'[:n:-1][0] }}",
            "{{ f(x, ((y|python_slice(none, none, 2))|python_slice(none, none, 3))) ~ ('z'|python_slice(none, n, -1))[0] }}",
        );
        check_rewritten("{{ a[b[::-1]: c :] }}", "{{ (a|python_slice((b|python_slice(none, none, -1)), c, none)) }}");
        check_rewritten(
            "{{ [1, 2][::-1] + (x)[::-1] }}",
            "{{ ([1, 2]|python_slice(none, none, -1)) + ((x)|python_slice(none, none, -1)) }}",
        );
    }

    #[test]
    fn everything_else_stays() {
        for source in [
            "{{ m[1:] }}{{ m[:-1] }}{{ m['::-1'] }}{{ m[{'a': {'b': 1}}] }}",
            "{% if x in [1] %}",
            "{{ ']' ~ m[(1)] }}",
            "{{ m[::",
            "]])}}[",
            "{{ {'a': m[1:2]}[k] }}",
        ] {
            check_rewritten(source, source);
        }
    }

    /// Expect the indices of five and of no items.
    #[track_caller]
    fn check(from: Option<i64>, to: Option<i64>, step: i64, five: &[usize]) {
        assert_eq!(indices(5, from, to, Some(step)).unwrap().collect::<Vec<_>>(), five);
        assert_eq!(indices(0, from, to, Some(step)).unwrap().count(), 0);
    }

    #[test]
    fn indices_are_those_of_python() {
        check(None, None, -1, &[4, 3, 2, 1, 0]);
        check(None, None, 2, &[0, 2, 4]);
        check(Some(2), Some(0), -1, &[2, 1]);
        check(Some(-1), Some(-4), -2, &[4, 2]);
        check(Some(1), Some(3), -1, &[]);
        check(Some(99), Some(-99), -3, &[4, 1]);
        check(Some(i64::MIN), Some(i64::MAX), i64::MAX, &[0]);
        check(Some(i64::MAX), Some(i64::MIN), i64::MIN, &[4]);
        assert!(indices(5, None, None, Some(0)).is_err());
    }
}
