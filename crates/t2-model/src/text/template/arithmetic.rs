//! The operators `+`, `~` and `*` as filters that count what they make. Templates are rewritten to call them.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error};

use super::budget::Budget;
use super::python::{refuse, text};

/// The filters that operators are rewritten to, and the two that count what is there: a list or dict that the template
/// spells out, and what it asks for by `in`.
pub(super) const ADD: &str = "python_add";
pub(super) const CONCAT: &str = "python_concat";
pub(super) const MULTIPLY: &str = "python_multiply";
pub(super) const LITERAL: &str = "python_literal";
pub(super) const WANTED: &str = "python_wanted";
/// The filter of texts between tags: it counts as many bytes as it is given.
pub(super) const WRITTEN: &str = "python_written";

/// Add these filters to `env`.
pub(super) fn add_to(env: &mut Environment<'_>, budget: &Budget) {
    for (name, operator) in [(ADD, add as Operator), (CONCAT, concat), (MULTIPLY, multiply)] {
        let budget = budget.clone();
        env.add_filter(name, move |left: &Value, right: &Value| operator(&budget, left, right));
    }
    for name in [LITERAL, WANTED] {
        let budget = budget.clone();
        env.add_filter(name, move |value: Value| budget.spend_on_all(&value).map(|()| value));
    }
    let budget = budget.clone();
    env.add_filter(WRITTEN, move |bytes: usize| budget.spend(bytes).map(|()| ""));
}

type Operator = fn(&Budget, &Value, &Value) -> Result<Value, Error>;

fn concat(budget: &Budget, left: &Value, right: &Value) -> Result<Value, Error> {
    let (left, right) = (text(left)?, text(right)?);
    budget.spend(left.len() + right.len())?;
    Ok([&*left, &*right].concat().into())
}

fn add(budget: &Budget, left: &Value, right: &Value) -> Result<Value, Error> {
    if left.as_str().is_some() && right.as_str().is_some() {
        return concat(budget, left, right);
    }
    if is_list(left) && is_list(right) {
        budget.spend_on(left)?;
        budget.spend_on(right)?;
        return Ok(left.try_iter()?.chain(right.try_iter()?).collect::<Vec<_>>().into());
    }
    calculate(left, right, i128::checked_add, |left, right| left + right, "add")
}

fn multiply(budget: &Budget, left: &Value, right: &Value) -> Result<Value, Error> {
    let (repeated, count) =
        if left.kind() == ValueKind::String || is_list(left) { (left, right) } else { (right, left) };
    let times = || usize::try_from(i64::try_from(count.clone())?.max(0)).map_err(|_| refuse("too many repetitions"));
    if let Some(repeated) = repeated.as_str() {
        let times = times()?;
        budget.spend(repeated.len().saturating_mul(times))?;
        return Ok(repeated.repeat(times).into());
    }
    if is_list(repeated) {
        let (items, times) = (repeated.try_iter()?.collect::<Vec<_>>(), times()?);
        budget.spend_on_items(items.len().saturating_mul(times))?;
        return Ok(std::iter::repeat_n(items, times).flatten().collect::<Vec<_>>().into());
    }
    calculate(left, right, i128::checked_mul, |left, right| left * right, "multiply")
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// The result for two numbers, the whole ones by `whole`.
fn calculate(
    left: &Value,
    right: &Value,
    whole: fn(i128, i128) -> Option<i128>,
    float: fn(f64, f64) -> f64,
    what: &str,
) -> Result<Value, Error> {
    let integer = |value: &Value| {
        let is_one = value.is_integer() || value.kind() == ValueKind::Bool;
        is_one.then(|| i128::try_from(value.clone()).ok()).flatten()
    };
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        let result = whole(left, right).ok_or_else(|| refuse(format!("cannot {what} {left} and {right}")))?;
        return Ok(i64::try_from(result).map_or_else(|_| result.into(), Value::from));
    }
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if is_number(left) && is_number(right) {
        return Ok(float(f64::try_from(left.clone())?, f64::try_from(right.clone())?).into());
    }
    Err(refuse(format!("cannot {what} a value that is {} and one that is {}", left.kind(), right.kind())))
}

#[cfg(test)]
mod tests {
    use super::super::python::repr;
    use super::*;

    #[track_caller]
    fn check(operator: Operator, left: impl Into<Value>, right: impl Into<Value>, expected: &str) {
        let result = operator(&Budget::default(), &left.into(), &right.into());
        assert_eq!(result.and_then(|value| repr(&value)).unwrap_or_else(|_| "refused".to_owned()), expected);
    }

    #[test]
    fn operators_are_those_of_python() {
        check(add, 1, 2, "3");
        check(add, true, 2, "3");
        check(add, 1, 0.5, "1.5");
        check(add, i64::MAX, 1, "9223372036854775808");
        check(add, "a", "b", "'ab'");
        check(add, vec![1], vec![2, 3], "[1, 2, 3]");
        check(add, "a", 1, "refused");
        check(add, i128::MAX, 1, "refused");
        check(add, Value::UNDEFINED, 1, "refused");
        check(multiply, 6, 7, "42");
        check(multiply, 0.5, 3, "1.5");
        check(multiply, "ab", 2, "'abab'");
        check(multiply, 2, "ab", "'abab'");
        check(multiply, "ab", -1, "''");
        check(multiply, vec![1, 2], 2, "[1, 2, 1, 2]");
        check(multiply, "ab", 0.5, "refused");
        check(multiply, "ab", "cd", "refused");
        check(concat, "a", Value::from(vec![Value::from("b"), Value::from(())]), "\"a['b', None]\"");
        check(concat, Value::UNDEFINED, true, "'True'");
    }
}
