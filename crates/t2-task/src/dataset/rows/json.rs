//! Rows written as JSON: an object a line, one array of objects, or an object that has the array under a key.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Deserializer, Error, Value};

use super::Row;
use crate::dataset::error::Place;
use crate::dataset::text::Broken;

/// The rows of a file that has an object on each line; one array in place of the lines is read as well.
pub(super) fn lines(text: &str) -> Result<Vec<Row>, Broken> {
    if text.trim_start().starts_with('[') {
        return array(text, text);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, text)| object(text, at + 1).map_err(|problem| Broken { line: at + 1, problem })).collect()
}

/// The rows of a `.json` file: an array, the array under `key`, or objects one after the other over as many lines as
/// they like. MATH has a file for each of its problems, and some tools call a file of lines `.json`.
pub(super) fn values(text: &str, key: Option<&str>) -> Result<Vec<Row>, Broken> {
    if text.trim_start().starts_with('[') {
        return array(text, text);
    }
    let Some(key) = key else { return one_after_the_other(text) };
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| broken(&error))?;
    let has: Vec<&str> = object.keys().map(String::as_str).collect();
    let missing = || Broken {
        line: 1,
        problem: format!("there is no key `{key}`, which is to have the rows; the file has {}", has.join(", ")),
    };
    array(text, object.get(key).ok_or_else(missing)?.get())
}

fn one_after_the_other(text: &str) -> Result<Vec<Row>, Broken> {
    let mut lines = Lines::of(text);
    let values = Deserializer::from_str(text).into_iter::<&RawValue>();
    values.map(|value| lines.row(value.map_err(|error| broken(&error))?)).collect()
}

/// The rows of `array`, which is `text` or a part of it.
fn array(text: &str, array: &str) -> Result<Vec<Row>, Broken> {
    let mut lines = Lines::of(text);
    let before = lines.to(array) - 1;
    let values: Vec<&RawValue> = serde_json::from_str(array)
        .map_err(|error| Broken { line: before + error.line(), problem: error.to_string() })?;
    values.into_iter().map(|value| lines.row(value)).collect()
}

/// Counts the lines of a text from one piece of it to a later one.
struct Lines<'a> {
    text: &'a str,
    /// Where the last piece began, in bytes.
    at: usize,
    /// In which line that was, from 1.
    line: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line in which `piece`, a part of the text behind the last one, begins.
    fn to(&mut self, piece: &str) -> usize {
        let at = piece.as_ptr().addr() - self.text.as_ptr().addr();
        let between = &self.text.as_bytes()[self.at..at];
        self.line += between.iter().filter(|byte| **byte == b'\n').count();
        self.at = at;
        self.line
    }

    fn row(&mut self, value: &RawValue) -> Result<Row, Broken> {
        let line = self.to(value.get());
        object(value.get(), line).map_err(|problem| Broken { line, problem })
    }
}

fn object(text: &str, line: usize) -> Result<Row, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(Row { place: Place::Line(line), fields }),
        Ok(other) => Err(format!("expected an object such as {{\"question\": \"2 + 2?\"}}, and found {other}")),
        Err(_) if text.contains('\0') => {
            Err("the line holds zero bytes, so the file is damaged; write it again".into())
        }
        Err(error) if error.is_eof() => Err(format!("{error}; put all of an object on one line (`jq -c .` does)")),
        Err(error) => Err(error.to_string()),
    }
}

fn broken(error: &Error) -> Broken {
    Broken { line: error.line(), problem: error.to_string() }
}
