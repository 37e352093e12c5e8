//! Templates and expressions over the fields of a row, in Jinja: what descriptions of evaluation tasks are written in
//! elsewhere, so that they carry over.
//!
//! Strings and lists have Python's methods. A field that is not there, and one that is null, is an error and not an
//! empty text.

use std::collections::HashSet;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat;
use serde::Serialize;

/// Steps after which a template is stopped: a second of a template that does not end.
const MAX_STEPS: u64 = 1_000_000;

/// The templates and expressions of a description, by the key under which they stand.
pub(crate) struct Templates {
    env: Environment<'static>,
    /// The templates that there are: those of optional keys may be missing.
    keys: HashSet<String>,
}

impl Templates {
    pub(crate) fn new() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_keep_trailing_newline(true);
        env.set_fuel(Some(MAX_STEPS));
        env.set_unknown_method_callback(pycompat::unknown_method_callback);
        env.set_formatter(|out, state, value| match value.is_none() {
            true => Err(Error::new(ErrorKind::InvalidOperation, "the value is null")),
            false => minijinja::escape_formatter(out, state, value),
        });
        Self { env, keys: HashSet::new() }
    }

    /// Takes the template of a key.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the template.
    pub(crate) fn add(&mut self, key: &str, template: &str) -> Result<(), String> {
        self.keys.insert(key.into());
        let added = self.env.add_template_owned(key.to_owned(), template.to_owned());
        added.map_err(|error| format!("`{key}` is no template: {error}; expected a text such as {EXAMPLE}"))
    }

    /// Takes the expression of a key.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the expression.
    pub(crate) fn check_expression(&self, key: &str, expression: &str) -> Result<(), String> {
        let compiled = self.env.compile_expression(expression);
        compiled.map(|_| ()).map_err(|error| {
            format!("`{key}` is no expression: {error}; expected what may stand in braces, such as `choices.text`")
        })
    }

    /// Whether there is a template for `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// The text that the template of `key` makes of `fields`; nothing where the key has no template.
    ///
    /// # Errors
    ///
    /// Says which field is missing and which there are, or what else is wrong.
    pub(crate) fn render(&self, key: &str, fields: &Value) -> Result<String, String> {
        if !self.has(key) {
            return Ok(String::new());
        }
        let template = self.env.get_template(key).map_err(|error| error.to_string())?;
        template
            .render(fields)
            .map_err(|error| self.complaint(key, &error, template.undeclared_variables(false), fields))
    }

    /// The value that `expression`, of `key`, has for `fields`.
    ///
    /// # Errors
    ///
    /// As [`Templates::render`].
    pub(crate) fn value(&self, key: &str, expression: &str, fields: &Value) -> Result<Value, String> {
        let compiled = self.env.compile_expression(expression).map_err(|error| error.to_string())?;
        let failed = |error: &Error| self.complaint(key, error, compiled.undeclared_variables(false), fields);
        match compiled.eval(fields) {
            Ok(value) if value.is_undefined() => Err(failed(&Error::from(ErrorKind::UndefinedError))),
            Ok(value) => Ok(value),
            Err(error) => Err(failed(&error)),
        }
    }

    fn complaint(&self, key: &str, error: &Error, used: HashSet<String>, fields: &Value) -> String {
        let has: Vec<String> =
            fields.try_iter().map(|names| names.map(|name| name.to_string()).collect()).unwrap_or_default();
        let globals: HashSet<&str> = self.env.globals().map(|(name, _)| name).collect();
        let mut unknown: Vec<String> = used.into_iter().collect();
        unknown.retain(|name| !has.contains(name) && !globals.contains(name.as_str()));
        unknown.sort_unstable();
        let is_undefined = error.kind() == ErrorKind::UndefinedError;
        let problem = match &unknown[..] {
            [] if is_undefined => "asks for a part that a field does not have".into(),
            [..] if is_undefined && !unknown.is_empty() => {
                format!("uses `{}`, which is not there", unknown.join("`, `"))
            }
            _ => format!("failed: {error}"),
        };
        format!("`{key}` {problem}; the fields are {}", has.join(", "))
    }
}

/// A template, for messages.
const EXAMPLE: &str = "\"What is {{ question }}\"";

/// The fields that a template sees.
pub(crate) fn fields(fields: &impl Serialize) -> Value {
    Value::from_serialize(fields)
}
