//! The source of a chat template, translated to what minijinja reads.
//!
//! Three things are known to the parser of transformers and not to minijinja's: lines may end in `\r\n` or `\r`, the tag
//! `{% generation %}` marks what the assistant said (and shows it like any other text), and `'%s' % x` formats. And what a
//! template makes is to be counted.

use super::arithmetic::WRITTEN;
use super::{operators, slice};

/// More words and signs than this in a tag are refused, and as many branches of `elif`: minijinja calls itself for each,
/// and would run out of stack. Real templates have up to 60.
const MAX_TOKENS: usize = 1000;
/// Texts between tags are counted from this many bytes on. Fewer, written at every step that a template may take, are as
/// many bytes as it may make.
const COUNTED_TEXT: usize = 24;

/// `source` with these three written for minijinja: line ends as `\n`, the tag as `{% with %}`, which scopes names in
/// the same way, and formatting by the filter `format`. Slices and operators that make texts or lists are calls of
/// filters of ours.
///
/// # Errors
///
/// What is too much for a parser, in words.
pub(super) fn translate(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let mut branches = 0;
    while let Some(start) = tag_start(rest) {
        out.push_str(&rest[..start]);
        let mut translated = String::new();
        let name = tag_name(&rest[start..]).1;
        let next = &rest[start..];
        let raw = next[..if name == "raw" { raw_end(next) } else { 0 }].split_once("%}").map_or("", |(_, raw)| raw);
        if start + raw.len() >= COUNTED_TEXT {
            out.push_str(&counted(start + raw.len(), next));
        }
        let verbatim = rest[start..].starts_with("{#") || name == "raw";
        branches += usize::from(name == "elif");
        rest = tag(&rest[start..], &mut translated);
        if !verbatim {
            if tokens(&translated) > MAX_TOKENS || branches > MAX_TOKENS {
                let part: String = translated.chars().take(40).collect();
                return Err(format!(
                    "more than {MAX_TOKENS} words and signs in `{part}…`, or as many branches of elif"
                ));
            }
            translated = operators::rewrite(&slice::rewrite(&translated));
        }
        out.push_str(&translated);
    }
    Ok(out + rest)
}

/// The tag that counts a text of `bytes` in front of the tag that `next` starts with. It treats white space before it as
/// that one does.
fn counted(bytes: usize, next: &str) -> String {
    let sign = ["-", "+"].into_iter().find(|sign| next[2..].starts_with(sign)).unwrap_or("");
    if next.starts_with("{{") {
        format!("{{{{{sign} {bytes}|{WRITTEN} }}}}")
    } else {
        format!("{{%{sign} set {WRITTEN} = {bytes}|{WRITTEN} %}}")
    }
}

/// How many words, strings and signs there are in `text`.
fn tokens(mut text: &str) -> usize {
    let mut count = 0;
    while let Some(c) = text.chars().next() {
        count += usize::from(!c.is_whitespace());
        let word = || text.find(|c| !is_word(c)).unwrap_or(text.len());
        text = &text[if is_quote(c) {
            string_len(text)
        } else if is_word(c) {
            word()
        } else {
            c.len_utf8()
        }..];
    }
    count
}

/// Where the next `{{`, `{%` or `{#` is.
fn tag_start(text: &str) -> Option<usize> {
    let opens = |at: &usize| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    text.match_indices('{').map(|(at, _)| at).find(opens)
}

/// Write the tag that `text` starts with to `out`, translated, and return what follows it.
fn tag<'a>(text: &'a str, out: &mut String) -> &'a str {
    let (name_start, name) = tag_name(text);
    let verbatim = match (&text[..2], name) {
        ("{{", _) => return code(&text[2..], "}}", push(out, "{{")),
        ("{#", _) => text[2..].find("#}").map_or(text.len(), |end| end + 4),
        (_, "raw") => raw_end(text),
        (_, "generation" | "endgeneration") => {
            let known = name.replace("generation", "with");
            return code(&text[name_start + name.len()..], "%}", push(push(out, &text[..name_start]), &known));
        }
        _ => return code(&text[2..], "%}", push(out, "{%")),
    };
    out.push_str(&text[..verbatim]);
    &text[verbatim..]
}

/// The first word of the tag that `text` starts with, such as `if` in `{%- if`, and where the word starts.
fn tag_name(text: &str) -> (usize, &str) {
    let after_sign = 2 + usize::from(text[2..].starts_with(['-', '+']));
    let inner = text[after_sign..].trim_start();
    let length = inner.find(|c: char| !is_word(c)).unwrap_or(inner.len());
    (text.len() - inner.len(), &inner[..length])
}

/// Where the `{% endraw %}` starts that belongs to the `{% raw %}` at the start of `text`: nothing in between is a tag.
fn raw_end(text: &str) -> usize {
    let tags = text.match_indices("{%").map(|(at, _)| at);
    tags.skip(1).find(|&at| tag_name(&text[at..]).1 == "endraw").unwrap_or(text.len())
}

