//! The operations that Python problems are made of: in words, in Python, and in Rust.

use std::fmt;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::tiny::words::pick;

/// A Python value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(i64),
    Truth(bool),
    List(Vec<i64>),
    Text(String),
}

use Value::{List, Number, Text, Truth};

impl fmt::Display for Value {
    /// As a Python literal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number(n) => write!(f, "{n}"),
            Truth(true) => f.write_str("True"),
            Truth(false) => f.write_str("False"),
            List(items) => write!(f, "{items:?}"),
            Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Value {
    fn number(&self) -> i64 {
        match self {
            Number(n) => *n,
            other => unreachable!("{other} is not a number"),
        }
    }

    fn list(&self) -> &[i64] {
        match self {
            List(items) => items,
            other => unreachable!("{other} is not a list"),
        }
    }

    fn text(&self) -> &str {
        match self {
            Text(text) => text,
            other => unreachable!("{other} is not a text"),
        }
    }
}

/// What an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Number,
    List,
    Text,
}

impl Takes {
    /// Names that an argument of this kind has.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Takes::Number => &["x", "n", "a", "num"],
            Takes::List => &["x", "items", "nums", "data"],
            Takes::Text => &["s", "text", "word", "name"],
        }
    }

    /// Four inputs to check a function with. Three numbers lie around `k`, where the outcome of a comparison changes.
    pub(crate) fn inputs(self, rng: &mut ChaCha8Rng, k: i64) -> Vec<Value> {
        let words = ["cat", "Dog", "bird", "Tree", "ab", "Snow", "house", "QuiCk"];
        match self {
            Takes::Number => [k - 1, k, k + 1, rng.random_range(21..=60)].map(Number).into(),
            Takes::List => (2..6).map(|len| List((0..len).map(|_| rng.random_range(-9..=30)).collect())).collect(),
            Takes::Text => (0..4).map(|_| Text(pick(rng, &words).into())).collect(),
        }
    }
}

/// One operation.
pub(crate) struct Operation {
    pub(crate) takes: Takes,
    /// How a function is described that begins with this operation: `add {k} to {x}`.
    pub(crate) phrase: &'static str,
    /// How the operation is described after another one: `add {k}`. Empty for operations that always come first.
    pub(crate) then: &'static str,
    pub(crate) expression: &'static str,
    /// The expression that a careless author writes in place of the right one.
    pub(crate) slip: &'static str,
    pub(crate) apply: fn(&Value, i64) -> Value,
}

