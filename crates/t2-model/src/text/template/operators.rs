//! The operators `+`, `~` and `*` of a template, rewritten to filters that count what they make.
//!
//! A list or dict that a template spells out passes through such a filter too, and so does what stands before `in`.

use super::arithmetic::{ADD, CONCAT, LITERAL, MULTIPLY, WANTED};
use super::source::{is_quote, is_word, string_len};

/// Words that end an operand where they are no name of an attribute, a filter or a test.
const KEYWORDS: [&str; 7] = ["and", "elif", "else", "if", "in", "not", "or"];

/// `tag`, a `{{ … }}` or `{% … %}`, with its operators as filters.
pub(super) fn rewrite(tag: &str) -> String {
    let is_sign = |c: char| c == '-' || c == '+';
    let start = 2 + usize::from(tag[2..].starts_with(is_sign));
    let closed = tag[start..].strip_suffix("}}").or_else(|| tag[start..].strip_suffix("%}"));
    let inner = closed.map_or(&tag[start..], |inner| inner.strip_suffix(is_sign).unwrap_or(inner));
    let name = inner.trim_start();
    let is_named =
        |word: &str| tag.starts_with("{%") && name.strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word));
    let mut level = Level { target: is_named("for"), ..Level::default() };
    let mut rest = inner;
    while !rest.is_empty() {
        rest = level.read(rest);
        if let Some(c) = rest.chars().next() {
            // A bracket that nothing has opened.
            level.end(c.encode_utf8(&mut [0; 4]));
            rest = &rest[c.len_utf8()..];
        }
    }
    level.flush();
    let mut out = level.out;
    if let Some(value) = level.value.filter(|_| is_named("set") && level.comma) {
        let items = out.split_off(value);
        out.push_str(&format!(" ({items})|{LITERAL}"));
    }
    [&tag[..start], &out, &tag[start + inner.len()..]].concat()
}

/// A part of an expression.
#[derive(Clone, Debug, Default)]
struct Part {
    text: String,
    /// A filter after it would be one of the last operand alone.
    loose: bool,
}

impl Part {
    /// This part as what the filter `name` is applied to.
    fn filtered(&self, name: &str, argument: &str) -> Self {
        let (text, after) = self.text.split_at(self.text.trim_end().len());
        let value = text.trim_start();
        let before = &text[..text.len() - value.len()];
        let value = if self.loose { format!("({value})") } else { value.to_owned() };
        // What follows may be a word.
        let after = if argument.is_empty() && after.is_empty() { " " } else { after };
        Self { text: format!("{before}{value}|{name}{argument}{after}"), loose: false }
    }

    /// This part, an operator, and `right`.
    fn and(self, operator: &str, right: &Self) -> Self {
        let name = match operator {
            "+" => ADD,
            "~" => CONCAT,
            "*" => MULTIPLY,
            _ => return Self { text: [&self.text, operator, &right.text].concat(), loose: true },
        };
        self.filtered(name, &format!("({})", right.text.trim()))
    }
}

/// Where an operand stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Last {
    /// It has not begun, or only with a sign.
    #[default]
    Nothing,
    /// The name of an attribute or of a filter comes next.
    Name,
    /// The name of a test comes next.
    Test,
    /// An argument of a test may come next.
    Argument,
    /// It is one, and may go on.
    Operand,
}

