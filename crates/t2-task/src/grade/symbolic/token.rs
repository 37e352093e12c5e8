//! Answers cut into tokens: LaTeX, and mathematics as it is typed.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Pow, ToPrimitive};

/// What an answer consists of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(BigRational),
    /// A variable, a Greek letter, a word among the signs.
    Name(String),
    /// What takes an argument: `\frac`, `\sqrt`, `\sin`.
    Command(String),
    /// What is set as text: a unit, or a word.
    Text(String),
    /// `\begin` and `\end` of a matrix.
    Begin(String),
    End,
    /// An operator, a bracket (`⦃` and `⦄` are those of a set, braces only group), a separator (`⏎` ends a row).
    Sign(char),
}

/// The tokens of an answer; `None` where there is a sign that no answer has.
pub(super) fn tokens(answer: &str) -> Option<Vec<Token>> {
    let text = SPELLINGS.iter().fold(answer.to_owned(), |text, (spelling, usual)| text.replace(spelling, usual));
    let mut cutter = Cutter { rest: &text, depth: 0, found: Vec::new() };
    while let Some(c) = cutter.rest.chars().next() {
        cutter.cut(c)?;
    }
    Some(cutter.found)
}

/// What is written in several ways, in order.
const SPELLINGS: &[(&str, &str)] = &[
    ("^{\\circ}", "°"),
    ("^\\circ", "°"),
    ("^{\\text{o}}", "°"),
    ("{,}", ""),
    (",\\!", ""),
    ("\\!", ""),
    ("\\$", "＄"),
    ("$", ""),
    ("＄", "$"),
    ("\\%", "%"),
    ("−", "-"),
    ("–", "-"),
    ("×", "*"),
    ("·", "*"),
    ("÷", "/"),
    ("**", "^"),
    ("<=", "≤"),
    (">=", "≥"),
    ("π", "\\pi "),
    ("√", "\\sqrt "),
    ("²", "^2"),
    ("³", "^3"),
    ("½", "\\frac{1}{2}"),
    ("∞", "\\infty "),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
    ("\\cdotp", "*"),
];

/// Commands that only set, space or size.
const SILENT: &[&str] = &[
    "left",
    "right",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "quad",
    "qquad",
    "limits",
    "thinspace",
    "mathrm",
    "mathbf",
    "mathit",
    "boldsymbol",
    "bf",
    "rm",
    "operatorname",
];
/// Commands whose argument is text.
const TEXTS: &[&str] = &["text", "mbox", "textbf", "textit", "textrm", "textnormal", "hbox"];
/// Commands that are signs.
const SIGNS: &[(&str, char)] = &[
    ("cdot", '*'),
    ("times", '*'),
    ("ast", '*'),
    ("div", '/'),
    ("le", '≤'),
    ("leq", '≤'),
    ("leqslant", '≤'),
    ("ge", '≥'),
    ("geq", '≥'),
    ("geqslant", '≥'),
    ("lt", '<'),
    ("gt", '>'),
    ("ne", '≠'),
    ("neq", '≠'),
    ("pm", '±'),
    ("mp", '∓'),
    ("cup", '∪'),
    ("in", '∈'),
    ("circ", '°'),
    ("degree", '°'),
    ("mid", '|'),
    ("lvert", '|'),
    ("rvert", '|'),
];
/// Functions of one argument, in LaTeX and typed.
const FUNCTIONS: &[&str] = &[
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "exp",
    "sqrt",
];
/// Words that join answers.
const JOINS: &[&str] = &["and", "or"];
/// Units of two letters and more, which are no products of variables.
const UNITS: &[&str] = &[
    "cm", "mm", "km", "ft", "kg", "mg", "ml", "in", "lb", "lbs", "mph", "hr", "hrs", "min", "sec", "feet", "foot",
    "inch", "inches", "meters", "meter", "miles", "mile", "yards", "yard", "degrees", "degree", "radians", "units",
    "unit", "square", "cubic", "cents", "cent", "dollars", "dollar", "hours", "hour", "minutes", "minute", "seconds",
    "second", "days", "day", "weeks", "years", "percent", "pounds", "ounces", "gallons", "liters", "grams",
];

struct Cutter<'a> {
    rest: &'a str,
    /// How many brackets are open: within them a comma separates, and is never one of thousands.
    depth: usize,
    found: Vec<Token>,
}

impl<'a> Cutter<'a> {
    /// Cuts off what starts with `c`.
    fn cut(&mut self, c: char) -> Option<()> {
        match c {
            '\\' => self.command(),
            '0'..='9' => self.number(),
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            // A full stop may end an answer.
            '.' => self.rest[1..].trim().is_empty().then(|| self.rest = ""),
            c if c.is_alphabetic() => {
                self.letters();
                Some(())
            }
            c => {
                self.rest = &self.rest[c.len_utf8()..];
                self.sign(c)
            }
        }
    }

    fn sign(&mut self, c: char) -> Option<()> {
        match c {
            '(' | '[' | '⦃' => self.depth += 1,
            ')' | ']' | '⦄' => self.depth = self.depth.saturating_sub(1),
            c if c.is_whitespace() || c == '~' => return Some(()),
            c if "+-*/^_{},;:=<>≤≥≠±∓∪∈!|&%°⏎$".contains(c) => {}
            _ => return None,
        }
        self.found.push(Token::Sign(if c == ';' { ',' } else { c }));
        Some(())
    }

