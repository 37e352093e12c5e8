//! What an answer is: a value, several, a point or an interval, a matrix, a relation, a word.

use super::polynomial::Value;
use super::reader;
use super::token::{self, Token};

/// What an answer is.
#[derive(Debug)]
pub(super) enum Answer {
    Value {
        value: Value,
        /// Empty where there is none.
        unit: String,
    },
    /// In any order: `1, 2`, `\{1, 2\}`, `\pm 1`.
    Several(Vec<Answer>),
    /// In this order: a point, an interval.
    Ordered {
        open: char,
        close: char,
        items: Vec<Answer>,
    },
    /// Intervals joined by `∪`, in any order.
    Union(Vec<Answer>),
    /// Rows of a matrix, or of a determinant.
    Matrix {
        determinant: bool,
        rows: Vec<Vec<Answer>>,
    },
    /// Sides with the signs between them.
    Relation {
        sides: Vec<Answer>,
        signs: Vec<char>,
        /// Whether the first side only names what the others say: `x = 5`, `f(x) = 2x`, `(x, y) = (1, 2)`.
        named: bool,
    },
    Words(String),
}

/// What a text is; `None` where it cannot be read.
pub(super) fn answer(text: &str) -> Option<Answer> {
    let text = text.trim();
    let letters = text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-');
    let lower = text.to_lowercase();
    if letters
        && text.chars().count() > 1
        && !["pi", "infinity", "-"].contains(&lower.trim_matches('-'))
        && !text.starts_with('-')
    {
        return Some(Answer::Words(lower.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    read(&token::tokens(text)?)
}

fn read(tokens: &[Token]) -> Option<Answer> {
    let parts: Vec<&[Token]> =
        split(tokens, |sign| sign == ',').0.into_iter().filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [] => None,
        [part] => read_one(part),
        _ => Some(several(parts.into_iter().map(read_one).collect::<Option<_>>()?)),
    }
}

/// Reads what no comma divides.
fn read_one(tokens: &[Token]) -> Option<Answer> {
    let (sides, signs) = split(tokens, |sign| "=<>≤≥≠∈:".contains(sign));
    if !signs.is_empty() {
        let named = "=∈".contains(signs[0]) && is_name(sides[0]);
        let sides = sides.into_iter().map(read).collect::<Option<_>>()?;
        return Some(Answer::Relation { sides, signs, named });
    }
    let (parts, unions) = split(tokens, |sign| sign == '∪');
    if !unions.is_empty() {
        return Some(Answer::Union(parts.into_iter().map(read).collect::<Option<_>>()?));
    }
    read_bracketed(tokens).unwrap_or_else(|| read_value(tokens))
}

/// Reads what one pair of brackets holds; `None` where there is none, or it only groups.
fn read_bracketed(tokens: &[Token]) -> Option<Option<Answer>> {
    let [first, inside @ .., last] = tokens else { return None };
    if depths(tokens).iter().filter(|depth| **depth == 0).count() != 1 {
        return None;
    }
    match (first, last) {
        (Token::Begin(kind), Token::End) => Some(read_matrix(kind, inside)),
        (Token::Sign('⦃'), Token::Sign('⦄')) => Some(if inside.is_empty() {
            Some(several(Vec::new()))
        } else {
            read(inside).map(|item| several(vec![item]))
        }),
        (Token::Sign('{'), Token::Sign('}')) => Some(read(inside)),
        (Token::Sign(open @ ('(' | '[')), Token::Sign(close @ (')' | ']'))) => {
            let (items, commas) = split(inside, |sign| sign == ',');
            let items = || items.into_iter().map(read).collect::<Option<_>>();
            (!commas.is_empty()).then(|| Some(Answer::Ordered { open: *open, close: *close, items: items()? }))
        }
        _ => None,
    }
}

fn read_matrix(kind: &str, inside: &[Token]) -> Option<Answer> {
    let rows = split(inside, |sign| sign == '⏎').0.into_iter().filter(|row| !row.is_empty());
    let cells = |row: &[Token]| split(row, |sign| sign == '&').0.into_iter().map(read).collect::<Option<Vec<_>>>();
    let rows = rows.map(cells).collect::<Option<_>>()?;
    kind.ends_with("matrix").then_some(Answer::Matrix { determinant: kind.to_lowercase() == "vmatrix", rows })
}

fn read_value(tokens: &[Token]) -> Option<Answer> {
    if tokens.iter().all(|token| matches!(token, Token::Text(_))) {
        return Some(Answer::Words(texts(tokens).join(" ")));
    }
    let (tokens, unit) = without_unit(tokens)?;
    let values = reader::values(&tokens)?.into_iter();
    let mut values = values.map(|value| Answer::Value { value, unit: unit.clone() }).collect::<Vec<_>>();
    if values.len() == 1 { values.pop() } else { Some(several(values)) }
}

/// What several answers are, those of several taken apart.
fn several(items: Vec<Answer>) -> Answer {
    let apart = items.into_iter().flat_map(|item| match item {
        Answer::Several(items) => items,
        item => vec![item],
    });
    Answer::Several(apart.collect())
}

fn texts(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().filter_map(|token| if let Token::Text(text) = token { Some(text.as_str()) } else { None }).collect()
}

/// Words that are no units: they change the value.
const SCALES: &[&str] = &[
    "squared",
    "cubed",
    "factorial",
    "pair",
    "dozen",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "half",
    "quarter",
    "base",
    "mod",
];

/// A value without the unit behind it, or the dollar sign before it. `None` where the text behind it is no unit.
fn without_unit(tokens: &[Token]) -> Option<(Vec<Token>, String)> {
    let (mut left, mut unit) = (tokens, Vec::new());
    loop {
        left = match left {
            [rest @ .., Token::Text(text), Token::Sign('^'), Token::Number(power)] => {
                unit.push(format!("{text}^{power}"));
                rest
            }
            [
                rest @ ..,
                Token::Text(text),
                Token::Sign('^'),
                Token::Sign('{'),
                Token::Number(power),
                Token::Sign('}'),
            ] => {
                unit.push(format!("{text}^{power}"));
                rest
            }
            [rest @ .., Token::Text(text)] => {
                if text.split(' ').any(|word| SCALES.contains(&word.trim_end_matches('s'))) {
                    return None;
                }
                unit.push(if text.starts_with("degree") { "°".into() } else { text.clone() });
                rest
            }
            [rest @ .., Token::Sign(sign @ ('°' | '%'))] => {
                unit.push(sign.to_string());
                rest
            }
            _ => break,
        };
    }
    let is_dollar = |token: &Token| *token == Token::Sign('$');
    if left.iter().take(2).any(is_dollar) {
        unit.push("$".into());
    }
    let left = left.iter().filter(|token| !is_dollar(token)).cloned().collect();
    unit.reverse();
    let unit = unit.iter().map(|word| word.trim_end_matches(['.', 's'])).collect::<Vec<_>>().join(" ");
    Some((left, if unit == "percent" { "%".into() } else { unit }))
}

/// How many brackets are open after each token.
fn depths(tokens: &[Token]) -> Vec<usize> {
    let depth = tokens.iter().scan(0_usize, |depth, token| {
        match token {
            Token::Begin(_) | Token::Sign('(' | '[' | '{' | '⦃') => *depth += 1,
            Token::End | Token::Sign(')' | ']' | '}' | '⦄') => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    depth.collect()
}

/// The parts of tokens between the signs outside brackets that are asked for, and these.
fn split(tokens: &[Token], asked: impl Fn(char) -> bool) -> (Vec<&[Token]>, Vec<char>) {
    let (mut parts, mut signs, mut start) = (Vec::new(), Vec::new(), 0);
    for (at, (token, depth)) in tokens.iter().zip(depths(tokens)).enumerate() {
        if let Token::Sign(sign) = token
            && depth == 0
            && !")]}⦄".contains(*sign)
            && asked(*sign)
        {
            parts.push(&tokens[start..at]);
            signs.push(*sign);
            start = at + 1;
        }
    }
    parts.push(&tokens[start..]);
    (parts, signs)
}

/// Whether tokens only name something: no operator, and no two names side by side, which would be a product.
fn is_name(tokens: &[Token]) -> bool {
    let product = tokens.windows(2).any(|pair| matches!(pair, [Token::Name(_), Token::Name(_)]));
    let names = |token: &Token| {
        matches!(token, Token::Name(_) | Token::Text(_) | Token::Sign('(' | ')' | ',' | '_' | '{' | '}'))
    };
    let subscript = |at: usize| at > 0 && matches!(tokens[at - 1], Token::Sign('_' | '{'));
    let fits = |(at, token): (usize, &Token)| names(token) || (matches!(token, Token::Number(_)) && subscript(at));
    !product && !tokens.is_empty() && tokens.iter().enumerate().all(fits)
}