/// What stands between two brackets, or in a tag.
#[derive(Debug, Default)]
struct Level {
    out: String,
    /// What stands before a `+` or `-`, before a `~`, and before a `*` or its like, with that operator.
    pending: [Option<(Part, &'static str)>; 3],
    operand: Part,
    last: Last,
    /// What comes is assigned to by `for`.
    target: bool,
    comma: bool,
    /// Where in `out` begins what the first `=` assigns.
    value: Option<usize>,
}

impl Level {
    /// Read `text` up to a closing bracket, and return what is left.
    fn read<'a>(&mut self, text: &'a str) -> &'a str {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = match c {
                ')' | ']' | '}' => break,
                '(' | '[' | '{' => self.bracket(c, rest),
                _ if is_quote(c) => self.word(&rest[..string_len(rest)]),
                _ if is_word(c) => self.word(&rest[..word_len(rest)]),
                _ => self.sign(c, rest),
            };
            rest = &rest[length..];
        }
        rest
    }

    fn word(&mut self, word: &str) -> usize {
        match self.last {
            Last::Name => self.go_on(word, Last::Operand),
            Last::Test => self.go_on(word, if word == "not" { Last::Test } else { Last::Argument }),
            Last::Operand | Last::Argument if word == "is" => self.go_on(word, Last::Test),
            _ if KEYWORDS.contains(&word) => self.keyword(word),
            Last::Operand => {
                self.flush();
                self.go_on(word, Last::Operand);
            }
            Last::Nothing | Last::Argument => self.go_on(word, Last::Operand),
        }
        word.len()
    }

    fn keyword(&mut self, word: &str) {
        let asks = word == "in" || word == "not" && self.last != Last::Nothing;
        if asks && !std::mem::take(&mut self.target) {
            let part = self.part(0);
            let is_wanted = !part.text.trim().is_empty() && !part.text.trim_start().starts_with(is_quote);
            self.out.push_str(&if is_wanted { part.filtered(WANTED, "").text } else { part.text });
        }
        self.end(word);
    }

    /// A bracket and what it holds, which `text` starts with. Its length.
    fn bracket(&mut self, open: char, text: &str) -> usize {
        let mut inside = Self::default();
        let rest = inside.read(&text[1..]);
        inside.flush();
        let close = rest.chars().next().map_or("", |c| &rest[..c.len_utf8()]);
        let whole = format!("{open}{}{close}", inside.out);
        let is_literal = matches!(self.last, Last::Nothing) && (open != '(' || inside.comma) && !close.is_empty();
        self.go_on(&if is_literal { format!("({whole}|{LITERAL})") } else { whole }, Last::Operand);
        text.len() - rest.len() + close.len()
    }

    /// What `text` starts with, which is neither a word nor a bracket. Its length.
    fn sign(&mut self, c: char, text: &str) -> usize {
        let is_operand = self.last == Last::Operand || self.last == Last::Argument;
        let sign = SIGNS.iter().copied().find(|sign| text.starts_with(sign)).unwrap_or(&text[..c.len_utf8()]);
        match (sign, is_operand) {
            _ if c.is_whitespace() => self.operand.text.push(c),
            ("." | "|", _) => self.go_on(sign, Last::Name),
            // Of a number, or before the arguments of a call that a list or dict holds.
            ("+" | "-" | "*" | "**", false) => self.go_on_loosely(sign),
            ("+" | "-", true) if self.last == Last::Argument => self.go_on(sign, Last::Nothing),
            ("**", true) => self.go_on_loosely(sign),
            ("+", true) => self.operator(0, "+"),
            ("-", true) => self.operator(0, "-"),
            ("~", true) => self.operator(1, "~"),
            ("*", true) => self.operator(2, "*"),
            ("/", true) => self.operator(2, "/"),
            ("//", true) => self.operator(2, "//"),
            ("%", true) => self.operator(2, "%"),
            _ => self.end(sign),
        }
        if sign == "=" && self.value.is_none() {
            (self.value, self.comma) = (Some(self.out.len()), false);
        }
        self.comma |= sign == ",";
        sign.len()
    }

    fn go_on(&mut self, text: &str, last: Last) {
        self.operand.text.push_str(text);
        self.last = last;
    }

    fn go_on_loosely(&mut self, sign: &str) {
        self.go_on(sign, Last::Nothing);
        self.operand.loose = true;
    }

    /// The `operator` that is bound as tightly as `pending[tightness]`.
    fn operator(&mut self, tightness: usize, operator: &'static str) {
        let left = self.part(tightness);
        self.pending[tightness] = Some((left, operator));
    }

    /// What has come since the last operator that binds less than `tightness`.
    fn part(&mut self, tightness: usize) -> Part {
        self.last = Last::Nothing;
        let operand = std::mem::take(&mut self.operand);
        let pending = self.pending[tightness..].iter_mut().rev().filter_map(Option::take);
        pending.fold(operand, |right, (left, operator)| left.and(operator, &right))
    }

    fn flush(&mut self) {
        let part = self.part(0);
        self.out.push_str(&part.text);
    }

    /// The end of what is being read, and the word or sign after it.
    fn end(&mut self, sign: &str) {
        self.flush();
        self.out.push_str(sign);
    }
}

