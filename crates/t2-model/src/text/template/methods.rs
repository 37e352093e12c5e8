//! Methods of Python's texts, lists and dicts. Those that minijinja-contrib computes as Python does are left to it.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::filters::{joined, replaced};
use super::format::{Marks, check_format};
use super::python::{Shown, bind, is_printable, is_space, lines, padding, refuse};

/// The value of `value.method(args)` in a template.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let ours = match value.kind() {
        ValueKind::String => text_method(value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq | ValueKind::Iterable => list_method(value, method, args)?,
        ValueKind::Map if method == "copy" => Some(value.clone()),
        _ => None,
    };
    match ours {
        Some(answer) => Ok(answer),
        None if method == "format" => {
            check_format(value.as_str().unwrap_or_default(), Marks::Braces, args)?;
            let args: Vec<Value> = args.iter().cloned().map(shown).collect();
            unknown_method_callback(state, value, method, &args)
        }
        None => unknown_method_callback(state, value, method, args),
    }
}

/// An argument of a call, wrapped so that a list or dict in it is written as in Python. Arguments by name stay as they
/// are.
pub(super) fn shown(argument: Value) -> Value {
    if argument.is_kwargs() { argument } else { Shown::wrap(argument) }
}

fn list_method(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "copy" => Ok(Some(value.clone())),
        "count" => {
            let wanted = required(args, "value")?;
            Ok(Some(value.try_iter()?.filter(|item| *item == wanted).count().into()))
        }
        "index" => {
            let wanted = required(args, "value")?;
            let place = value.try_iter()?.position(|item| item == wanted);
            Ok(Some(place.ok_or_else(|| refuse("what is asked for is not in the list"))?.into()))
        }
        _ => Ok(None),
    }
}

fn text_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if let Some(answer) = question(text, method) {
        let [] = bind(args, [])?;
        return Ok(Some(answer.into()));
    }
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = bind(args, ["chars"])?;
            strip(text, optional(&chars)?, method != "rstrip", method != "lstrip").into()
        }
        "split" | "rsplit" => {
            let [separator, most] = bind(args, ["sep", "maxsplit"])?;
            let most = most.map(i64::try_from).transpose()?.and_then(|most| usize::try_from(most).ok());
            Value::from_iter(split(text, optional(&separator)?, most, method == "rsplit")?)
        }
        "splitlines" => {
            let [keep] = bind(args, ["keepends"])?;
            Value::from_iter(lines(text, keep.is_some_and(|keep| keep.is_true())))
        }
        "partition" | "rpartition" => Value::from_iter(partition(text, &required_text(args)?, method == "partition")?),
        "find" | "rfind" | "index" | "rindex" => {
            let wanted = required_text(args)?;
            let place = if method.starts_with('r') { text.rfind(&wanted) } else { text.find(&wanted) };
            match place {
                Some(place) => text[..place].chars().count().into(),
                None if method.ends_with("find") => (-1).into(),
                None => return Err(refuse(format!("{wanted:?} is not in {text:?}"))),
            }
        }
        "count" => match required_text(args)? {
            wanted if wanted.is_empty() => text.chars().count() + 1,
            wanted => text.matches(&wanted).count(),
        }
        .into(),
        "removeprefix" => text.strip_prefix(required_text(args)?.as_str()).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(required_text(args)?.as_str()).unwrap_or(text).into(),
        "ljust" | "rjust" | "center" | "zfill" => {
            let [width, fill] = bind(args, ["width", "fillchar"])?;
            let width = width.ok_or(ErrorKind::MissingArgument)?;
            justify(text, method, width.try_into()?, optional(&fill)?.unwrap_or(" "))?.into()
        }
        "join" => joined(text, &required(args, "iterable")?)?.into(),
        "replace" => {
            let [old, new, count] = bind(args, ["old", "new", "count"])?;
            let (Some(old), Some(new)) = (optional(&old)?, optional(&new)?) else {
                return Err(ErrorKind::MissingArgument.into());
            };
            replaced(text, old, new, count.map(i64::try_from).transpose()?)?.into()
        }
        "title" => title(text).into(),
        "swapcase" => text
            .chars()
            .map(|c| if c.is_lowercase() { upper(c) } else { c.to_lowercase().collect() })
            .collect::<String>()
            .into(),
        _ => return Ok(None),
    }))
}

