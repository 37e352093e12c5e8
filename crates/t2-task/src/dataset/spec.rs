//! The description of a data set, as TOML.
//!
//! ```toml
//! name = "capitals"
//! grader = "exact"
//! question = "What is the capital of {{ country }}?"
//! reference = "{{ capital }}"
//!
//! [files]
//! all = "capitals.csv"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::error::DatasetError;
use super::files::Files;
use super::shipped;
use crate::task::AnswerBy;

/// A data set: where its rows are, how a row becomes an [`Example`](crate::Example), and how that is asked and graded.
///
/// `question`, `reference`, `id`, `prompt` and the values of `tests` and `meta` are *templates*, texts with `{{ … }}`;
/// `choices`, `tests.entry_points` and the `where` of files are *expressions*, what may stand between those braces. The
/// names in them are the fields of a row, except in `prompt` and the like, which see the example that was made of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetSpec {
    /// The name on the command line.
    pub name: String,
    /// One line for help texts.
    pub about: String,
    /// What the data may be used under.
    pub licence: String,
    /// The data set of the Hugging Face Hub that has the files, `openai/gsm8k`.
    pub hub: Option<String>,
    /// The commit, branch or tag of it; `main` where none is named.
    pub revision: Option<String>,
    /// The files of each split.
    pub files: Files,
    /// Template of what names a row; its place in its split where there is none.
    pub id: Option<String>,
    /// Template of the question, bare. It decides the split where the data set has none.
    pub question: String,
    /// Template of a right answer, in full; for questions with choices, of the letter of the right one.
    pub reference: String,
    /// Expression that gives the list of choices.
    pub choices: Option<String>,
    /// What a program must pass.
    pub tests: Option<TestsSpec>,
    /// Templates of what else is worth keeping with an example: its level, its subject.
    pub meta: BTreeMap<String, String>,
    /// Who grades an answer. A row with tests is graded by running them, whoever the grader is.
    pub grader: String,
    /// Template of the plain prompt. It sees `question`, `choices`, `letters`, `lettered` (a line `A. …` for each
    /// choice), `tests`, `entry_points` and `meta`.
    pub prompt: Option<String>,
    /// Template of how the answer is shown in an example before the question: what `prompt` sees, and `reference`.
    pub reply: Option<String>,
    /// How an answer is got: `text` where nothing is said.
    pub answer: Option<AnswerBy>,
    /// Template of what is scored behind the prompt for each choice: `choice` is its text, `letter` its letter.
    pub continuation: Option<String>,
    /// Tokens after which an answer is cut off.
    pub max_new_tokens: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Examples to show before a question, written out; else they are those of `files.shots`, else drawn from `train`.
    pub shots: Vec<Shot>,
    /// Further ways to ask, by name, beside `plain`, `step-by-step` and `few-shot`; or those three, asked differently.
    pub variants: BTreeMap<String, Variant>,
    /// Other tasks whose prompts are to be told apart, in place of files and questions.
    pub topics: Vec<Topic>,
}

/// Templates of [`Tests`](crate::sandbox::Tests).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestsSpec {
    /// Template of what runs before the tests, on their side.
    pub prelude: String,
    /// Template of the tests. A row for which it is empty has none.
    pub code: String,
    /// Expression that gives the list of functions that are the program's own.
    pub entry_points: Option<String>,
}

/// A way to ask.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Variant {
    /// One line for help texts.
    pub about: String,
    /// What the model is told before the conversation begins.
    pub system: Option<String>,
    /// Template of the prompt, which also sees `plain`, the plain prompt.
    pub prompt: Option<String>,
    /// As [`DatasetSpec::reply`].
    pub reply: Option<String>,
    /// How many examples are shown before the question.
    pub shots: usize,
    /// What they are drawn by.
    pub seed: u64,
    /// How they are shown.
    pub layout: Layout,
    /// As [`DatasetSpec::answer`].
    pub answer: Option<AnswerBy>,
    /// As [`DatasetSpec::grader`].
    pub grader: Option<String>,
    /// As [`DatasetSpec::max_new_tokens`].
    pub max_new_tokens: Option<usize>,
    /// As [`DatasetSpec::stop`].
    pub stop: Option<Vec<String>>,
}

