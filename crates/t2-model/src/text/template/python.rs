//! How Python writes the values that a template prints, and how its functions take their arguments.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

use minijinja::value::{DynObject, Enumerator, Kwargs, Object, ObjectRepr, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind};

use super::budget::check_text;

/// Values nested deeper than this are refused: a template can nest lists without end.
pub(super) const MAX_DEPTH: usize = 200;
/// Padding of more bytes than this is refused: no template needs it, and a mistaken width would eat the memory.
pub(super) const MAX_PADDING: usize = 1_000_000;

/// `str(value)`. An undefined value gives an empty text.
pub(super) fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(text.into()),
        None if value.is_undefined() => Ok("".into()),
        None => Ok(repr(value)?.into()),
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(&mut out, value, 0)?;
    Ok(out)
}

fn write_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    check_text(out.len())?;
    match value.kind() {
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Number => out.push_str(&number(value)?),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, (key, item)) in pairs(value).enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(out, &key, depth + 1)?;
                out.push_str(": ");
                write_repr(out, &item, depth + 1)?;
            }
            out.push('}');
        }
        ValueKind::Undefined => out.push_str("Undefined"),
        _ => write!(out, "{value}")?,
    }
    Ok(())
}

/// Refuses a `depth` of nesting beyond [`MAX_DEPTH`].
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(refuse(format!("a value is nested more than {MAX_DEPTH} deep")))
}

/// Keys and values of a dict.
pub(super) fn pairs(value: &Value) -> impl Iterator<Item = (Value, Value)> {
    value.as_object().and_then(DynObject::try_iter_pairs).into_iter().flatten()
}

/// `repr(text)`: between the quotes and with the escapes that Python would choose.
fn write_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if c == quote => out.extend(['\\', c]),
            _ if is_printable(c) => out.push(c),
            _ => out.push_str(&match u32::from(c) {
                code @ ..0x100 => format!("\\x{code:02x}"),
                code @ ..0x10000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
}

/// Whether `repr` leaves a character as it is. Rust's `escape_debug` goes by the same rule, but for combining
/// characters, which it escapes at the start of a text: hence the `a`.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || !format!("a{c}").escape_debug().any(|c| c == '\\')
}

/// `repr` of a number.
pub(super) fn number(value: &Value) -> Result<String, Error> {
    Ok(if value.is_integer() { value.to_string() } else { float(f64::try_from(value.clone())?) })
}

/// `repr(x)`: the fewest digits that are read back as `x`, with an exponent where `x` is below 10⁻⁴ or from 10¹⁶ on.
fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() { "nan".to_owned() } else { x.to_string() };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{x:?}"),
        exponent => format!("{digits}e{exponent:+03}"),
    }
}

/// Python's idea of white space: Rust's, and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `text.splitlines(keep)`: with `keep`, each line has its ending.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let mut lines = vec![];
    let mut rest = text;
    let is_end = |c| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    while !rest.is_empty() {
        let line = rest.find(is_end).unwrap_or(rest.len());
        let ending = match &rest[line..] {
            end if end.starts_with("\r\n") => 2,
            end => end.chars().next().map_or(0, char::len_utf8),
        };
        lines.push(&rest[..if keep { line + ending } else { line }]);
        rest = &rest[line + ending..];
    }
    lines
}

/// `fill`, repeated `count` times.
pub(super) fn padding(fill: &str, count: usize) -> Result<String, Error> {
    match fill.len().checked_mul(count) {
        Some(bytes) if bytes <= MAX_PADDING => Ok(fill.repeat(count)),
        _ => Err(refuse(format!("{count} characters of padding are too many"))),
    }
}

/// The arguments of a call in the order of `names`, each given by its position or by its name.
pub(super) fn bind<const N: usize>(args: &[Value], names: [&str; N]) -> Result<[Option<Value>; N], Error> {
    let (positional, named): (&[Value], Kwargs) = from_args(args)?;
    if positional.len() > N {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let mut bound = names.map(|_| None);
    for (index, name) in names.into_iter().enumerate() {
        bound[index] = match positional.get(index) {
            Some(value) => Some(value.clone()),
            None if named.has(name) => Some(named.get(name)?),
            None => None,
        };
    }
    named.assert_all_used()?;
    Ok(bound)
}

/// The error for a call that Python would refuse too.
pub(super) fn refuse(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// A list or dict that minijinja, too, turns into text as Python does, where it writes the value itself.
#[derive(Debug)]
pub(super) struct Shown(Value);

impl Shown {
    /// `value`, wrapped when it has parts.
    pub(super) fn wrap(value: Value) -> Value {
        if value.as_object().is_some() { Value::from_object(Self(value)) } else { value }
    }
}

impl Object for Shown {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        self.0.as_object().map_or(ObjectRepr::Plain, DynObject::repr)
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.as_object()?.get_value(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.0.as_object().map_or(Enumerator::NonEnumerable, DynObject::enumerate)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(&self.0).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: impl Into<Value>, expected: &str) {
        let value = value.into();
        assert_eq!(repr(&value).unwrap(), expected);
        // Within a text joined by minijinja.
        assert_eq!(format!("{}", Shown::wrap(Value::from(vec![value]))), format!("[{expected}]"));
    }

    #[test]
    fn values_are_written_as_in_python() {
        check(true, "True");
        check((), "None");
        check("it's", "\"it's\"");
        check("it's \"so\"", "'it\\'s \"so\"'");
        check(
            "\\ \n\r\t\x00\x7f\u{a0}é\u{301}\u{200b}\u{e000}\u{1f600}",
            "'\\\\ \\n\\r\\t\\x00\\x7f\\xa0é\u{301}\\u200b\\ue000😀'",
        );
        check(vec![Value::from(1), Value::from("a")], "[1, 'a']");
        check(Value::from_iter([("b", Value::from(1)), ("a", Value::from(vec![()]))]), "{'b': 1, 'a': [None]}");
    }

    #[test]
    fn numbers_are_written_as_in_python() {
        for (x, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (3.0, "3.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.0001, "0.0001"),
            (0.000012, "1.2e-05"),
            (1e-7, "1e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            check(x, expected);
        }
        check(i64::MIN, "-9223372036854775808");
        check(u64::MAX, "18446744073709551615");
    }

    #[test]
    fn lines_end_where_python_ends_them() {
        assert_eq!(lines("a\r\nb\rc\u{2028}\n", false), ["a", "b", "c", ""]);
        assert_eq!(lines("a\r\nb\x0c", true), ["a\r\n", "b\x0c"]);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let deep = (0..=MAX_DEPTH).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        assert!(repr(&deep).unwrap_err().to_string().contains("deep"));
        assert!(padding(" ", usize::MAX).unwrap_err().to_string().contains("too many"));
    }
}
