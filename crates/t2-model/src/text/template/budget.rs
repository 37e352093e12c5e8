//! How much a template may make: texts and lists grow without an end where one is joined to itself in a loop.
//!
//! All that a template makes is counted, whether or not it is kept, so that it is never asked what is kept. An ordinary
//! template makes each part of its conversation a few times over.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::MAX_TEXT_BYTES;
use super::python::{check_depth, pairs};

/// Bytes that a template may make in all: eight of the longest texts that it may write.
const MAX_BYTES: usize = 8 * MAX_TEXT_BYTES;
/// What an item of a list or dict is counted as.
const ITEM_BYTES: usize = size_of::<Value>();

/// Counts what a template makes.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A template made more than it may.
#[derive(Debug)]
pub(super) struct Spent;

impl Spent {
    /// The limit that `error` is about, if it is one.
    pub(super) fn cause_of(error: &Error) -> Option<&Self> {
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(spent) = error.downcast_ref() {
                return Some(spent);
            }
            cause = error.source();
        }
        None
    }

    /// The error to stop a template with.
    pub(super) fn error() -> Error {
        Error::new(ErrorKind::InvalidOperation, Self.to_string()).with_source(Self)
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it made texts and lists of more than {MAX_BYTES} bytes, as if they grew in circles")
    }
}

impl std::error::Error for Spent {}

impl Budget {
    /// Count `bytes` that are about to be made.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Error> {
        let spent = self.0.load(Ordering::Relaxed).saturating_add(bytes);
        self.0.store(spent, Ordering::Relaxed);
        if spent <= MAX_BYTES { Ok(()) } else { Err(Spent::error()) }
    }

    /// Count a list of `items`.
    pub(super) fn spend_on_items(&self, items: usize) -> Result<(), Error> {
        self.spend(items.saturating_mul(ITEM_BYTES))
    }

    /// Count `value`, but not what its items hold.
    pub(super) fn spend_on(&self, value: &Value) -> Result<(), Error> {
        match value.as_str() {
            Some(text) => self.spend(text.len()),
            None if value.as_object().is_some() => self.spend_on_items(value.len().unwrap_or(0)),
            None => Ok(()),
        }
    }

    /// Count `value` as often as it would be written: a list that holds a list twice holds that one's items twice.
    ///
    /// To compare or write a value takes so long, and so much. Nested too deep, it would take the stack.
    pub(super) fn spend_on_all(&self, value: &Value) -> Result<(), Error> {
        self.spend_at(value, 0)
    }

    fn spend_at(&self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        self.spend(ITEM_BYTES)?;
        match value.kind() {
            ValueKind::String => self.spend_on(value),
            ValueKind::Seq | ValueKind::Iterable => {
                value.try_iter()?.try_for_each(|item| self.spend_at(&item, depth + 1))
            }
            ValueKind::Map => pairs(value).try_for_each(|(key, item)| {
                self.spend_at(&key, depth + 1).and_then(|()| self.spend_at(&item, depth + 1))
            }),
            _ => Ok(()),
        }
    }
}

/// Refuse a text of `bytes` that is about to be made, where it is longer than any that a template may write.
pub(super) fn check_text(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_TEXT_BYTES { Ok(()) } else { Err(Spent::error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_counted_before_it_is_too_much() {
        let budget = Budget::default();
        let list = Value::from(vec![Value::from("four"), Value::from(vec![1, 2])]);
        budget.spend_on(&Value::from("four")).unwrap();
        budget.spend_on(&list).unwrap();
        budget.spend_on(&Value::from(1)).unwrap();
        assert_eq!(budget.0.load(Ordering::Relaxed), 4 + 2 * ITEM_BYTES);
        budget.spend_on_all(&list).unwrap();
        assert_eq!(budget.0.load(Ordering::Relaxed), 8 + 7 * ITEM_BYTES);
        let error = budget.spend(usize::MAX).unwrap_err();
        assert!(Spent::cause_of(&error).is_some(), "{error}");
        assert!(Spent::cause_of(&Error::new(ErrorKind::InvalidOperation, "another")).is_none());
    }

    #[test]
    fn a_list_in_two_places_counts_twice() {
        let twice = |inner: Value| Value::from(vec![inner.clone(), inner]);
        let explosive = (0..60).fold(Value::from(1), |inner, _| twice(inner));
        assert!(Spent::cause_of(&Budget::default().spend_on_all(&explosive).unwrap_err()).is_some());
    }
}
