//! Two passes: a strategy chooses the experts for each example.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;
use t2_chat::Message;
use t2_dispatch::{Answer, Labelled, ModelOracle, Query, STRATEGIES, Shot, Strategy, two_pass_with};
use t2_model::Hash;
use t2_model::generate::{FinishReason, GenerateConfig};
use t2_rl::evaluate::{EvaluateError, grade, seed};
use t2_rl::fitting;
use t2_task::{AnswerBy, Example, Grade, Split};

use super::plain::sort;
use super::{
    Asking, BATCH, Examples, Graded, New, RunOf, SampleRecord, Samples, as_asked, ended_by, named, prove_grading,
};
use crate::error::SessionError;
use crate::event::Event;
use crate::session::{Pool, Session};

/// Labelled examples for strategies that learn from them.
const SHOTS: usize = 64;

/// What the passes over some of the examples gave.
#[derive(Default)]
struct Passes {
    records: HashMap<String, Vec<SampleRecord>>,
    first_pass_secs: f64,
    second_pass_secs: f64,
    choices: BTreeMap<String, usize>,
    /// Sums of the coefficients of the experts, and how many answers they are of.
    sums: Vec<f32>,
    answered: usize,
}

impl Session<'_> {
    /// Accuracy in two passes: `strategy` chooses among the experts of `pool` for each example. Answers are kept in
    /// `samples`, a batch at a time, and those that it has are not asked for again.
    ///
    /// # Errors
    ///
    /// [`SessionError::Dispatch`] when the strategy lacks something or a prompt is refused, and when the watcher broke
    /// off; [`SessionError::Evaluate`] when no example fits the model and when the grader fails; [`SessionError::Task`] when
    /// programs cannot be run, or the strategy learns from a split that the task does not have;
    /// [`SessionError::WeighedInTwoPasses`] for a task whose choices are weighed; [`SessionError::OtherSamples`] and
    /// [`SessionError::Keep`] for the file of answers.
    #[expect(
        clippy::too_many_arguments,
        reason = "who answers, what, how, who chooses, what is kept: no two belong together"
    )]
    pub fn dispatched(
        &self,
        pool: &Pool<'_>,
        examples: &Examples,
        generate: &GenerateConfig,
        strategy: &mut dyn Strategy,
        samples: &mut Samples,
    ) -> Result<Graded, SessionError> {
        let Examples { task, split, examples } = examples;
        let (examples, task) = (&named(examples), &*as_asked(&**task, pool.tokenizer));
        if task.answering().by == AnswerBy::Likelihood {
            return Err(SessionError::WeighedInTwoPasses { task: task.name().to_owned() });
        }
        let generate = &ended_by(task, generate);
        let hashes = pool.experts.hashes();
        let who = json!([strategy.name(), hashes, self.seed]);
        let (model, tokenizer) = (&pool.model, pool.tokenizer);
        let run = RunOf { session: self, model, tokenizer, generate, who, repeats: 1 }.name(task);
        let asking = Asking { task, split: *split, tokenizer: pool.tokenizer, generate, run: &run };
        let (known, left) = sort(task, samples.known(task.name(), *split, &run)?, examples, 1);
        let resumed = known.len();
        let fitting = fitting(model, tokenizer, task, &left, generate.max_new_tokens);
        let fitting = fitting.map_err(EvaluateError::from)?;
        let fitting = if resumed > 0 { fitting } else { fitting.not_empty(task)? };
        prove_grading(task, &left)?;
        // A strategy that learns from examples looks for one mixture, once.
        let learns = STRATEGIES.iter().any(|known| known.name == strategy.name() && known.needs_examples);
        let shots = if learns { task.load(Split::Train, SHOTS)? } else { vec![] };
        let mut passes = Passes { records: known, sums: vec![0.0; pool.experts.len()], ..Passes::default() };
        for sample in passes.records.values().flatten() {
            *passes.choices.entry(sample.choice.clone()).or_default() += 1;
        }
        let batch = if learns { fitting.examples.len().max(1) } else { BATCH };
        let passing = Passing { session: self, pool, asking, shots: &shots };
        let total = resumed + fitting.examples.len();
        let ended: Result<(), SessionError> = fitting.examples.chunks(batch).try_for_each(|chunk| {
            let done = passes.records.len();
            let new = passing.ask(chunk, strategy, &mut passes, (done, total))?;
            samples.append(&new)?;
            new.into_iter().for_each(|sample| passes.records.entry(sample.id.clone()).or_default().push(sample));
            Ok(())
        });
        let what = passing.what(strategy);
        let _ = self.watch.see(Event::Answering { what: &what, done: total, total });
        ended?;
        let mut records = passes.records;
        let in_order = examples.iter().filter_map(|example| records.remove(&example.id)).flatten().collect();
        let means: Vec<f32> = passes.sums.iter().map(|sum| sum / passes.answered.max(1) as f32).collect();
        Ok(Graded {
            skipped: fitting.skipped.len(),
            resumed,
            strategy: strategy.name().to_owned(),
            expert_hashes: hashes.clone(),
            first_pass_secs: passes.first_pass_secs,
            second_pass_secs: passes.second_pass_secs,
            choices: passes.choices,
            mixture: pool.experts.named(&means),
            ..Graded::of(task, *split, 1, in_order)
        })
    }
}