/// Write the expression that `text` starts with, up to and including its `end`, to `out`, translated; return what
/// follows.
fn code<'a>(text: &'a str, end: &str, out: &mut String) -> &'a str {
    let (mut rest, mut depth, mut after_string) = (text, 0_usize, false);
    while let Some(c) = rest.chars().next() {
        if depth == 0 && rest.starts_with(end) {
            out.push_str(end);
            return &rest[end.len()..];
        }
        if c == '%' && after_string {
            let operand = rest[1..].trim_start();
            let length = operand_len(operand);
            let inside = &operand[..length];
            out.push_str("|format");
            out.push_str(&if inside.starts_with('(') { inside.to_owned() } else { format!("({inside})") });
            (rest, after_string) = (&operand[length..], false);
            continue;
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let length = if is_quote(c) { string_len(rest) } else { c.len_utf8() };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
        after_string = is_quote(c) || after_string && c.is_whitespace();
    }
    rest
}

/// Length in bytes of the operand that `text` starts with: a name, a number, a string or something in brackets, with
/// attributes, subscripts and calls.
fn operand_len(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            _ if depth > 0 || is_word(c) || c == '.' || is_quote(c) => {}
            _ => break,
        }
        at += if is_quote(c) { string_len(&text[at..]) } else { c.len_utf8() };
    }
    at
}

/// Length in bytes of the string literal that `text` starts with, quotes included.
pub(super) fn string_len(text: &str) -> usize {
    let quote = text.chars().next();
    let mut escaped = false;
    let closes = |&(_, c): &(usize, char)| {
        let closes = !escaped && Some(c) == quote;
        escaped = !escaped && c == '\\';
        closes
    };
    text.char_indices().skip(1).find(closes).map_or(text.len(), |(at, _)| at + 1)
}

pub(super) fn is_quote(c: char) -> bool {
    c == '\'' || c == '"'
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn push<'a>(out: &'a mut String, text: &str) -> &'a mut String {
    out.push_str(text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(translate(source).as_deref(), Ok(expected));
    }

    #[test]
    fn every_line_ending_is_one() {
        check("a\r\nb\rc\n", "a\nb\nc\n");
    }

    #[test]
    fn generation_tags_are_scopes() {
        check("{% generation %}x{% endgeneration %}", "{% with %}x{% endwith %}");
        check("{%- generation -%} {%+endgeneration+%}", "{%- with -%} {%+endwith+%}");
        check("{%-\n  generation\n-%}{{ '%}' }}", "{%-\n  with\n-%}{{ '%}' }}");
    }

    #[test]
    fn what_only_looks_like_a_tag_stays() {
        for source in [
            "{# {% generation %} #}{{ '{% generation %}' }}",
            "{% raw %}{{ {% generation %} {% endraw %}",
            "{%- raw -%}{% generation %}{%- endraw -%}",
            "{% if generation %}{{ generation }}{% endif %}",
            "{% set x = 'it\\'s %} {% generation %}' %}",
            "{{ a['}}{% generation %}'] }}",
            "{ % generation % } {{",
            "{% generation_of_x %}",
            "{{ 'unclosed {% generation %}",
            "{# unclosed {% generation %}",
            "{#} {% generation %} #}",
            "{",
        ] {
            check(source, source);
        }
        check(
            "{% raw %}{% generation %}{% endraw %}{% generation %}",
            "{% raw %}{% generation %}{% endraw %}{% with %}",
        );
    }

    #[test]
    fn what_would_exhaust_the_parser_is_refused() {
        let many = |text: &str| text.repeat(MAX_TOKENS);
        for source in [many("-"), many("not "), many("+1"), many(".a"), many("|e"), many(" % 'x'")] {
            assert!(translate(&format!("{{{{ 'a' {source} }}}}")).is_err(), "{source:.9}");
            assert!(translate(&format!("{{% raw %}}{{{{ 'a' {source} }}}}{{% endraw %}}")).is_ok(), "{source:.9}");
        }
        assert!(translate(&many("{{ 'many, many words' }} -")).is_ok());
    }

    #[test]
    fn long_texts_are_counted_where_white_space_stays_as_it_is() {
        let text = "x".repeat(COUNTED_TEXT);
        check(&format!("{text}{{{{ a }}}}"), &format!("{text}{{{{ 24|python_written }}}}{{{{ a }}}}"));
        for tag in ["{%- if a %}", "{%+ if a %}", "{% if a %}", "{#- a #}"] {
            let sign = tag[2..].chars().next().filter(|c| *c != ' ').map(String::from).unwrap_or_default();
            let count = format!("{{%{sign} set python_written = 24|python_written %}}");
            check(&format!("{text}{tag}"), &format!("{text}{count}{tag}"));
        }
        let raw = format!("{{% raw %}}{text}{{% endraw %}}");
        check(&raw, &format!("{{% set python_written = 24|python_written %}}{raw}"));
    }

    #[test]
    fn a_text_formats_by_percent() {
        check("{{ '%s-%02d' % ('x', 5) }}", "{{ '%s-%02d' |format('x', 5) }}");
        check("{{ \"%s\"%m['a)'].b - 1 }}", "{{ \"%s\"|format(m['a)'].b) - 1 }}");
        check("{% if '%d' % 1 == '1' %}", "{% if '%d' |format(1) == '1' %}");
        check("{{ 7 % 3 }}{% set x = 'a' %}{{ n %2 }}", "{{ 7 % 3 }}{% set x = 'a' %}{{ n %2 }}");
    }
}