/// How examples are shown before a question.
///
/// Chat models are shown turns: with a chat template lm-evaluation-harness does so too (`--fewshot_as_multiturn`). One
/// text is for models that only continue texts, and for figures to compare with theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Each is a turn of the user and one of the assistant, earlier in the conversation.
    #[default]
    Turns,
    /// All are one text with the question: prompt, a space, reply, an empty line.
    Text,
}

/// An example to show before a question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shot {
    /// What is asked, bare: no template.
    pub question: String,
    /// The right answer; of a question with choices, its letter.
    pub reference: String,
    /// The choices.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// A topic and the task whose prompts are about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// What it is called; `other` is what no other topic is.
    pub name: String,
    /// A shipped task.
    pub task: String,
}

impl DatasetSpec {
    /// Reads a description from TOML; `origin` is what errors call it. A description that says `like = "gsm8k"` has
    /// every key of that shipped one, except those that it has itself; one with `files` of its own has no `hub` of the
    /// other.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Spec`] says which key or line is wrong, and what is expected.
    pub fn parse(origin: &str, text: &str) -> Result<Self, DatasetError> {
        let problem = |problem: String| DatasetError::Spec { name: origin.into(), problem };
        let toml = |error: toml::de::Error| problem(error.to_string());
        let table: toml::Table = toml::from_str(text).map_err(toml)?;
        // Without a merge the error knows the line.
        let spec: Self = match table.contains_key("like") {
            false => toml::from_str(text).map_err(toml)?,
            true => merged(table).map_err(problem)?.try_into().map_err(toml)?,
        };
        let spec = spec.graded();
        spec.check().map_err(problem)?;
        Ok(spec)
    }

    /// Reads the description in a file. Unless it names a data set of the Hub, its files are those beside it.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Read`] for the file, and those of [`DatasetSpec::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DatasetError> {
        let path = path.as_ref();
        let expected = "a TOML file that describes a data set";
        let text = std::fs::read_to_string(path).map_err(|source| DatasetError::Read {
            path: path.into(),
            expected,
            source,
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// With the only grader that is possible, where none is named.
    fn graded(mut self) -> Self {
        let only = match () {
            () if !self.topics.is_empty() => "topic",
            () if self.tests.is_some() => "program",
            () => return self,
        };
        if self.grader.is_empty() {
            self.grader = only.into();
        }
        self
    }

    /// Whether everything is there that a task needs.
    fn check(&self) -> Result<(), String> {
        let missing = |key, example| Err(format!("the key `{key}` is missing; write for example `{key} = {example}`"));
        if self.name.is_empty() {
            return missing("name", "\"capitals\"");
        }
        if !self.topics.is_empty() {
            return Ok(());
        }
        match () {
            () if self.question.is_empty() => missing("question", "\"{{ question }}\""),
            () if self.reference.is_empty() => missing("reference", "\"{{ answer }}\""),
            () if self.grader.is_empty() => missing("grader", "\"exact\""),
            () if self.files.is_empty() => missing("files", "{ train = \"train.jsonl\", test = \"test.jsonl\" }"),
            () if self.answer == Some(AnswerBy::Likelihood) && self.choices.is_none() => {
                missing("choices", "\"[a, b, c, d]\"")
            }
            () => Ok(()),
        }
    }
}

/// `table` over the shipped description that it names as `like`, and over the one which that names.
fn merged(mut table: toml::Table) -> Result<toml::Table, String> {
    let Some(like) = table.remove("like") else { return Ok(table) };
    let text = like.as_str().and_then(shipped::text).ok_or_else(|| {
        format!("`like = {like}` names no shipped data set; use one of {}", shipped::names().join(", "))
    })?;
    let mut merged = merged(toml::from_str(text).map_err(|error| error.to_string())?)?;
    if table.contains_key("files") {
        // Its files are not those of the other one.
        merged.remove("hub");
        merged.remove("revision");
    }
    merged.extend(table);
    Ok(merged)
}
