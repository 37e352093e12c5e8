//! Accuracy on tasks, under one expert or in two passes, with every sample.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use t2_chat::Message;
use t2_dispatch::{Answer, ExpertPool, Labelled, ModelOracle, Query, Shot, Strategy, strategy, two_pass_with};
use t2_model::Hash;
use t2_model::adapter::Active;
use t2_model::decoder::Decoder;
use t2_model::generate::{FinishReason, GenerateConfig};
use t2_model::text::Tokenizer;
use t2_rl::evaluate::{Accuracy, EvaluateConfig, EvaluateError, evaluate_with, grade};
use t2_rl::fitting;
use t2_task::{Example, Split, Task};

use crate::error::SessionError;
use crate::event::Event;
use crate::session::{Pool, Session};

/// Examples answered in one batch.
const BATCH: usize = 128;
/// Labelled examples for strategies that learn from them.
const SHOTS: usize = 64;

/// A task and some of its examples.
pub struct Examples {
    /// The task.
    pub task: Box<dyn Task>,
    /// Where the examples are from.
    pub split: Split,
    /// The examples.
    pub examples: Vec<Example>,
}

/// How well a task was answered.
#[derive(Clone, Debug, Serialize)]
pub struct Graded {
    /// The task.
    pub task: String,
    /// Where its examples are from.
    pub split: Split,
    /// The share of right answers.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// Answers that were cut off at the limit of tokens.
    pub cut: usize,
    /// Examples that were left out because they are too long for the model.
    pub skipped: usize,
    /// How experts were chosen.
    pub strategy: String,
    /// What the expert is called, where one and the same answered everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert: Option<String>,
    /// Hash of the expert that answered everything; none for the base model and in two passes.
    pub expert_hash: Option<Hash>,
    /// Hashes of the experts to choose among, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub expert_hashes: BTreeMap<String, Hash>,
    /// Time of the first pass, in seconds.
    pub first_pass_secs: f64,
    /// Time of the second pass, in seconds.
    pub second_pass_secs: f64,
    /// How often each expert, `base` or a mixture was chosen.
    pub choices: BTreeMap<String, usize>,
    /// Mean coefficients of the experts, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mixture: BTreeMap<String, f32>,
    /// Every answer.
    #[serde(skip)]
    pub samples: Vec<SampleRecord>,
}

/// One answer, as it is kept: a line of a samples file.
#[derive(Clone, Debug, Serialize)]
pub struct SampleRecord {
    /// The task.
    pub task: String,
    /// The conversation that asked.
    pub prompt: Vec<Message>,
    /// What the model wrote.
    pub text: String,
    /// What the grader took for the answer, where it looks for one.
    pub extracted: Option<String>,
    /// A right answer.
    pub reference: String,
    /// What the answer was worth.
    pub reward: f32,
    /// True when the answer was cut off at the limit of tokens.
    pub cut: bool,
    /// What was chosen to answer: an expert, `base` or `mixture`.
    pub choice: String,
    /// Hash of the expert that answered; none for the base model and for mixtures.
    pub expert_hash: Option<Hash>,
}

impl Examples {
    /// The first `limit` examples of a split of the task called `task`, which may be a `.jsonl` file.
    ///
    /// # Errors
    ///
    /// [`SessionError::Task`] when there is no such task or its file is broken, [`SessionError::NoLimit`] for a limit
    /// of 0, and [`SessionError::EmptySplit`] when the split has no examples.
    pub fn load(task: &str, split: Split, limit: usize) -> Result<Self, SessionError> {
        if limit == 0 {
            return Err(SessionError::NoLimit);
        }
        let task = t2_task::find(task)?;
        let examples = task.load(split, limit)?;
        if examples.is_empty() {
            let total = task.load(Split::All, usize::MAX)?.len();
            return Err(SessionError::EmptySplit { task: task.name().to_owned(), split, total });
        }
        Ok(Self { task, split, examples })
    }
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
    /// How answers are completed.
    pub generate: &'a GenerateConfig,
}

