//! Accuracy on tasks, under one expert or in two passes, with every sample.

mod compare;
mod graded;
mod plain;
mod results;
mod samples;
mod two_passes;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use t2_chat::Message;
use t2_model::Hash;
use t2_model::adapter::Active;
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::generate::GenerateConfig;
use t2_model::text::{ChatTemplate, Tokenizer};
use t2_task::{AnswerBy, AsText, Example, Grade, Settings, Split, Task};

use crate::error::SessionError;
use crate::session::Session;

pub use compare::{comparable, compare};
pub use graded::Graded;
pub use results::{ResultsOf, results};
pub use samples::{SampleKey, SampleRecord, SampleSettings, Samples, read};

/// What the base model is called where answers say who gave them.
pub(crate) const BASE: &str = "base";
/// Most answers at a time.
const BATCH: usize = 128;

/// A task and some of its examples.
pub struct Examples {
    /// The task.
    pub task: Box<dyn Task>,
    /// Where the examples are from.
    pub split: Split,
    /// The examples.
    pub examples: Vec<Example>,
}

impl Examples {
    /// The first `limit` examples of a split of the task called `name`, put as it is put unless somebody says otherwise:
    /// of one that ships with its questions, or of a `.jsonl` file.
    ///
    /// # Errors
    ///
    /// [`SessionError::Task`] when there is no such task or its file is broken, and as [`load`](Self::load).
    pub fn named(name: &str, split: Split, limit: usize) -> Result<Self, SessionError> {
        Self::load(t2_task::find(name, &Settings::default())?, split, limit)
    }

    /// The first `limit` examples of a split of `task`.
    ///
    /// # Errors
    ///
    /// [`SessionError::Task`] when its files are broken, [`SessionError::NoLimit`] for a limit of 0, and
    /// [`SessionError::EmptySplit`] when the split has no examples.
    pub fn load(task: Box<dyn Task>, split: Split, limit: usize) -> Result<Self, SessionError> {
        if limit == 0 {
            return Err(SessionError::NoLimit);
        }
        let examples = task.load(split, limit)?;
        if examples.is_empty() {
            let total = task.load(Split::All, usize::MAX)?.len();
            return Err(SessionError::EmptySplit { task: task.name().to_owned(), split, total });
        }
        Ok(Self { task, split, examples })
    }
}

/// `examples`, each with a name of its own: its place where it has none, and a number after one that others have too.
fn named(examples: &[Example]) -> Vec<Example> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut taken = HashSet::new();
    let named = examples.iter().enumerate().map(|(at, example)| {
        let id = if example.id.is_empty() { at.to_string() } else { example.id.clone() };
        let before = seen.entry(id.clone()).or_default();
        *before += 1;
        let mut number = *before;
        let mut unique = if number == 1 { id.clone() } else { format!("{id}#{number}") };
        while !taken.insert(unique.clone()) {
            number += 1;
            unique = format!("{id}#{number}");
        }
        Example { id: unique, ..example.clone() }
    });
    named.collect()
}

/// `task` as a model with this tokenizer can be asked: without a chat template as one text.
pub(crate) fn as_asked<'t>(task: &'t dyn Task, tokenizer: &Tokenizer) -> Box<dyn Task + 't> {
    if tokenizer.chat_template().is_some() { Box::new(task) } else { Box::new(AsText(task)) }
}

/// Refuse a task whose answers cannot be graded here before they are asked for: one of programs, where there is no sandbox.
fn prove_grading(task: &dyn Task, examples: &[Example]) -> Result<(), SessionError> {
    if let Some(example) = examples.iter().find(|example| example.tests.is_some()) {
        task.grade(&[(example, "")])?;
    }
    Ok(())
}

/// How answers to `task` are completed: as `generate` says, and ended by the strings of the task too.
fn ended_by(task: &dyn Task, generate: &GenerateConfig) -> GenerateConfig {
    let mut generate = generate.clone();
    generate.stop_strings.extend(task.answering().stop);
    generate
}

