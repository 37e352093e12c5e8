//! How the fields of a row become an example.

use std::collections::BTreeMap;

use minijinja::value::Value;

use super::rows::Row;
use super::spec::DatasetSpec;
use super::template::{Templates, fields};
use crate::example::Example;
use crate::grade::fences;
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
        let (question, reference) = (render("question")?, render("reference")?);
        let example = Example {
            id,
            question,
            choices: self.list("choices", self.choices.as_deref(), &row)?,
            tests: self.tests(&row, &reference)?,
            reference,
            meta,
        };
        checked(example, self.choices.is_some())
    }

    fn tests(&self, row: &Value, reference: &str) -> Result<Option<Tests>, String> {
        let code = self.templates.render("tests.code", row)?;
        if code.trim().is_empty() {
            return Ok(None);
        }
        let prelude = self.templates.render("tests.prelude", row)?;
        let entry_points = match self.entry_points.as_deref() {
            None => tested_functions(reference, &prelude, &code)?,
            given => self.list("tests.entry_points", given, row)?,
        };
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

/// The functions of a right program that its tests name: those are the program's even where Python has one of the same
/// name. Tests that name nothing of the program would be passed by every program.
fn tested_functions(reference: &str, prelude: &str, code: &str) -> Result<Vec<String>, String> {
    let program = fences::program(reference);
    let named = |name: &str| words(code).any(|word| word == name);
    let bound: Vec<&str> = fences::defined(&program).into_iter().chain(assigned(&program)).collect();
    if !bound.iter().any(|name| named(name) || words(prelude).any(|word| word == *name)) {
        return Err(format!(
            "the tests name nothing that the right answer defines ({}): every program would pass them; expected a call \
             of its function, or `tests.entry_points`",
            if bound.is_empty() { "no function, no class".into() } else { bound.join(", ") }
        ));
    }
    Ok(fences::functions(&program).into_iter().filter(|name| named(name)).map(Into::into).collect())
}

/// The names that a Python source assigns or imports at its top level.
fn assigned(source: &str) -> impl Iterator<Item = &str> {
    let top = source.lines().filter(|line| !line.starts_with([' ', '\t', '#']));
    top.flat_map(|line| match line.split_once(" import ").or_else(|| line.split_once("import ")) {
        Some((_, names)) => words(names).collect(),
        None => line.split_once('=').filter(is_assignment).map_or(vec![], |(names, _)| words(names).collect()),
    })
}

/// Whether what stands around the first `=` of a line is names and a value: no comparison, no default of an argument.
fn is_assignment((names, value): &(&str, &str)) -> bool {
    !value.starts_with('=') && names.chars().all(|c| c.is_alphanumeric() || "_, ".contains(c))
}

/// The names in a Python source, but for those of parts, which stand behind a point.
fn words(source: &str) -> impl Iterator<Item = &str> {
    let mut part = false;
    source.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').filter_map(move |piece| {
        let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let is_part = std::mem::replace(&mut part, piece.ends_with('.'));
        (!word.is_empty() && !is_part).then_some(word)
    })
}

/// An example that can be asked; `asks_choices` where each must have some.
fn checked(example: Example, asks_choices: bool) -> Result<Example, String> {
    let letters = letters(&example.choices);
    let right = letters.contains(&example.reference);
    match () {
        () if example.question.trim().is_empty() => Err("the question is empty".into()),
        () if example.reference.trim().is_empty() => Err("the answer is empty".into()),
        () if asks_choices && example.choices.is_empty() => {
            Err("`choices` is an empty list; expected at least one choice".into())
        }
        () if example.choices.len() > letters.len() => Err(format!(
            "there are {} choices; expected at most {}, one for each letter",
            example.choices.len(),
            letters.len()
        )),
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
