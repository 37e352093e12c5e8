//! Typed access to the keys of a `config.json`.

use serde_json::Value;

use crate::checkpoint::LoadError;

/// The largest number a config may hold: products of two still fit 64 bits.
pub(super) const MAX_COUNT: u64 = i32::MAX as u64;
const COUNT: &str = "a whole number from 1 to 2147483647";

/// `json` with the keys of `defaults` that it lacks: what the config class of transformers assumes. A `null` is no lack:
/// for some keys it means that there is no such thing, where leaving the key out means the default.
pub(crate) fn with_defaults(json: &Value, mut defaults: Value) -> Value {
    if let (Some(all), Some(given)) = (defaults.as_object_mut(), json.as_object()) {
        all.extend(given.clone());
    }
    defaults
}

/// Typed access to the keys of `config.json`; `null` counts as absent, as in transformers.
pub(crate) struct Keys<'a>(pub(crate) &'a Value);

impl<'a> Keys<'a> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The whole number at `key`; `None` when it is absent.
    pub(crate) fn count(&self, key: &'static str) -> Result<Option<usize>, LoadError> {
        let read = |value: &Value| value.as_u64().filter(|n| (1..=MAX_COUNT).contains(n)).map(|n| n as usize);
        self.typed(key, COUNT, read)
    }

    /// The whole number at `key`, which must be there.
    pub(crate) fn required(&self, key: &'static str) -> Result<usize, LoadError> {
        self.count(key)?.ok_or_else(|| missing(key, COUNT))
    }

    /// The whole number at `key`, which may be zero and must be there.
    pub(crate) fn required_or_zero(&self, key: &'static str) -> Result<usize, LoadError> {
        const EXPECTED: &str = "a whole number from 0 to 2147483647";
        let read = |value: &Value| value.as_u64().filter(|&n| n <= MAX_COUNT).map(|n| n as usize);
        self.typed(key, EXPECTED, read)?.ok_or_else(|| missing(key, EXPECTED))
    }

    /// The number at `key`, above zero, which must be there.
    pub(crate) fn required_number(&self, key: &'static str) -> Result<f64, LoadError> {
        self.number(key)?.ok_or_else(|| missing(key, "a number above 0"))
    }

    /// The number at `key`, which must be above zero; `None` when it is absent.
    pub(crate) fn number(&self, key: &'static str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a number above 0", |value| value.as_f64().filter(|&x| x > 0.0))
    }

    /// As [`number`](Self::number), for a key whose zero means that it is absent.
    pub(crate) fn number_unless_zero(&self, key: &'static str) -> Result<Option<f64>, LoadError> {
        match self.get(key).and_then(Value::as_f64) {
            Some(0.0) => Ok(None),
            _ => self.number(key),
        }
    }

    /// The switch at `key`; off when it is absent.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, LoadError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// The string at `key`; `None` when it is absent.
    pub(crate) fn string(&self, key: &'static str) -> Result<Option<&'a str>, LoadError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// The list of numbers at `key`, each above zero; `None` when it is absent.
    pub(crate) fn numbers(&self, key: &'static str) -> Result<Option<Vec<f64>>, LoadError> {
        let read = |value: &Value| {
            let number = |value: &Value| value.as_f64().filter(|&x| x > 0.0);
            value.as_array().and_then(|list| list.iter().map(number).collect())
        };
        self.typed(key, "a list of numbers above 0", read)
    }

    /// The object at `key`; `None` when it is absent or empty.
    pub(crate) fn object(&self, key: &'static str) -> Result<Option<Keys<'a>>, LoadError> {
        let object = self.typed(key, "an object", |value| value.as_object().map(|map| (value, map.is_empty())))?;
        Ok(object.and_then(|(value, is_empty)| (!is_empty).then_some(Keys(value))))
    }

    /// The list at `key`; `None` when it is absent.
    pub(crate) fn list(&self, key: &'static str) -> Result<Option<&'a [Value]>, LoadError> {
        self.typed(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// The list at `key` of something for each of `count` layers; `None` when it is absent.
    pub(crate) fn each_layer(&self, key: &'static str, count: usize) -> Result<Option<&'a [Value]>, LoadError> {
        match self.list(key)? {
            Some(list) if list.len() != count => {
                Err(bad(key, format!("{} long", list.len()), format!("one entry for each of {count} layers")))
            }
            list => Ok(list),
        }
    }

    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let read = |value| read(value).ok_or_else(|| bad(key, value, expected));
        self.get(key).map(read).transpose()
    }
}

/// The error for a `key` whose value is `found` where something else is `expected`.
pub(crate) fn bad(key: &'static str, found: impl ToString, expected: impl Into<String>) -> LoadError {
    LoadError::BadConfig { key, found: found.to_string(), expected: expected.into() }
}

/// The error for a `key` that is not there.
pub(crate) fn missing(key: &'static str, expected: impl Into<String>) -> LoadError {
    bad(key, "missing", expected)
}