/// The answer of `text.isdigit()` and similar questions; `None` when `method` is none of them.
pub(super) fn question(text: &str, method: &str) -> Option<bool> {
    let all = |is_one: fn(char) -> bool| !text.is_empty() && text.chars().all(is_one);
    Some(match method {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => text.is_ascii(),
        "isdecimal" | "isdigit" | "isnumeric" => all(char::is_numeric),
        "isidentifier" => all(|c| c.is_alphanumeric() || c == '_') && !text.starts_with(char::is_numeric),
        "islower" => text.contains(char::is_lowercase) && !text.contains(char::is_uppercase),
        "isprintable" => text.chars().all(is_printable),
        "isspace" => all(is_space),
        "istitle" => text.contains(is_cased) && title(text) == text,
        "isupper" => text.contains(char::is_uppercase) && !text.contains(char::is_lowercase),
        _ => return None,
    })
}

/// `text` without the `chars` (white space when `None`) at its ends.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, start: bool, end: bool) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if start { text.trim_start_matches(goes) } else { text };
    if end { text.trim_end_matches(goes) } else { text }
}

/// `text.split(separator, most)`, or `rsplit` where `from_end`: at most `most` separators count.
fn split<'a>(
    text: &'a str,
    separator: Option<&str>,
    most: Option<usize>,
    from_end: bool,
) -> Result<Vec<&'a str>, Error> {
    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut split: Vec<_> = match separator {
        Some("") => return Err(refuse("the separator of a split is empty")),
        Some(separator) if from_end => text.rsplitn(parts, separator).collect(),
        Some(separator) => text.splitn(parts, separator).collect(),
        None => split_at_space(text, parts, from_end),
    };
    if from_end {
        split.reverse();
    }
    Ok(split)
}

/// At most `parts` words of `text`, from its end where `from_end`. The last is all that is left, other words and the
/// white space between them included.
fn split_at_space(text: &str, parts: usize, from_end: bool) -> Vec<&str> {
    let mut words = vec![];
    let mut rest = strip(text, None, !from_end, from_end);
    while !rest.is_empty() {
        let word = match () {
            () if words.len() + 1 == parts => rest,
            () if from_end => &rest[rest.rfind(is_space).map_or(0, |at| at + last_len(rest, at))..],
            () => &rest[..rest.find(is_space).unwrap_or(rest.len())],
        };
        words.push(word);
        let left = if from_end { &rest[..rest.len() - word.len()] } else { &rest[word.len()..] };
        rest = strip(left, None, !from_end, from_end);
    }
    words
}

fn last_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

/// `text.partition(separator)`, or `rpartition` where not `first`: what is before the separator, the separator, and
/// what is after it.
fn partition<'a>(text: &'a str, separator: &'a str, first: bool) -> Result<[&'a str; 3], Error> {
    if separator.is_empty() {
        return Err(refuse("the separator of a partition is empty"));
    }
    let found = if first { text.split_once(separator) } else { text.rsplit_once(separator) };
    Ok(match found {
        Some((before, after)) => [before, separator, after],
        None if first => [text, "", ""],
        None => ["", "", text],
    })
}

/// `text.ljust(width, fill)` and its relatives `rjust`, `center` and `zfill`: `text` made `width` characters wide.
pub(super) fn justify(text: &str, method: &str, width: i64, fill: &str) -> Result<String, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    let left = match method {
        "ljust" => 0,
        "rjust" | "zfill" => missing,
        // Of an odd number of characters to add, the one left over goes to the left if `width` is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if method == "zfill" => text.split_at(text.len() - digits.len()),
        _ => ("", text),
    };
    let fill = if method == "zfill" { "0" } else { fill };
    Ok([sign, &padding(fill, left)?, digits, &padding(fill, missing - left)?].concat())
}

/// `text.title()`: a capital wherever a letter follows something that is neither upper nor lower case.
fn title(text: &str) -> String {
    let mut inside = false;
    let letters = text.chars().map(|c| {
        let cased = if inside { c.to_lowercase().collect() } else { upper(c) };
        inside = is_cased(c);
        cased
    });
    letters.collect()
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

fn upper(c: char) -> String {
    c.to_uppercase().collect()
}

/// An argument that is a text, left out, or `none`.
pub(super) fn optional(argument: &Option<Value>) -> Result<Option<&str>, Error> {
    match argument {
        Some(value) if !value.is_none() => match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(refuse(format!("a value that is {} is no text", value.kind()))),
        },
        _ => Ok(None),
    }
}

fn required(args: &[Value], name: &str) -> Result<Value, Error> {
    let [value] = bind(args, [name])?;
    value.ok_or_else(|| ErrorKind::MissingArgument.into())
}

fn required_text(args: &[Value]) -> Result<String, Error> {
    let value = required(args, "text")?;
    let is_none = || refuse(format!("a value that is {} is no text", value.kind()));
    value.as_str().map(str::to_owned).ok_or_else(is_none)
}
