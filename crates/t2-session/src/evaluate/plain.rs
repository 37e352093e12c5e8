//! One pass: everything is answered under the same weights.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use serde_json::json;
use t2_rl::evaluate::{Answer, EvaluateConfig, EvaluateError, Evaluation, Progress, evaluate_with};
use t2_task::{Example, Task};

use super::{Asking, BASE, BATCH, Examples, Graded, New, RunOf, SampleRecord, Samples, Subject, ended_by, named};
use crate::error::SessionError;
use crate::event::Event;
use crate::session::Session;

impl Session<'_> {
    /// Accuracy of `subject` under one expert or none; `what` names it for whoever watches. Answers are kept in `samples`
    /// as they come, and those that it has are not asked for again.
    ///
    /// # Errors
    ///
    /// [`SessionError::Evaluate`] when a prompt is refused, the grader fails, or the watcher broke off: what was answered
    /// by then is in `samples`. [`SessionError::OtherSamples`] where those are of another run.
    pub fn plain(
        &self,
        subject: Subject<'_>,
        examples: &Examples,
        what: &str,
        samples: &mut Samples,
    ) -> Result<Graded, SessionError> {
        let Subject { model, repeats, .. } = subject;
        let Examples { task, split, examples } = examples;
        let examples = &named(examples);
        let generate = &ended_by(&**task, subject.generate);
        let who = json!([subject.name, subject.hash]);
        let run = RunOf { model, generate, who, repeats }.name(&**task);
        let asking = Asking { task: &**task, split: *split, tokenizer: subject.tokenizer, generate, run: &run };
        let known = samples.known(task.name(), *split, &run)?;
        let (mut records, left) = sort(&**task, known, examples, repeats.max(1));
        let resumed = records.values().map(Vec::len).sum();
        let start = Instant::now();
        let mut skipped = 0;
        if !left.is_empty() {
            let total = examples.len() * repeats.max(1);
            let mut failed = None;
            let progress = |progress: Progress<'_, '_>| match progress {
                Progress::Answering(done) => self.watch.see(Event::Answering { what, done: resumed + done, total }),
                Progress::Graded(answers) => {
                    let new: Vec<SampleRecord> = answers.iter().map(|answer| subject.record(asking, answer)).collect();
                    if let Err(error) = samples.append(&new) {
                        failed = Some(error);
                    }
                    new.into_iter().for_each(|sample| records.entry(sample.id.clone()).or_default().push(sample));
                    if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
            };
            let config =
                EvaluateConfig { generate, active: subject.active, batch: BATCH, memory: self.memory, repeats };
            let done = evaluate_with(model, subject.tokenizer, &**task, &left, config, progress);
            // The bar goes, also where the work broke off; there is nothing left to break off.
            let _ = self.watch.see(Event::Answering { what, done: total, total });
            if let Some(error) = failed {
                return Err(error);
            }
            skipped = match done {
                // Those that fit are answered already.
                Err(EvaluateError::NothingFits { skipped, .. }) if resumed > 0 => skipped,
                done => {
                    let Evaluation { skipped, .. } = done?;
                    skipped.len()
                }
            };
        }
        let mut in_order = vec![];
        for example in examples {
            let mut of_example = records.remove(&example.id).unwrap_or_default();
            of_example.sort_by_key(|sample| sample.repeat);
            in_order.extend(of_example);
        }
        Ok(Graded {
            skipped,
            resumed,
            second_pass_secs: start.elapsed().as_secs_f64(),
            expert: (subject.name != BASE || subject.hash.is_some()).then(|| subject.name.to_owned()),
            expert_hash: subject.hash,
            ..Graded::of(&**task, *split, repeats, in_order)
        })
    }
}

/// The answers of an earlier run that count, by example, and the examples that have none. An example counts as answered
/// when it has as many answers as `repeats`, to the prompt that it has now.
pub(super) fn sort(
    task: &dyn Task,
    mut known: HashMap<String, Vec<SampleRecord>>,
    examples: &[Example],
    repeats: usize,
) -> (HashMap<String, Vec<SampleRecord>>, Vec<Example>) {
    let mut answered = HashMap::new();
    let mut left = vec![];
    for example in examples {
        match known.remove(&example.id) {
            Some(samples) if samples.len() == repeats && is_asked(task, example, &samples) => {
                answered.insert(example.id.clone(), samples);
            }
            _ => left.push(example.clone()),
        }
    }
    (answered, left)
}

fn is_asked(task: &dyn Task, example: &Example, samples: &[SampleRecord]) -> bool {
    let prompt = task.prompt(example);
    samples.iter().all(|sample| sample.prompt == prompt && sample.reference == example.reference)
}

impl Subject<'_> {
    fn record(&self, asking: Asking<'_>, answer: &Answer<'_>) -> SampleRecord {
        let new = New {
            example: answer.example,
            repeat: answer.repeat,
            prompt: asking.task.prompt(answer.example),
            text: answer.text.clone(),
            cut: answer.cut,
            weights: answer.weights.clone(),
            grade: answer.grade.clone(),
            choice: self.name.to_owned(),
            hash: self.hash,
        };
        new.record(asking)
    }
}
