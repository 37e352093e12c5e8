//! Numbers as people write them in running text.
//!
//! `1,234` is one number and `1,2,3` are three; `.5`, `−$3.50`, `50%`, `3/4`, `1½`, `\frac{3}{4}`, `2.5e3` and `3 ×
//! 10^5` are one each. No number are the digits of a word (`H2O`, `x_1`), an exponent (`cm^2`), and a version or a date
//! with points (`1.2.3`). The minus of a subtraction is no sign: `10-5` holds 10 and 5.

/// A number in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    /// Whether a percent sign or the word `percent` follows.
    percent: bool,
}

/// Two ways to write a fraction as a decimal may differ in the last digits of an f64, `66.6 / 100` and `0.666` for one.
const ROUNDING: f64 = 1e-12;

impl Number {
    /// Whether two numbers are the same amount. `50%` equals 0.5, and also 50, as a question may ask for percents.
    pub(super) fn same(self, other: Self) -> bool {
        let parts = |number: Self| if number.percent { number.value / 100.0 } else { number.value };
        let (a, b) = (parts(self), parts(other));
        self.value == other.value || (self.percent != other.percent && (a - b).abs() <= ROUNDING * b.abs())
    }
}

/// The number that a text consists of, if it consists of one. Emphasis around it does not count, nor does what ends a
/// sentence or an amount.
pub(super) fn whole(text: &str) -> Option<Number> {
    let text = plain(text);
    let (number, rest) = at_start(text.trim_start_matches(EMPHASIS))?;
    rest.trim_matches(AFTER).is_empty().then_some(number)
}

/// The number that a text starts with, and what follows it. Signs that may stand between a marker and an answer do not
/// count.
pub(super) fn leading(text: &str) -> Option<(Number, String)> {
    let text = plain(text);
    let (number, rest) = at_start(text.trim_start_matches(BEFORE))?;
    Some((number, rest.to_owned()))
}

/// All numbers in a text, in order.
pub(super) fn all(text: &str) -> Vec<Number> {
    let text = plain(text);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        let (before, rest) = (&text[..at], &text[at..]);
        let number = if may_start(before, c) { at_start(rest) } else { None };
        at = match number {
            Some((number, rest)) => {
                found.push(number);
                text.len() - rest.len()
            }
            None if c.is_ascii_digit() => at + rest.find(|c| !matches!(c, '0'..='9' | '.' | '/')).unwrap_or(rest.len()),
            None => at + c.len_utf8(),
        };
    }
    found
}

/// Whether what follows a number makes another word of it, as in `4x` and `4:30`.
pub(super) fn is_continued(rest: &str) -> bool {
    let word = rest.split(char::is_whitespace).next().unwrap_or_default();
    !word.trim_matches(AFTER).is_empty()
}

const EMPHASIS: [char; 6] = [' ', '\t', '\n', '*', '_', '`'];
const BEFORE: [char; 11] = [' ', '\t', '\r', '\n', '*', '_', '`', ':', '=', '(', '['];
const AFTER: [char; 17] = [' ', '\t', '\r', '\n', '*', '_', '`', '.', ',', ';', '!', ')', ']', '$', '€', '£', '¥'];
const CURRENCY: [char; 5] = ['$', '€', '£', '¥', '₹'];

/// The text with one spelling for each of minus, fraction, times, and the space between thousands.
fn plain(text: &str) -> String {
    SPELLINGS.iter().fold(text.to_owned(), |text, (spelling, usual)| text.replace(spelling, usual))
}

const SPELLINGS: &[(&str, &str)] = &[
    ("−", "-"),
    ("–", "-"),
    ("﹣", "-"),
    ("－", "-"),
    ("\u{a0}", ","),
    ("\u{2009}", ","),
    ("\u{202f}", ","),
    ("{,}", ","),
    ("\\,", ","),
    ("\\!", ""),
    ("\\$", "$"),
    ("\\%", "%"),
    ("×", "*"),
    ("·", "*"),
    ("\\times", "*"),
    ("\\cdot", "*"),
    ("⁄", "/"),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("½", "\\frac{1}{2}"),
    ("⅓", "\\frac{1}{3}"),
    ("⅔", "\\frac{2}{3}"),
    ("¼", "\\frac{1}{4}"),
    ("¾", "\\frac{3}{4}"),
];

/// Whether a number can start with `first` right after `before`.
fn may_start(before: &str, first: char) -> bool {
    let last = before.chars().next_back().unwrap_or(' ');
    let exponent = last == '^' || before.ends_with("^{");
    match first {
        '0'..='9' => !last.is_ascii_alphabetic() && last != '_' && !exponent,
        '-' | '+' => !last.is_alphanumeric() && !matches!(last, ')' | ']' | '}' | '%' | '-' | '_') && !exponent,
        '.' => !last.is_alphanumeric() && !matches!(last, ')' | ']' | '}' | '.'),
        '\\' => true,
        _ => CURRENCY.contains(&first),
    }
}

