//! The date, as chat templates ask for it.

use std::fmt::Display;

use chrono::{DateTime, TimeZone, Timelike};

/// `datetime.now().strftime(format)` as Python computes it on Linux: the directives of the C library in its plain
/// locale, with flags and widths. `%Z` and `%z` are empty, since `datetime.now()` has no time zone. A `%` that begins
/// no directive stays.
pub(super) fn strftime<Tz: TimeZone<Offset: Display>>(format: &str, now: &DateTime<Tz>) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        let directive = &rest[start..];
        let (text, length) = expand(directive, now).unwrap_or(("%".to_owned(), 1));
        out.push_str(&text);
        rest = &directive[length..];
    }
    out + rest
}

/// A directive that asks for more characters than this gets this many.
const MAX_WIDTH: usize = 1000;

/// What the directive that `text` starts with stands for, and how long the directive is. It consists of `%`, flags, a
/// width, `E` or `O`, and a letter.
fn expand<Tz: TimeZone<Offset: Display>>(text: &str, now: &DateTime<Tz>) -> Option<(String, usize)> {
    let flags = leading(&text[1..], |c| "_-0^#+".contains(c));
    let width = leading(&text[1 + flags.len()..], |c| c.is_ascii_digit());
    let modifier = leading(&text[1 + flags.len() + width.len()..], |c| c == 'E' || c == 'O');
    let before_letter = 1 + flags.len() + width.len() + modifier.len();
    let letter = text[before_letter..].chars().next().filter(|_| modifier.len() < 2)?;
    let shown = match letter {
        '%' => "%".to_owned(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        'z' | 'Z' => String::new(),
        'f' if before_letter == 1 => format!("{:06}", now.nanosecond() / 1000 % 1_000_000),
        'a' | 'A' | 'b' | 'B' | 'c' | 'C' | 'd' | 'D' | 'e' | 'F' | 'g' | 'G' | 'h' | 'H' | 'I' | 'j' | 'k' | 'l'
        | 'm' | 'M' | 'p' | 'P' | 'r' | 'R' | 's' | 'S' | 'T' | 'u' | 'U' | 'V' | 'w' | 'W' | 'x' | 'X' | 'y' | 'Y' => {
            now.format(&format!("%{letter}")).to_string()
        }
        _ => return None,
    };
    let is_number = "CdegGHIjklmMsSuUVwWyY".contains(letter);
    let shown = match () {
        () if flags.contains('^') => shown.to_uppercase(),
        () if flags.contains('#') && letter == 'p' => shown.to_lowercase(),
        () if flags.contains('#') && "aAbBh".contains(letter) => shown.to_uppercase(),
        () => shown,
    };
    let flag = flags.chars().rfind(|&flag| "_-0+".contains(flag));
    let fill = match flag {
        Some('0' | '+') => "0",
        None if is_number && !"ekl".contains(letter) => "0",
        _ => " ",
    };
    let usual = if is_number && flag != Some('-') { shown.len() } else { 0 };
    let least = width.parse().map_or(usual, |width: usize| width.clamp(usual, MAX_WIDTH));
    let bare = if is_number { unpadded(&shown) } else { &shown };
    let pad = fill.repeat(least.saturating_sub(bare.len()));
    Some((pad + bare, before_letter + 1))
}

/// The characters that `text` starts with, as long as `is_one` holds.
fn leading(text: &str, is_one: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !is_one(c)).unwrap_or(text.len())]
}

/// A number without the zeros and spaces in front; the last digit stays.
fn unpadded(number: &str) -> &str {
    let start = number.find(|c| c != '0' && c != ' ').unwrap_or(number.len());
    &number[start.min(number.len().saturating_sub(1))..]
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};

    use super::*;

    #[track_caller]
    fn check(format: &str, expected: &str) {
        let now = Utc.with_ymd_and_hms(2024, 2, 9, 15, 4, 5).unwrap() + TimeDelta::microseconds(6789);
        assert_eq!(strftime(format, &now), expected, "{format}");
    }

    #[test]
    fn every_directive_is_that_of_python() {
        check("%a %A %b %B %h", "Fri Friday Feb February Feb");
        check("%c", "Fri Feb  9 15:04:05 2024");
        check("%C %d %D %e %F %g %G", "20 09 02/09/24  9 2024-02-09 24 2024");
        check("%H %I %j %k %l %m %M %p %P", "15 03 040 15  3 02 04 PM pm");
        check("%r|%R|%S|%T|%u|%U|%V|%w|%W", "03:04:05 PM|15:04|05|15:04:05|5|05|06|5|06");
        check("%x %X %y %Y %f %s", "02/09/24 15:04:05 24 2024 006789 1707491045");
        check("[%z%Z%n%t%%]", "[\n\t%]");
    }

    #[test]
    fn flags_and_widths_are_those_of_the_c_library() {
        check("%-d/%-m/%-j/%-H/%-I/%-e/%-y", "9/2/40/15/3/9/24");
        check("%_d|%_m|%_j|%0e|%0k|%_5d|%05d|%5d|%-5d|%10Y", " 9| 2| 40|09|15|    9|00009|00009|    9|0000002024");
        check("%^a %^B %#a %#p %#P %^c", "FRI FEBRUARY FRI pm pm FRI FEB  9 15:04:05 2024");
        check(
            "%10a|%010a|%-10a|%^10b|%10F|%5%|%3n",
            "       Fri|0000000Fri|       Fri|       FEB|2024-02-09|    %|  \n",
        );
        check("%Ey %Od %EC %OH", "24 09 20 15");
    }

    #[test]
    fn what_is_no_directive_stays() {
        for format in ["%Q %", "%+ %L %i %N %é", "%OO", "100 %", ""] {
            check(format, format);
        }
        assert_eq!(strftime("%99999999999999999999d", &Utc::now()).len(), 2);
        assert_eq!(strftime("%99999999d", &Utc::now()).len(), MAX_WIDTH);
    }
}
