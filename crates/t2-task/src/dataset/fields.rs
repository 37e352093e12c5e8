//! How the fields of a row become an example.

use std::collections::BTreeMap;

use minijinja::value::Value;

use super::rows::Row;
use super::spec::DatasetSpec;
use super::template::{Templates, fields};
use crate::example::Example;
use crate::sandbox::Tests;

/// The templates of a description that see a row.
pub(crate) struct RowTemplates {
    templates: Templates,
    choices: Option<String>,
    entry_points: Option<String>,
    /// The key of each of [`Example::meta`].
    meta: Vec<String>,
}

impl RowTemplates {
    /// # Errors
    ///
    /// Says which key of `spec` has a broken template.
    pub(crate) fn new(spec: &DatasetSpec) -> Result<Self, String> {
        let mut templates = Templates::new();
        templates.add("question", &spec.question)?;
        templates.add("reference", &spec.reference)?;
        if let Some(id) = &spec.id {
            templates.add("id", id)?;
        }
        let tests = spec.tests.as_ref();
        if let Some(tests) = tests {
            templates.add("tests.prelude", &tests.prelude)?;
            templates.add("tests.code", &tests.code)?;
        }
        for (name, template) in &spec.meta {
            templates.add(&format!("meta.{name}"), template)?;
        }
        let filters = spec.files.every().filter_map(|files| files.filter.as_deref()).map(|filter| ("where", filter));
        let entry_points = tests.and_then(|tests| tests.entry_points.clone());
        let lists = [("choices", &spec.choices), ("tests.entry_points", &entry_points)];
        let lists = lists.into_iter().filter_map(|(key, expression)| Some((key, expression.as_deref()?)));
        for (key, expression) in lists.chain(filters) {
            templates.check_expression(key, expression)?;
        }
        Ok(Self { templates, choices: spec.choices.clone(), entry_points, meta: spec.meta.keys().cloned().collect() })
    }

    /// Whether the expression `filter` is true of a row.
    ///
    /// # Errors
    ///
    /// Says which field is missing.
    pub(crate) fn takes(&self, filter: &str, row: &Row) -> Result<bool, String> {
        Ok(self.templates.value("where", filter, &seen(row))?.is_true())
    }

    /// The example that a row is; `place` names it where the description says nothing else.
    ///
    /// # Errors
    ///
    /// Says which key asks for a field that is not there, or what is empty.
    pub(crate) fn example(&self, row: &Row, place: usize) -> Result<Example, String> {
        let own_id = own_id(row);
        let row = seen(row);
        let render = |key: &str| self.templates.render(key, &row);
        let id = if self.templates.has("id") { render("id")? } else { own_id.unwrap_or(place.to_string()) };
        let mut meta = BTreeMap::new();
        for name in &self.meta {
            meta.insert(name.clone(), render(&format!("meta.{name}"))?);
        }
        let example = Example {
            id,
            question: render("question")?,
            reference: render("reference")?,
            choices: self.list("choices", self.choices.as_deref(), &row)?,
            tests: self.tests(&row)?,
            meta,
        };
        checked(example)
    }

    fn tests(&self, row: &Value) -> Result<Option<Tests>, String> {
        let code = self.templates.render("tests.code", row)?;
        if code.trim().is_empty() {
            return Ok(None);
        }
        let prelude = self.templates.render("tests.prelude", row)?;
        let entry_points = self.list("tests.entry_points", self.entry_points.as_deref(), row)?;
        Ok(Some(Tests { prelude, code, entry_points }))
    }

    /// The texts of the list that `expression` gives.
    fn list(&self, key: &str, expression: Option<&str>, row: &Value) -> Result<Vec<String>, String> {
        let Some(expression) = expression else { return Ok(vec![]) };
        let value = self.templates.value(key, expression, row)?;
        let items = value.try_iter().ok().filter(|_| value.as_str().is_none());
        let items = items.ok_or_else(|| format!("`{key}` is {value}; expected a list, such as `[a, b, c, d]`"))?;
        Ok(items.map(|item| item.to_string()).collect())
    }
}

/// What a template sees of a row: its fields, and all of them as `row`, for names that are no words of Jinja's.
fn seen(row: &Row) -> Value {
    let mut seen = row.fields.clone();
    seen.entry("row").or_insert_with(|| row.fields.clone().into());
    fields(&seen)
}

/// The id that many data sets have, under one of two names.
fn own_id(row: &Row) -> Option<String> {
    let ids = ["task_id", "id"].into_iter().filter_map(|name| row.fields.get(name));
    let text = |id: &serde_json::Value| id.as_str().map(Into::into).or_else(|| Some(id.as_i64()?.to_string()));
    ids.filter_map(text).find(|id: &String| !id.is_empty())
}

fn checked(example: Example) -> Result<Example, String> {
    let right = letters(&example.choices).into_iter().any(|letter| letter == example.reference);
    match () {
        () if example.question.trim().is_empty() => Err("the question is empty".into()),
        () if example.reference.trim().is_empty() => Err("the answer is empty".into()),
        () if !example.choices.is_empty() && !right => Err(format!(
            "`reference` is `{}`; expected the letter of one of the {} choices, from A on",
            example.reference,
            example.choices.len()
        )),
        () => Ok(example),
    }
}

/// The letters of choices: A, B, C.
pub(crate) fn letters(choices: &[String]) -> Vec<String> {
    ('A'..='Z').take(choices.len()).map(String::from).collect()
}
