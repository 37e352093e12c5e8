//! Answers as they are kept: a file with a line for each, which an evaluation that was broken off goes on with.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use t2_chat::Message;
use t2_model::Hash;
use t2_model::files::write_atomically;
use t2_task::Split;

use crate::error::SessionError;

/// One answer, as it is kept: a line of a samples file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The task.
    pub task: String,
    /// Where its examples are from.
    pub split: Split,
    /// The example, by the name it has in its task and split.
    pub id: String,
    /// Which of several answers to the example, from 0.
    #[serde(default)]
    pub repeat: usize,
    /// The conversation that asked.
    pub prompt: Vec<Message>,
    /// What ended the answer.
    pub settings: SampleSettings,
    /// The choices of a multiple-choice question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What was weighed after the prompt, where choices were weighed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continuations: Vec<String>,
    /// Log-likelihoods of those, nats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_likelihoods: Vec<f32>,
    /// What the model wrote, or the choice it finds most likely.
    pub text: String,
    /// What the grader took for the answer, where it looks for one.
    pub extracted: Option<String>,
    /// A right answer.
    pub reference: String,
    /// What the answer was worth.
    pub reward: f32,
    /// Whether it is right, by each metric of the grader; the first is what the accuracy counts.
    pub metrics: Map<String, Value>,
    /// Why it is not, where the grader can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The grader and its version.
    pub grader: String,
    /// True when the answer was cut off at the limit of tokens.
    pub cut: bool,
    /// What was chosen to answer: an expert, `base` or `mixture`.
    pub choice: String,
    /// Hash of the expert that answered; none for the base model and for mixtures.
    pub expert_hash: Option<Hash>,
    /// Who answered, and how: answers of one run have the same, and any other model, expert or setting has another.
    pub run: String,
}

/// What ended an answer, or stood before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleSettings {
    /// Most tokens of it.
    pub max_new_tokens: usize,
    /// The strings that end it.
    pub stop: Vec<String>,
    /// What stands between the prompt and a continuation.
    pub delimiter: String,
}

impl SampleRecord {
    /// Whether the answer is right.
    pub fn is_right(&self) -> bool {
        self.reward > 0.0
    }

    /// What the sample is an answer to.
    pub fn key(&self) -> SampleKey<'_> {
        (&self.task, self.split, &self.id, self.repeat)
    }
}

/// What a sample is an answer to: task, split, example, and which of several answers.
pub type SampleKey<'a> = (&'a str, Split, &'a str, usize);

/// The answers in the file at `path`, a line each. A last line that was cut off is left out.
///
/// # Errors
///
/// [`SessionError::Read`], and [`SessionError::Sample`] for the first line that is no sample.
pub fn read(path: &Path) -> Result<Vec<SampleRecord>, SessionError> {
    let bytes = std::fs::read(path).map_err(|source| SessionError::Read { path: path.to_owned(), source })?;
    let mut samples = vec![];
    // Not as one text: a line may have been cut off within a character.
    for (at, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(sample) => samples.push(sample),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(error) if !line.ends_with(b"\n") && (error.is_eof() || std::str::from_utf8(line).is_err()) => {
                tracing::warn!("the last line of {} was cut off and is left out", path.display());
            }
            Err(source) => return Err(SessionError::Sample { path: path.to_owned(), line: at + 1, source }),
        }
    }
    Ok(samples)
}

/// Where the answers of an evaluation are kept while it runs.
#[derive(Debug, Default)]
pub struct Samples {
    /// The file and what it held; `None` where nothing is kept.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: File,
    known: Vec<SampleRecord>,
}

impl Samples {
    /// Keep answers in the file at `path`, beside those that it holds.
    ///
    /// # Errors
    ///
    /// As [`read`], and [`SessionError::Write`] for a file that cannot be written.
    pub fn open(path: &Path) -> Result<Self, SessionError> {
        let known = if path.exists() { read(path)? } else { vec![] };
        // Whatever was cut off goes.
        write_lines(path, &known)?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|source| SessionError::Read { path: path.to_owned(), source })?;
        Ok(Self { kept: Some(Kept { path: path.to_owned(), file, known }) })
    }

    /// The answers of an earlier run with the name `run` to a split of a task, by example, in the order of their repeats.
    ///
    /// # Errors
    ///
    /// [`SessionError::OtherSamples`] where the file holds answers of another run to them.
    pub(super) fn known(
        &self,
        task: &str,
        split: Split,
        run: &str,
    ) -> Result<HashMap<String, Vec<SampleRecord>>, SessionError> {
        let mut found: HashMap<String, Vec<SampleRecord>> = HashMap::new();
        let Some(Kept { path, known, .. }) = &self.kept else { return Ok(found) };
        for sample in known.iter().filter(|sample| sample.task == task && sample.split == split) {
            if sample.run != run {
                return Err(SessionError::OtherSamples { path: path.clone(), task: task.to_owned() });
            }
            let of_example = found.entry(sample.id.clone()).or_default();
            // One that was asked again is behind the one that it replaces.
            of_example.retain(|before| before.repeat != sample.repeat);
            of_example.push(sample.clone());
        }
        found.values_mut().for_each(|samples| samples.sort_by_key(|sample| sample.repeat));
        Ok(found)
    }

    /// Keep these too.
    ///
    /// # Errors
    ///
    /// [`SessionError::Json`] and [`SessionError::Keep`].
    pub(super) fn append<'s>(
        &mut self,
        samples: impl IntoIterator<Item = &'s SampleRecord>,
    ) -> Result<(), SessionError> {
        let Some(Kept { path, file, .. }) = &mut self.kept else { return Ok(()) };
        let mut text = String::new();
        for sample in samples {
            text += &serde_json::to_string(sample)?;
            text.push('\n');
        }
        file.write_all(text.as_bytes()).map_err(|source| SessionError::Keep { path: path.clone(), source })
    }

    /// Write the file anew: what it held beside them, then `all` the answers of this evaluation, in their order.
    ///
    /// # Errors
    ///
    /// [`SessionError::Write`].
    pub fn finish<'s>(self, all: impl Iterator<Item = &'s SampleRecord>) -> Result<(), SessionError> {
        let Some(Kept { path, known, .. }) = self.kept else { return Ok(()) };
        let all: Vec<&SampleRecord> = all.collect();
        let now: HashSet<SampleKey<'_>> = all.iter().map(|sample| sample.key()).collect();
        let others = known.iter().filter(|known| !now.contains(&known.key()));
        let lines: Vec<&SampleRecord> = others.chain(all.iter().copied()).collect();
        write_lines(&path, lines)
    }
}

fn write_lines<'s>(path: &Path, samples: impl IntoIterator<Item = &'s SampleRecord>) -> Result<(), SessionError> {
    let mut text = String::new();
    for sample in samples {
        text += &serde_json::to_string(sample)?;
        text.push('\n');
    }
    Ok(write_atomically(path, text.as_bytes())?)
}