/// The number right at the start of a plain text, with its sign, currency and percent sign, and what follows.
fn at_start(text: &str) -> Option<(Number, &str)> {
    let (negative, text) = sign(text);
    let text = text.trim_start_matches(CURRENCY);
    let (opposite, text) = sign(text);
    let (value, rest) = amount(text)?;
    let value = if negative != opposite { -value } else { value };
    let unit = rest.trim_start_matches(' ');
    let percent = ["%", "percent", "per cent"].into_iter().find_map(|unit_name| unit.strip_prefix(unit_name));
    Some((Number { value, percent: percent.is_some() }, percent.unwrap_or(rest)))
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A number without a sign: a fraction, a mixed number, or a decimal with a power of ten.
fn amount(text: &str) -> Option<(f64, &str)> {
    if text.starts_with(FRACTION) {
        let (above, below, rest) = fraction(text)?;
        return divide(above, below, rest);
    }
    if let Some(power) = text.strip_prefix("10^").and_then(|exponent| power_of_ten(1.0, exponent)) {
        return Some(power);
    }
    let (whole, rest) = decimal(text)?;
    if let Some((above, below, rest)) = fraction(text) {
        return divide(above, below, rest);
    }
    Some(mixed(whole, rest).or_else(|| scientific(whole, rest)).unwrap_or((whole, rest)))
}

/// The value of a fraction. What goes on with another `/` is a date.
fn divide(above: f64, below: f64, rest: &str) -> Option<(f64, &str)> {
    (below != 0.0 && !rest.starts_with('/')).then(|| (above / below, rest))
}

const FRACTION: &str = "\\frac{";

/// Numerator and denominator of `3/4` or `\frac{3}{4}`.
fn fraction(text: &str) -> Option<(f64, f64, &str)> {
    let Some(latex) = text.strip_prefix(FRACTION) else {
        let (above, rest) = decimal(text)?;
        let (below, rest) = decimal(rest.strip_prefix('/')?)?;
        return Some((above, below, rest));
    };
    let (above, rest) = decimal(latex)?;
    let (below, rest) = decimal(rest.strip_prefix("}{")?)?;
    Some((above, below, rest.strip_prefix('}')?))
}

/// `whole` with the proper fraction after it: the ` 1/2` of `3 1/2`.
fn mixed(whole: f64, rest: &str) -> Option<(f64, &str)> {
    let part = if rest.starts_with(FRACTION) { rest } else { rest.strip_prefix(' ')? };
    let (above, below, rest) = fraction(part)?;
    let proper = whole.fract() == 0.0 && above < below && !rest.starts_with('/');
    proper.then(|| (whole + above / below, rest))
}

/// `factor` with the power after it: the ` * 10^5` of `3 * 10^5`.
fn scientific(factor: f64, rest: &str) -> Option<(f64, &str)> {
    let power = rest.trim_start_matches(' ').strip_prefix(['*', 'x'])?.trim_start_matches(' ');
    power_of_ten(factor, power.strip_prefix("10^")?)
}

/// `factor` times ten to the power that the text starts with, in braces or not.
fn power_of_ten(factor: f64, text: &str) -> Option<(f64, &str)> {
    let braced = text.strip_prefix('{');
    let (value, rest) = with_exponent(&factor.to_string(), braced.unwrap_or(text))?;
    Some((value, if braced.is_some() { rest.strip_prefix('}')? } else { rest }))
}

/// The value of `digits` with the exponent that the text starts with.
fn with_exponent<'a>(digits: &str, text: &'a str) -> Option<(f64, &'a str)> {
    let (negative, text) = sign(text);
    let (exponent, rest) = text.split_at(digits_len(text));
    finite(&format!("{digits}e{}{exponent}", if negative { "-" } else { "" }), rest)
}

/// Digits with thousands separators, a fractional part (alone too: `.5`) and an exponent (`2.5e3`).
fn decimal(text: &str) -> Option<(f64, &str)> {
    let (mut digits, mut rest) = integer(text);
    if let Some(after) = rest.strip_prefix('.')
        && digits_len(after) > 0
    {
        let (part, after) = after.split_at(digits_len(after));
        digits = format!("{digits}.{part}");
        rest = after;
    }
    if digits.is_empty() || rest.strip_prefix('.').is_some_and(|more| digits_len(more) > 0) {
        return None;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E'])
        && digits_len(sign(exponent).1) > 0
    {
        return with_exponent(&digits, exponent);
    }
    finite(&digits, rest)
}

/// Digits, without the separators of groups of three. A comma that is followed by anything but a group ends the number.
fn integer(text: &str) -> (String, &str) {
    let (first, rest) = text.split_at(digits_len(text));
    let Some(separator) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) else { return (first.into(), rest) };
    if !(1..=3).contains(&first.len()) || first.starts_with('0') {
        return (first.into(), rest);
    }
    let (mut digits, mut after) = (first.to_owned(), rest);
    while let Some(group) = after.strip_prefix(separator).filter(|group| digits_len(group) == 3) {
        digits.push_str(&group[..3]);
        after = &group[3..];
    }
    match after.strip_prefix(separator) {
        Some(more) if digits_len(more) > 0 => (first.into(), rest),
        _ => (digits, after),
    }
}