/// Who answers, and how.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The model.
    pub model: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The weights it runs under.
    pub active: Active<'a>,
    /// What the expert is called, and its hash; `base` without one for the base model.
    pub name: &'a str,
    /// The hash of the expert; `None` for the base model.
    pub hash: Option<Hash>,
    /// How answers are completed.
    pub generate: &'a GenerateConfig,
    /// Answers to each example; more than one make sense where they are drawn.
    pub repeats: usize,
}

/// What tells the answers of one run from those of another.
struct RunOf<'a> {
    session: &'a Session<'a>,
    model: &'a Decoder,
    tokenizer: &'a Tokenizer,
    generate: &'a GenerateConfig,
    /// Who answers: the expert, or the strategy and the experts to choose among.
    who: Value,
    repeats: usize,
}

impl RunOf<'_> {
    /// The name of the run in its samples.
    fn name(&self, task: &dyn Task) -> String {
        let GenerateConfig { max_new_tokens, sampling, stop, stop_strings } = self.generate;
        let Session { dtype, in_f32, seed, .. } = self.session;
        let is_drawn = sampling.temperature > 0.0;
        let described = json!({
            "model": self.model.base_hash(),
            "who": self.who,
            "max_new_tokens": max_new_tokens,
            "dtype": json!([dtype.map(|dtype| dtype.name()), in_f32]),
            "template": self.tokenizer.chat_template().map(ChatTemplate::source),
            "sampling": format!("{sampling:?}"),
            "seed": is_drawn.then_some(seed),
            "stop": stop,
            "stop_strings": stop_strings,
            "repeats": self.repeats,
            "task": [task.name(), task.variant(), &task.grader()],
            "shots": task.shots(),
        });
        blake3::hash(described.to_string().as_bytes()).to_hex()[..16].to_owned()
    }
}

/// What is asked, and how.
#[derive(Clone, Copy)]
struct Asking<'a> {
    task: &'a dyn Task,
    split: Split,
    tokenizer: &'a Tokenizer,
    generate: &'a GenerateConfig,
    /// The name of the run.
    run: &'a str,
}

/// An answer that is not kept yet.
struct New<'a> {
    example: &'a Example,
    repeat: usize,
    prompt: Vec<Message>,
    text: String,
    cut: bool,
    weights: Vec<f32>,
    grade: Grade,
    choice: String,
    hash: Option<Hash>,
}

impl New<'_> {
    fn record(self, asking: Asking<'_>) -> SampleRecord {
        let Asking { task, split, run, .. } = asking;
        let Grade { reward, extracted, metrics, why } = self.grade;
        let is_weighed = task.answering().by == AnswerBy::Likelihood;
        let continuations = if is_weighed { task.continuations(self.example) } else { vec![] };
        // A space of its own stands before every continuation, and is dropped where an answer begins a turn.
        let delimiter = if is_weighed && asking.tokenizer.chat_template().is_none() { " " } else { "" };
        SampleRecord {
            task: task.name().to_owned(),
            split,
            id: self.example.id.clone(),
            repeat: self.repeat,
            prompt: self.prompt,
            settings: SampleSettings {
                max_new_tokens: asking.generate.max_new_tokens,
                stop: asking.generate.stop_strings.clone(),
                delimiter: delimiter.to_owned(),
            },
            choices: self.example.choices.clone(),
            continuations: continuations.iter().map(|text| text.trim_start().to_owned()).collect(),
            log_likelihoods: self.weights,
            text: self.text,
            extracted,
            reference: self.example.reference.clone(),
            reward,
            metrics: metrics.into_iter().map(|(name, right)| (name.to_owned(), right.into())).collect(),
            why,
            grader: task.grader(),
            cut: self.cut,
            choice: self.choice,
            expert_hash: self.hash,
            run: run.to_owned(),
        }
    }
}
