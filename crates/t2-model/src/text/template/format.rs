//! What a format such as `'%5s' % x` or `'{:5}'.format(x)` asks for, looked at before minijinja writes it.

use minijinja::Error;
use minijinja::value::Value;

use super::budget::check_text;
use super::python::{MAX_PADDING, refuse, text};

/// How a format marks what is filled in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Marks {
    /// `'%5s' % x`
    Percent,
    /// `'{:5}'.format(x)`
    Braces,
}

/// Refuse a format such as `%9999999s` or `{:>9999999}`, whose padding would eat the memory, and one that writes a long
/// one of `args` over and over.
pub(super) fn check_format(format: &str, marks: Marks, args: &[Value]) -> Result<(), Error> {
    let mut longest = 0;
    for argument in args {
        longest = longest.max(text(argument)?.len());
    }
    let mut bytes = format.len();
    for specification in marks.specifications(format) {
        bytes = bytes.saturating_add(longest).saturating_add(padding(specification)?);
    }
    check_text(bytes)
}

/// The numbers in `specification`, added up.
fn padding(specification: &str) -> Result<usize, Error> {
    let numbers = specification.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let width = |number: &str| match number.parse::<usize>() {
        Ok(width) if width < MAX_PADDING => Ok(width),
        _ => Err(refuse(format!("{number} characters of padding are too many"))),
    };
    numbers.map(width).sum()
}

impl Marks {
    /// The specifications in `format`: what stands between a mark and its end.
    fn specifications(self, format: &str) -> Vec<&str> {
        let (mark, read): (_, fn(&str) -> Option<&str>) = match self {
            Self::Percent => ('%', conversion),
            Self::Braces => ('{', field),
        };
        let mut found = vec![];
        let mut rest = format;
        while let Some((_, after)) = rest.split_once(mark) {
            // A mark written twice stands for itself.
            let doubled = after.strip_prefix(mark);
            rest = doubled.unwrap_or(after);
            found.extend(read(after).filter(|_| doubled.is_none()));
        }
        found
    }
}

/// What `after` a `%` says how to write a value, up to the letter of its conversion; `None` where there is no letter.
fn conversion(after: &str) -> Option<&str> {
    let named = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let rest = named.map_or(after, |(_, rest)| rest);
    let end = rest.find(|c: char| !c.is_ascii_digit() && !"-+ #.".contains(c))?;
    rest[end..].starts_with(|c: char| c.is_ascii_alphabetic()).then(|| &rest[..end])
}

/// What `after` a `{` says how to write a value: what follows the first colon, up to the brace that closes the field.
fn field(after: &str) -> Option<&str> {
    let (field, _) = after.split_once('}')?;
    Some(field.split_once(':').map_or("", |(_, specification)| specification))
}

#[cfg(test)]
mod tests {
    use super::Marks::{Braces, Percent};
    use super::*;

    #[test]
    fn only_padding_that_a_format_asks_for_is_refused() {
        for (format, marks) in [
            ("%1000000d", Percent),
            ("%%%1000000d", Percent),
            ("a %(b)-5.1000000f", Percent),
            ("%99999999999999999999999d", Percent),
            ("{:1000000}", Braces),
            ("{{{:1000000}", Braces),
            ("{a:x>1000000}", Braces),
        ] {
            assert!(check_format(format, marks, &[]).unwrap_err().to_string().contains("too many"), "{format}");
        }
        for (format, marks) in [
            ("%000000005d 100%, 1000000", Percent),
            ("%s {\"id\": 1234567}", Percent),
            ("100% 12345678", Percent),
            ("100%% 12345678d %%12345678d", Percent),
            ("{1000000}", Braces),
            ("{a:>5}: 1000000", Braces),
            ("{}: 100% 12345678 %12345678d", Braces),
            ("{{\"id\": 1234567}} {}", Braces),
        ] {
            assert!(check_format(format, marks, &[]).is_ok(), "{format}");
        }
    }

    #[test]
    fn a_long_text_is_not_written_over_and_over() {
        let long = [Value::from("x".repeat(1 << 20))];
        for (format, marks) in [("%(a)s ", Percent), ("{0} ", Braces)] {
            assert!(check_format(&format.repeat(50), marks, &long).is_ok(), "{format}");
            assert!(check_format(&format.repeat(100), marks, &long).is_err(), "{format}");
        }
    }
}