fn digits_len(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn finite<'a>(digits: &str, rest: &'a str) -> Option<(f64, &'a str)> {
    digits.parse().ok().filter(|value: &f64| value.is_finite()).map(|value| (value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_a_text() {
        #[track_caller]
        fn check(text: &str, expected: &[f64]) {
            let found: Vec<f64> = all(text).into_iter().map(|number| number.value).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        for (text, expected) in [
            ("", &[][..]),
            ("none", &[]),
            (".5", &[0.5]),
            ("it is .5.", &[0.5]),
            ("-.5 and +.25", &[-0.5, 0.25]),
            ("$.25 each", &[0.25]),
            ("wait...5", &[5.0]),
            ("Fig.5", &[5.0]),
            ("5. Then 6.", &[5.0, 6.0]),
            ("1,2,3", &[1.0, 2.0, 3.0]),
            ("(5,12)", &[5.0, 12.0]),
            ("10,20,30,40", &[10.0, 20.0, 30.0, 40.0]),
            ("1.5,2.5", &[1.5, 2.5]),
            ("1,500,2.5", &[1.0, 500.0, 2.5]),
            ("0,500", &[0.0, 500.0]),
            ("2000,300", &[2000.0, 300.0]),
            ("1,234,567.5 or 70,000,", &[1234567.5, 70000.0]),
            ("12\u{202f}345 and 1\u{a0}000 and 5\u{a0}kg", &[12345.0, 1000.0, 5.0]),
            ("1{,}234 or 1\\,234 or 1_234", &[1234.0, 1234.0, 1234.0]),
            ("10-5", &[10.0, 5.0]),
            ("10–20 pages", &[10.0, 20.0]),
            ("f(2)-3", &[2.0, 3.0]),
            ("= -5, −6, –7", &[-5.0, -6.0, -7.0]),
            ("(-5)", &[-5.0]),
            ("-$5, $-6, −£7", &[-5.0, -6.0, -7.0]),
            ("the 5€ or \\$6", &[5.0, 6.0]),
            ("$7$ and $x$", &[7.0]),
            ("3/4", &[0.75]),
            ("3 / 4", &[3.0, 4.0]),
            ("on 1/2/2024 there were 3", &[3.0]),
            ("5/0", &[]),
            ("1 1/2, 2½, ¾, -½, 3\\frac{1}{2}", &[1.5, 2.5, 0.75, -0.5, 3.5]),
            ("\\frac{3}{4} and -\\dfrac{1}{2}", &[0.75, -0.5]),
            ("1e3, 2.5E-1, 3em", &[1000.0, 0.25, 3.0]),
            ("3 × 10^5, 2 \\times 10^{-1}, 10^3", &[300000.0, 0.2, 1000.0]),
            ("1e999 and 2", &[2.0]),
            ("12 cm^2, 5 m^{3}, 7 x_1", &[12.0, 5.0, 7.0]),
            ("7 molecules of H2O", &[7.0]),
            ("version 1.2.3 of 2024.05.01 has 4", &[4.0]),
            ("on 2024-05-01", &[2024.0, 5.0, 1.0]),
            ("é5é", &[5.0]),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn a_text_can_be_one_number() {
        #[track_caller]
        fn check(text: &str, expected: Option<f64>) {
            assert_eq!(whole(text).map(|number| number.value), expected, "{text:?}");
        }
        for (text, expected) in [
            (" 7. ", Some(7.0)),
            ("$1,200.", Some(1200.0)),
            ("-$5", Some(-5.0)),
            ("5 €", Some(5.0)),
            ("**.5**", Some(0.5)),
            ("50%", Some(50.0)),
            ("50 percent", Some(50.0)),
            ("−3/4", Some(-0.75)),
            ("1,2", None),
            ("4x", None),
            ("7 apples", None),
            ("1.2.3", None),
            ("-", None),
            ("$", None),
            ("", None),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn percents_are_parts_or_a_count() {
        #[track_caller]
        fn check(a: &str, b: &str, same: bool) {
            let [a, b] = [a, b].map(|text| whole(text).unwrap());
            assert_eq!((a.same(b), b.same(a)), (same, same), "{a:?} and {b:?}");
        }
        for (a, b, same) in [
            ("50%", "0.5", true),
            ("50%", "50", true),
            ("50%", "50%", true),
            ("66.6%", "0.666", true),
            ("50%", "5", false),
            ("50%", "0.5%", false),
            ("0.5", "50", false),
            ("0%", "0", true),
            ("0.1", "0.1000000000000001", false),
        ] {
            check(a, b, same);
        }
    }
}