/// Signs of two characters.
const SIGNS: [&str; 6] = ["**", "//", "==", "!=", "<=", ">="];

/// Length in bytes of the name or number that `text` starts with, the sign of an exponent included.
fn word_len(text: &str) -> usize {
    let length = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let is_number = text.starts_with(|c: char| c.is_ascii_digit()) && text[..length].ends_with(['e', 'E']);
    let digits = text[length..].strip_prefix(['-', '+']).filter(|_| is_number);
    digits.map_or(length, |digits| text.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expect `source` to become `expected`, where the names of the filters are short.
    #[track_caller]
    fn check(source: &str, expected: &str) {
        let filters = [("add", ADD), ("cat", CONCAT), ("mul", MULTIPLY), ("lit", LITERAL), ("in", WANTED)];
        let rewritten = filters.iter().fold(rewrite(source), |text, (short, name)| text.replace(name, short));
        assert_eq!(rewritten, expected);
    }

    #[test]
    fn what_grows_is_a_filter() {
        check("{{ a ~ b }}", "{{ a|cat(b) }}");
        check("{{- a+b.c[0](d + 'e') -}}", "{{- a|add(b.c[0](d|add('e') ))-}}");
        check("{% set ns.x = ns.x ~ ns.x %}", "{% set ns.x = ns.x|cat(ns.x) %}");
        check("{% for a, b in c + d if e ~ f recursive %}", "{% for a, b in c|add(d) if e|cat(f) recursive %}");
        check("{{ 1e+5 + 1.5E-3 }}", "{{ 1e+5|add(1.5E-3) }}");
    }

    #[test]
    fn operators_bind_as_before() {
        check("{{ a + b * c ~ d }}", "{{ a|add(b|mul(c)|cat(d)) }}");
        check("{{ a * b + c }}", "{{ a|mul(b)|add(c) }}");
        check("{{ a - b + c - d }}", "{{ (a - b)|add(c) - d }}");
        check("{{ a / b * c // d % e }}", "{{ (a / b)|mul(c) // d % e }}");
        check("{{ -a * b ** -c }}", "{{ (-a)|mul(b ** -c) }}");
        check("{{ a|f(x) + b|g ~ c is none }}", "{{ a|f(x)|add(b|g|cat(c is none)) }}");
        check("{{ a ~ b if not c + d == e else f }}", "{{ a|cat(b) if not c|add(d) == e else f }}");
        check("{{ a is divisibleby 3 + b }}", "{{ a is divisibleby 3|add(b) }}");
        check("{{ a is not none and b + c is in d }}", "{{ a is not none and b|add(c is in d) }}");
    }

    #[test]
    fn lists_that_a_template_spells_out_are_counted() {
        check("{{ [a, {'b': c}] }}", "{{ ([a, ({'b': c}|lit)]|lit) }}");
        check("{% for (a, b) in ((a, b), (c)) %}", "{% for (a, b) in ((((a, b)|lit), (c))|lit) %}");
        check("{% set a, b = b, a %}", "{% set a, b = ( b, a )|lit%}");
        check("{{ f(*a, **b)[c, d] }}", "{{ f(*a, **b)[c, d] }}");
        check("{% if a in b or c not in 'd' %}", "{% if a|in in b or c|in not in 'd' %}");
        check("{% for a in b if 'x' in a %}", "{% for a in b if 'x' in a %}");
    }

    #[test]
    fn everything_else_stays() {
        for tag in [
            "{{ a.b['c'] | d(e=1, f = 'x + y') - 1 }}",
            "{{ -1 }}",
            "{% macro f(a, b=none) -%}",
            "{%- call(x) f(1) %}",
            "{{ messages[1:] }}{{",
            "{{ a ]",
            "{% endfor %}",
            "{{}}",
            "{{",
            "{%-%}",
        ] {
            check(tag, tag);
        }
    }
}