impl Session<'_> {
    /// Accuracy of `subject` under one expert or none; `what` names it for whoever watches.
    ///
    /// # Errors
    ///
    /// [`SessionError::Evaluate`] when a prompt is refused, the grader fails, or the watcher broke off.
    pub fn plain(&self, subject: Subject<'_>, examples: &Examples, what: &str) -> Result<Graded, SessionError> {
        let Subject { model, tokenizer, active, generate } = subject;
        let Examples { task, split, examples } = examples;
        let total = examples.len();
        let config = EvaluateConfig { generate, active, batch: BATCH };
        let start = Instant::now();
        let progress = |done| self.watch.see(Event::Answering { what, done, total });
        let done = evaluate_with(model, tokenizer, &**task, examples, config, progress);
        // The bar goes, also where the work broke off; there is nothing left to break off.
        let _ = self.watch.see(Event::Answering { what, done: total, total });
        let done = done?;
        let sample = |((example, rollout), &reward): ((&&Example, &t2_rl::Rollout), &f32)| SampleRecord {
            task: task.name().to_owned(),
            prompt: task.prompt(example),
            text: rollout.text.clone(),
            extracted: task.extract(example, &rollout.text),
            reference: example.answer.clone(),
            reward,
            cut: rollout.is_cut(),
            choice: "base".to_owned(),
            expert_hash: None,
        };
        let answers = done.examples.iter().zip(&done.rollouts).zip(&done.rewards);
        Ok(Graded {
            task: task.name().to_owned(),
            split: *split,
            accuracy: done.accuracy(),
            cut: done.cut(),
            skipped: done.skipped.len(),
            strategy: strategy::base().name.to_owned(),
            expert: None,
            expert_hash: None,
            expert_hashes: BTreeMap::new(),
            first_pass_secs: 0.0,
            second_pass_secs: start.elapsed().as_secs_f64(),
            choices: BTreeMap::new(),
            mixture: BTreeMap::new(),
            samples: answers.map(sample).collect(),
        })
    }

    /// Accuracy in two passes: `strategy` chooses among the experts of `pool` for each example.
    ///
    /// # Errors
    ///
    /// [`SessionError::Dispatch`] when the strategy lacks something or a prompt is refused, and when the watcher broke
    /// off; [`SessionError::Evaluate`] when no example fits the model and when the grader fails.
    pub fn dispatched(
        &self,
        pool: &Pool<'_>,
        examples: &Examples,
        generate: &GenerateConfig,
        strategy: &mut dyn Strategy,
    ) -> Result<Graded, SessionError> {
        let Examples { task, split, examples } = examples;
        let what = format!("{}: {}", strategy.name(), task.name());
        let fitting = fitting(&pool.model, pool.tokenizer, &**task, examples, generate.max_new_tokens)
            .map_err(EvaluateError::from)?
            .not_empty(&**task)?;
        let shots = task.load(Split::Train, SHOTS)?;
        let labelled: Vec<Shot> =
            shots.iter().map(|shot| Shot { prompt: task.prompt(shot), answer: shot.answer.clone() }).collect();
        let grade_shots = |graded: &[(usize, &str)]| {
            let graded: Vec<(&Example, &str)> = graded.iter().map(|&(i, text)| (&shots[i], text)).collect();
            Ok(task.rewards(&graded)?)
        };
        let keep_going = || self.keep_going();
        let mut oracle = ModelOracle {
            max_rows: BATCH,
            labelled: Some(Labelled { shots: &labelled, grade: &grade_shots }),
            keep_going: &keep_going,
            ..pool.oracle(generate.clone())
        };
        let query = |(row, example): (usize, &&Example)| Query { prompt: task.prompt(example), seed: row as u64 };
        let queries: Vec<Query> = fitting.examples.iter().enumerate().map(query).collect();
        let total = queries.len();
        let mut last = 0;
        let passes = two_pass_with(strategy, &queries, &pool.experts, &mut oracle, |query, _| {
            last = last.max(query);
            self.watch.see(Event::Answering { what: &what, done: last, total })
        });
        let _ = self.watch.see(Event::Answering { what: &what, done: total, total });
        let passes = passes?;
        let texts = passes.answers.iter().map(|answer| answer.text.as_str());
        let rewards = grade(&**task, &fitting.examples, texts)?;
        let hashes = pool.experts.hashes();
        let sample = |((example, answer), &reward): ((&&Example, &Answer), &f32)| SampleRecord {
            task: task.name().to_owned(),
            prompt: task.prompt(example),
            text: answer.text.clone(),
            extracted: task.extract(example, &answer.text),
            reference: example.answer.clone(),
            reward,
            cut: is_cut(answer),
            choice: answer.choice.label.clone(),
            expert_hash: hashes.get(&answer.choice.label).copied(),
        };
        Ok(Graded {
            task: task.name().to_owned(),
            split: *split,
            accuracy: Accuracy::of(&rewards),
            cut: passes.answers.iter().filter(|answer| is_cut(answer)).count(),
            skipped: fitting.skipped.len(),
            strategy: strategy.name().to_owned(),
            expert: None,
            expert_hash: None,
            expert_hashes: hashes.clone(),
            first_pass_secs: passes.first_pass_secs,
            second_pass_secs: passes.second_pass_secs,
            choices: count_choices(&passes.answers),
            mixture: mean_mixture(&passes.answers, &pool.experts),
            samples: fitting.examples.iter().zip(&passes.answers).zip(&rewards).map(sample).collect(),
        })
    }
}

impl Graded {
    /// What people should know about the answers besides how many were right; `None` when there is nothing.
    pub fn note(&self) -> Option<String> {
        let all = self.accuracy.n;
        let cut = (self.cut > 0).then(|| format!("{} of {all} answers were cut off at the limit of tokens", self.cut));
        let skipped = (self.skipped > 0).then(|| {
            format!("{} of {} examples are too long for the model and were left out", self.skipped, all + self.skipped)
        });
        let parts: Vec<String> = cut.into_iter().chain(skipped).collect();
        if parts.is_empty() { None } else { Some(parts.join("; ")) }
    }

    /// The same answers, given by the expert `name` with this hash.
    #[must_use]
    pub fn by(mut self, name: &str, hash: Option<Hash>) -> Self {
        for sample in &mut self.samples {
            name.clone_into(&mut sample.choice);
            sample.expert_hash = hash;
        }
        Self { expert: Some(name.to_owned()), expert_hash: hash, ..self }
    }
}

fn is_cut(answer: &Answer) -> bool {
    answer.completion.finish == FinishReason::Length
}

fn count_choices(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.choice.label.clone()).or_default() += 1;
    }
    counts
}

fn mean_mixture(answers: &[Answer], pool: &ExpertPool) -> BTreeMap<String, f32> {
    let mut sums = vec![0.0; pool.len()];
    for answer in answers {
        sums.iter_mut().zip(answer.choice.mixture.mean()).for_each(|(sum, alpha)| *sum += alpha);
    }
    let means: Vec<f32> = sums.iter().map(|sum| sum / answers.len().max(1) as f32).collect();
    pool.named(&means)
}
