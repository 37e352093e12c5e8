//! The metadata of a file: values by key, of the type that is asked for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::bytes::Bytes;
use super::value::{MetaArray, MetaValue};
use super::{MAX_SHOWN, Problem};

/// Values by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, MetaValue>);

impl Metadata {
    /// Read `count` keys with their values.
    pub(super) fn read(bytes: &mut Bytes<'_>, count: usize) -> Result<Self, Problem> {
        let mut all = BTreeMap::new();
        for _ in 0..count {
            let key = bytes.string()?;
            let value = MetaValue::read(bytes)?;
            match all.entry(key) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(entry) => {
                    let key: String = entry.key().chars().take(MAX_SHOWN).collect();
                    return Err(Problem::Broken(format!("the key `{key}` occurs twice")));
                }
            };
        }
        Ok(Self(all))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&MetaValue> {
        self.0.get(key)
    }

    /// Every key with its value, in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The string at `key`; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is anything else.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Problem> {
        self.typed(key, "a string", |value| match value {
            MetaValue::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The whole number at `key`, however wide; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is negative or anything else.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Problem> {
        self.typed(key, "a whole number from 0 on", |value| value.integer().and_then(|n| n.try_into().ok()))
    }

    /// The number at `key`, see [`MetaValue::number`]; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is not finite or anything else.
    pub fn f64(&self, key: &str) -> Result<Option<f64>, Problem> {
        self.typed(key, "a finite number", |value| value.number().filter(|x| x.is_finite()))
    }

    /// The truth value at `key`; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is anything else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Problem> {
        self.typed(key, "true or false", |value| match value {
            MetaValue::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// The strings at `key`; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is anything else.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Problem> {
        self.typed(key, "a list of strings", |value| match value {
            MetaValue::Array(MetaArray::String(items)) => Some(items.as_slice()),
            _ => None,
        })
    }

    /// The whole numbers at `key`, however wide; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is anything else.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, Problem> {
        self.list(key, "a list of whole numbers", |value| value.integer().and_then(|n| n.try_into().ok()))
    }

    /// The numbers at `key`; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is anything else.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, Problem> {
        self.list(key, "a list of numbers", |value| match value {
            MetaValue::F32(x) => Some(x),
            other => other.number().map(|x| x as f32),
        })
    }

    /// The truth values at `key`; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Problem::BadKey`] when it is anything else.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>, Problem> {
        self.list(key, "a list of true and false", |value| match value {
            MetaValue::Bool(value) => Some(value),
            _ => None,
        })
    }

    fn list<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(MetaValue) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Problem> {
        self.typed(key, expected, |value| match value {
            MetaValue::Array(array) => array.iter().map(&read).collect(),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a MetaValue) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let read = |value| read(value).ok_or_else(|| Problem::bad(key, value.shown(), expected));
        self.get(key).map(read).transpose()
    }
}

impl FromIterator<(String, MetaValue)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, MetaValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
