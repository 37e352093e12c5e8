//! The filter `tojson` as transformers defines it: `json.dumps` with its options, and no escapes for HTML.

use minijinja::Error;
use minijinja::value::{Rest, Value, ValueKind};

use super::budget::check_text;
use super::python::{bind, check_depth, number, padding, pairs, refuse};

/// `value | tojson(ensure_ascii, indent, separators, sort_keys)`.
pub(super) fn tojson(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let mut json = Json { out: String::new(), style: Style::new(&args)? };
    json.write(value, 0)?;
    Ok(json.out)
}

struct Style {
    ascii: bool,
    /// What each level is indented by; everything is on one line when `None`.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sorted: bool,
}

impl Style {
    fn new(args: &[Value]) -> Result<Self, Error> {
        let [ascii, indent, separators, sorted] = bind(args, ["ensure_ascii", "indent", "separators", "sort_keys"])?;
        let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let indent = match indent.filter(|indent| !indent.is_none()) {
            None => None,
            Some(indent) => Some(match indent.as_str() {
                Some(text) => text.to_owned(),
                None => padding(" ", i64::try_from(indent)?.try_into().unwrap_or(0))?,
            }),
        };
        let (between_items, after_key) = match separators.filter(|separators| !separators.is_none()) {
            None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
            Some(pair) => {
                let parts: Vec<_> = pair.try_iter()?.collect();
                match &parts[..] {
                    [items, key] if items.as_str().is_some() && key.as_str().is_some() => {
                        (items.to_string(), key.to_string())
                    }
                    _ => return Err(refuse("the separators of tojson are two texts, such as (',', ':')")),
                }
            }
        };
        Ok(Self { ascii: is_true(ascii), indent, between_items, after_key, sorted: is_true(sorted) })
    }
}

struct Json {
    out: String,
    style: Style,
}

impl Json {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        check_text(self.out.len())?;
        match value.kind() {
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.container(['[', ']'], items, depth)?;
            }
            ValueKind::Map => {
                let mut items: Vec<_> = pairs(value).map(|(key, item)| (Some(key), item)).collect();
                if self.style.sorted {
                    items.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.container(['{', '}'], items, depth)?;
            }
            _ => self.out.push_str(&scalar(value)?),
        }
        Ok(())
    }

    fn container(
        &mut self,
        [open, close]: [char; 2],
        items: Vec<(Option<Value>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        self.out.push(open);
        let empty = items.is_empty();
        for (index, (key, item)) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push_str(&self.style.between_items);
            }
            self.new_line(depth + 1);
            check_text(self.out.len())?;
            if let Some(key) = key {
                match key.as_str() {
                    Some(key) => self.string(key),
                    None => self.string(&scalar(&key)?),
                }
                self.out.push_str(&self.style.after_key);
            }
            self.write(&item, depth + 1)?;
        }
        if !empty {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                _ if c < ' ' || self.style.ascii && c > '~' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// The JSON of a number, a truth value or null. As a key it goes between quotes, which the caller adds.
fn scalar(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::Number => Ok(match number(value)?.as_str() {
            "nan" => "NaN".to_owned(),
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            number => number.to_owned(),
        }),
        kind => Err(refuse(format!("tojson cannot write a value that is {kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_json_are_spelt_as_in_python() {
        let beyond = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(tojson(&Value::from(beyond), Rest(vec![])).unwrap(), "[NaN, Infinity, -Infinity]");
    }

    #[test]
    fn what_json_lacks_is_refused() {
        let refused = |value, args| tojson(&value, Rest(args)).unwrap_err().to_string();
        assert!(refused(Value::from(vec![Value::UNDEFINED]), vec![]).contains("undefined"));
        let one_separator = vec![Value::from(false), Value::from(()), Value::from(vec![","])];
        assert!(refused(Value::from(1), one_separator).contains("two texts"));
    }
}