/// Who is asked what.
struct Passing<'a> {
    session: &'a Session<'a>,
    pool: &'a Pool<'a>,
    asking: Asking<'a>,
    shots: &'a [Example],
}

impl Passing<'_> {
    fn what(&self, strategy: &dyn Strategy) -> String {
        format!("{}: {}", strategy.name(), self.asking.task.name())
    }

    /// Both passes over `examples`, of which `done` of all went before.
    fn ask(
        &self,
        examples: &[&Example],
        strategy: &mut dyn Strategy,
        passes: &mut Passes,
        (done, total): (usize, usize),
    ) -> Result<Vec<SampleRecord>, SessionError> {
        let Self { session, pool, asking, .. } = *self;
        let task = asking.task;
        let what = self.what(strategy);
        let labelled: Vec<Shot> =
            self.shots.iter().map(|shot| Shot { prompt: task.prompt(shot), answer: shot.reference.clone() }).collect();
        let grade_shots = |graded: &[(usize, &str)]| {
            let graded: Vec<(&Example, &str)> = graded.iter().map(|&(i, text)| (&self.shots[i], text)).collect();
            Ok(task.rewards(&graded)?)
        };
        let keep_going = || session.keep_going();
        let mut oracle = ModelOracle {
            max_rows: BATCH,
            memory: session.memory,
            labelled: Some(Labelled { shots: &labelled, grade: &grade_shots }),
            keep_going: &keep_going,
            ..pool.oracle(asking.generate.clone())
        };
        let query = |example: &&Example| Query { prompt: task.prompt(example), seed: seed(example, 0, session.seed) };
        let queries: Vec<Query> = examples.iter().map(query).collect();
        let mut last = 0;
        let both = two_pass_with(strategy, &queries, &pool.experts, &mut oracle, |query, _| {
            last = last.max(query);
            session.watch.see(Event::Answering { what: &what, done: done + last, total })
        })?;
        passes.first_pass_secs += both.first_pass_secs;
        passes.second_pass_secs += both.second_pass_secs;
        passes.count(&both.answers);
        let texts = both.answers.iter().map(|answer| answer.text.as_str());
        let grades = grade(task, examples, texts)?;
        let hashes = pool.experts.hashes();
        let record = |((&example, answer), grade): ((&&Example, Answer), Grade)| {
            let prompt = task.prompt(example);
            new(example, prompt, answer, grade, &hashes).record(asking)
        };
        Ok(examples.iter().zip(both.answers).zip(grades).map(record).collect())
    }
}

fn new<'a>(
    example: &'a Example,
    prompt: Vec<Message>,
    answer: Answer,
    grade: Grade,
    hashes: &BTreeMap<String, Hash>,
) -> New<'a> {
    let cut = answer.completion.finish == FinishReason::Length;
    let choice = answer.choice.label;
    let hash = hashes.get(&choice).copied();
    New { example, repeat: 0, prompt, text: answer.text, cut, weights: vec![], grade, choice, hash }
}

impl Passes {
    fn count(&mut self, answers: &[Answer]) {
        for answer in answers {
            *self.choices.entry(answer.choice.label.clone()).or_default() += 1;
            self.sums.iter_mut().zip(answer.choice.mixture.mean()).for_each(|(sum, alpha)| *sum += alpha);
        }
        self.answered += answers.len();
    }
}