    fn take(&mut self, count: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, kept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !kept(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// Digits, with a point, separators of thousands, and a repeating end: `1,234.5`, `1 234`, `0.1\overline{6}`.
    fn number(&mut self) -> Option<()> {
        let mut digits = self.take_while(|c| c.is_ascii_digit()).to_owned();
        if digits.len() <= 3 && !digits.starts_with('0') {
            while let Some(group) = self.thousands() {
                digits += group;
            }
        }
        let mut decimals = "";
        if self.rest.starts_with('.') && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            self.take(1);
            decimals = self.take_while(|c| c.is_ascii_digit());
        } else if self.rest.starts_with(".\\overline") {
            self.take(1);
        }
        let whole: BigInt = format!("0{digits}{decimals}").parse().ok()?;
        let places = BigInt::from(10).pow(decimals.len().to_u32()?);
        let mut value = BigRational::new(whole, places.clone());
        if let Some((repeated, rest)) = self.rest.strip_prefix("\\overline{").and_then(|rest| rest.split_once('}')) {
            let nines = BigInt::from(10).pow(repeated.len().to_u32()?) - 1;
            value += BigRational::new(repeated.parse().ok()?, nines * places);
            self.rest = rest;
        }
        self.found.push(Token::Number(value));
        Some(())
    }

    /// Cuts off the next three digits behind a separator. A space is none after `\log_2`.
    fn thousands(&mut self) -> Option<&'a str> {
        let separator = [",", "\\,", "\\ ", " "].into_iter().find(|separator| self.rest.starts_with(separator))?;
        let group = self.rest.get(separator.len()..separator.len() + 3)?;
        let ends = !self.rest[separator.len() + 3..].starts_with(|c: char| c.is_ascii_digit());
        let digits = group.bytes().all(|byte| byte.is_ascii_digit());
        let allowed = match separator {
            "," => self.depth == 0,
            _ => !matches!(self.found.last(), Some(Token::Sign('_' | '^'))),
        };
        (ends && digits && allowed).then(|| &self.take(separator.len() + 3)[separator.len()..])
    }

    fn letters(&mut self) {
        let word = self.take_while(char::is_alphabetic);
        let lower = word.to_lowercase();
        match lower.as_str() {
            "pi" => self.name("π"),
            "infinity" | "inf" => self.name("∞"),
            joins if JOINS.contains(&joins) => self.found.push(Token::Sign(',')),
            function if FUNCTIONS.contains(&function) => self.found.push(Token::Command(lower)),
            unit if UNITS.contains(&unit) => self.found.push(Token::Text(lower)),
            _ if word.chars().count() <= 2 => word.chars().for_each(|c| self.name(&c.to_string())),
            _ => self.name(word),
        }
    }

    fn name(&mut self, name: &str) {
        self.found.push(Token::Name(name.into()));
    }

    fn command(&mut self) -> Option<()> {
        self.take(1);
        let name = self.take_while(|c| c.is_ascii_alphabetic());
        if name.is_empty() {
            return self.escaped();
        }
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => self.fraction(),
            "pi" => self.name("π"),
            "infty" => self.name("∞"),
            "begin" => {
                let kind = self.braced()?;
                self.depth += 1;
                self.found.push(Token::Begin(kind.into()));
            }
            "end" => {
                self.braced()?;
                self.depth = self.depth.saturating_sub(1);
                self.found.push(Token::End);
            }
            "mathrm" if self.rest.trim_start().get(2..3) != Some("}") => {
                let text = self.braced()?;
                self.text(text);
            }
            silent if SILENT.contains(&silent) => {}
            text if TEXTS.contains(&text) => {
                let text = self.braced()?;
                self.text(text);
            }
            function if FUNCTIONS.contains(&function) => self.found.push(Token::Command(name.into())),
            name => match SIGNS.iter().find(|(command, _)| *command == name) {
                Some((_, sign)) => self.found.push(Token::Sign(*sign)),
                None => self.name(&format!("\\{name}")),
            },
        }
        Some(())
    }

    /// `\frac`, with the digits of `\frac12` as its arguments.
    fn fraction(&mut self) {
        self.found.push(Token::Command("frac".into()));
        for _ in 0..2 {
            let Some(digit) = self.rest.trim_start().chars().next().and_then(|c| c.to_digit(10)) else { return };
            self.rest = &self.rest.trim_start()[1..];
            self.found.push(Token::Number(BigInt::from(digit).into()));
        }
    }

    /// A backslash before a sign: a brace, a space, the end of a row.
    fn escaped(&mut self) -> Option<()> {
        let c = self.rest.chars().next()?;
        self.take(c.len_utf8());
        match c {
            '{' => self.sign('⦃'),
            '}' => self.sign('⦄'),
            '\\' => self.sign('⏎'),
            '(' | ')' | '[' | ']' | ',' | ';' | ':' | ' ' | '\n' => Some(()),
            _ => None,
        }
    }

    fn braced(&mut self) -> Option<&'a str> {
        let (inside, rest) = self.rest.trim_start().strip_prefix('{')?.split_once('}')?;
        self.rest = rest;
        Some(inside)
    }

    /// Whether nothing stands before that a unit could belong to.
    fn opens_operand(&self) -> bool {
        matches!(self.found.last(), None | Some(Token::Sign('(' | '[' | '{' | '=' | ',')))
    }

    /// Text is a join, the letter of a choice, or kept.
    fn text(&mut self, text: &str) {
        let plain = text.trim().trim_matches(['(', ')', '.', ',']);
        match plain.to_lowercase().as_str() {
            "" => {}
            joins if JOINS.contains(&joins) => self.found.push(Token::Sign(',')),
            lower if self.opens_operand() && lower.chars().count() == 1 && lower.chars().all(char::is_alphabetic) => {
                self.name(plain);
            }
            lower => self.found.push(Token::Text(lower.split_whitespace().collect::<Vec<_>>().join(" "))),
        }
    }
}
