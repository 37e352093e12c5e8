//! What Python's strings do differently from Rust's. Metrics that are written in Python count on it.

/// What `str.isspace` says: Unicode's white space, and the four separators of ASCII besides.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// What `str.strip` leaves.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `string.punctuation`: the marks of ASCII.
pub(super) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
}

/// Whether `int(text)` gives a number instead of raising.
pub(super) fn is_int(text: &str) -> bool {
    let digits = strip(text);
    let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    digits.len() <= MAX_DIGITS && digits.split('_').all(|group| !group.is_empty() && group.chars().all(is_digit))
}

/// `int` refuses longer texts since Python 3.11.
const MAX_DIGITS: usize = 4300;

/// A decimal digit of any script.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric() && DIGIT.is_match(c.encode_utf8(&mut [0; 4])))
}

static DIGIT: std::sync::LazyLock<regex::Regex> =
    std::sync::LazyLock::new(|| regex::Regex::new(r"^\d$").expect("the pattern is a regular expression"));

/// What `str(int(text))` makes of a text that [`is_int`].
pub(super) fn is_canonical_int(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (text == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints_are_read_as_python_reads_them() {
        #[track_caller]
        fn check(text: &str, int: bool, canonical: bool) {
            assert_eq!((is_int(text), is_canonical_int(text)), (int, canonical), "{text:?}");
        }
        for (text, int, canonical) in [
            ("12", true, true),
            ("-12", true, true),
            ("0", true, true),
            ("-0", true, false),
            ("012", true, false),
            ("+12", true, false),
            (" 12\u{1f}", true, false),
            ("1_000", true, false),
            ("1__0", false, false),
            ("_1", false, false),
            ("٣", true, false),
            ("²", false, false),
            ("1.5", false, false),
            ("", false, false),
            ("-", false, false),
            ("x", false, false),
        ] {
            check(text, int, canonical);
        }
    }
}
