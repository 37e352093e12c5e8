//! One pass: everything is answered under the same weights.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use serde_json::json;
use t2_rl::evaluate::{Answer, EvaluateConfig, EvaluateError, Evaluation, Progress, evaluate_with};
use t2_task::{AnswerBy, Example, Task};

use super::{
    Asking, BASE, BATCH, Examples, Graded, New, RunOf, SampleRecord, Samples, Subject, as_asked, ended_by, named,
    prove_grading,
};
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
    /// by then is in `samples`. [`SessionError::OtherSamples`] where those are of another run, [`SessionError::Keep`] where
    /// no more can be written to them.
    pub fn plain(
        &self,
        subject: Subject<'_>,
        examples: &Examples,
        what: &str,
        samples: &mut Samples,
    ) -> Result<Graded, SessionError> {
        let Subject { model, tokenizer, .. } = subject;
        let Examples { task, split, examples } = examples;
        let (examples, task) = (&named(examples), &*as_asked(&**task, tokenizer));
        // To weigh the same choices again gives the same.
        let is_weighed = task.answering().by == AnswerBy::Likelihood;
        let repeats = if is_weighed { 1 } else { subject.repeats.max(1) };
        let generate = &ended_by(task, subject.generate);
        let who = json!([subject.name, subject.hash]);
        let run = RunOf { session: self, model, tokenizer, generate, who, repeats }.name(task);
        let asking = Asking { task, split: *split, tokenizer, generate, run: &run };
        let known = samples.known(task.name(), *split, &run)?;
        let (mut records, left) = sort(task, known, examples, repeats);
        let resumed = records.values().map(Vec::len).sum();
        let start = Instant::now();
        let mut skipped = 0;
        if !left.is_empty() {
            prove_grading(task, &left)?;
            let total = examples.len() * repeats;
            let mut failed = None;
            let progress = |progress: Progress<'_, '_>| match progress {
                Progress::Answering(_) if failed.is_some() => ControlFlow::Break(()),
                Progress::Answering(done) => self.watch.see(Event::Answering { what, done: resumed + done, total }),
                Progress::Graded(answers) => {
                    let new: Vec<SampleRecord> = answers.iter().map(|answer| subject.record(asking, answer)).collect();
                    // Behind a line that was half written nothing could be read.
                    if failed.is_none() {
                        failed = samples.append(&new).err();
                    }
                    new.into_iter().for_each(|sample| records.entry(sample.id.clone()).or_default().push(sample));
                    ControlFlow::Continue(())
                }
            };
            let (memory, seed) = (self.memory, self.seed);
            let config = EvaluateConfig { generate, active: subject.active, batch: BATCH, memory, repeats, seed };
            let done = evaluate_with(model, tokenizer, task, &left, config, progress);
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
            ..Graded::of(task, *split, repeats, in_order)
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