/// An operation, as the tables below list them: what it takes, `[phrase, then, expression, slip]`, and its value.
const fn op(
    takes: Takes,
    [phrase, then, expression, slip]: [&'static str; 4],
    apply: fn(&Value, i64) -> Value,
) -> Operation {
    Operation { takes, phrase, then, expression, slip, apply }
}

/// Operations from a number to a number, which can follow one another.
pub(crate) static ARITHMETIC: &[Operation] = &[
    op(Takes::Number, ["add {k} to {x}", "add {k}", "{x} + {k}", "{x} - {k}"], |x, k| Number(x.number() + k)),
    op(Takes::Number, ["subtract {k} from {x}", "subtract {k}", "{x} - {k}", "{x} + {k}"], |x, k| {
        Number(x.number() - k)
    }),
    op(Takes::Number, ["multiply {x} by {k}", "multiply by {k}", "{x} * {k}", "{x} + {k}"], |x, k| {
        Number(x.number() * k)
    }),
];

/// Operations from a number to a truth value, which can come last.
pub(crate) static COMPARISONS: &[Operation] = &[
    op(
        Takes::Number,
        ["check if {x} is greater than {k}", "check if it is greater than {k}", "{x} > {k}", "{x} < {k}"],
        |x, k| Truth(x.number() > k),
    ),
    op(
        Takes::Number,
        ["check if {x} is less than {k}", "check if it is less than {k}", "{x} < {k}", "{x} > {k}"],
        |x, k| Truth(x.number() < k),
    ),
    op(
        Takes::Number,
        ["check if {x} is equal to {k}", "check if it is equal to {k}", "{x} == {k}", "{x} = {k}"],
        |x, k| Truth(x.number() == k),
    ),
    op(Takes::Number, ["check if {x} is even", "check if it is even", "{x} % 2 == 0", "{x} % 2 == 1"], |x, _| {
        Truth(x.number() % 2 == 0)
    }),
    op(Takes::Number, ["check if {x} is odd", "check if it is odd", "{x} % 2 == 1", "{x} % 2 == 0"], |x, _| {
        Truth(x.number() % 2 != 0)
    }),
];

/// Operations from a number to a number that are the whole function.
pub(crate) static CHOICES: &[Operation] = &[
    op(Takes::Number, ["find the larger of {x} and {k}", "", "max({x}, {k})", "min({x}, {k})"], |x, k| {
        Number(x.number().max(k))
    }),
    op(Takes::Number, ["find the smaller of {x} and {k}", "", "min({x}, {k})", "max({x}, {k})"], |x, k| {
        Number(x.number().min(k))
    }),
    op(Takes::Number, ["multiply {x} by itself", "", "{x} * {x}", "{x} + {x}"], |x, _| Number(x.number().pow(2))),
];

/// Operations from a list to a number.
pub(crate) static REDUCTIONS: &[Operation] = &[
    op(Takes::List, ["find the sum of {x}", "", "sum({x})", "len({x})"], |x, _| Number(x.list().iter().sum())),
    op(Takes::List, ["count the items in {x}", "", "len({x})", "sum({x})"], |x, _| Number(x.list().len() as i64)),
    op(Takes::List, ["find the largest number in {x}", "", "max({x})", "min({x})"], |x, _| {
        Number(*x.list().iter().max().expect("inputs are not empty"))
    }),
    op(Takes::List, ["find the smallest number in {x}", "", "min({x})", "max({x})"], |x, _| {
        Number(*x.list().iter().min().expect("inputs are not empty"))
    }),
    op(Takes::List, ["get the first item of {x}", "", "{x}[0]", "{x}[1]"], |x, _| Number(x.list()[0])),
    op(Takes::List, ["get the last item of {x}", "", "{x}[-1]", "{x}[0]"], |x, _| Number(x.list()[x.list().len() - 1])),
];

/// Operations from a list to a list.
pub(crate) static LISTS: &[Operation] = &[
    op(Takes::List, ["reverse the list {x}", "", "{x}[::-1]", "{x}[0]"], |x, _| {
        List(x.list().iter().rev().copied().collect())
    }),
    op(Takes::List, ["sort the list {x}", "", "sorted({x})", "{x}[::-1]"], |x, _| {
        let mut items = x.list().to_vec();
        items.sort_unstable();
        List(items)
    }),
];

/// Operations on a text.
pub(crate) static TEXTS: &[Operation] = &[
    op(Takes::Text, ["count the letters in {x}", "", "len({x})", "sum({x})"], |x, _| Number(x.text().len() as i64)),
    op(Takes::Text, ["reverse the text {x}", "", "{x}[::-1]", "{x}[0]"], |x, _| Text(x.text().chars().rev().collect())),
    op(Takes::Text, ["repeat the text {x} {k} times", "", "{x} * {k}", "{x} + {k}"], |x, k| {
        Text(x.text().repeat(k as usize))
    }),
    op(Takes::Text, ["write {x} in upper case", "", "{x}.upper()", "{x}.lower()"], |x, _| {
        Text(x.text().to_uppercase())
    }),
    op(Takes::Text, ["write {x} in lower case", "", "{x}.lower()", "{x}.upper()"], |x, _| {
        Text(x.text().to_lowercase())
    }),
    op(Takes::Text, ["get the first letter of {x}", "", "{x}[0]", "{x}[1]"], |x, _| Text(x.text()[..1].into())),
    op(Takes::Text, ["get the last letter of {x}", "", "{x}[-1]", "{x}[0]"], |x, _| {
        Text(x.text()[x.text().len() - 1..].into())
    }),
];
