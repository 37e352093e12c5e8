//! Answers of a model to the examples of a task: written, or weighed, and graded as they come.

use std::ops::ControlFlow;

use t2_chat::Message;
use t2_model::decoder::CausalLm;
use t2_model::generate::{
    Completion, Engine, EngineConfig, FinishReason, GenerateError, ScoreRequest, Under, Written, check_prompt, write,
};
use t2_model::text::{Tokenizer, TokenizerError};
use t2_task::{Example, Grade, Task};

use super::{EvaluateConfig, EvaluateError, grade};
use crate::prompts::Skipped;
use crate::rollout::RolloutError;

/// Answers that are graded at a time: few enough that little is lost when a program is killed, and enough that running
/// programs is not mostly starting.
const GRADED_AT: usize = 16;

/// An answer to an example, and what the grader says of it.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// What was asked.
    pub example: &'a Example,
    /// Which of the answers to this example, from 0.
    pub repeat: usize,
    /// What the model wrote; where it weighed choices, the most likely one.
    pub text: String,
    /// Tokens that it wrote.
    pub tokens: usize,
    /// True when it was cut off at the limit of tokens.
    pub cut: bool,
    /// Log-likelihoods of the continuations, nats, where it weighed them.
    pub weights: Vec<f32>,
    /// What the grader says.
    pub grade: Grade,
}

/// What goes on in an evaluation.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'p, 'a> {
    /// There is another token, or more choices are weighed; so many answers are complete.
    Answering(usize),
    /// These answers are graded, in the order in which they were complete.
    Graded(&'p [Answer<'a>]),
}

/// The seed of an answer to `example`, one for each `repeat`, of an evaluation with the seed `of`. It depends on these alone,
/// so that an answer is the same whichever others are asked for.
pub fn seed(example: &Example, repeat: usize, of: u64) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(example.id.as_bytes()).update(&[0]).update(example.question.as_bytes());
    let seed = hash.update(&(repeat as u64).to_le_bytes()).update(&of.to_le_bytes()).finalize();
    let [a, b, c, d, e, f, g, h, ..] = *seed.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A model, and what it is asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r, 'a, M> {
    pub(super) model: &'r M,
    pub(super) tokenizer: &'r Tokenizer,
    pub(super) task: &'r dyn Task,
    pub(super) examples: &'r [&'a Example],
    pub(super) config: EvaluateConfig<'r>,
}

/// Token ids of a prompt with a continuation, and how many of them are the prompt.
type Encoded = (Vec<u32>, usize);

/// Answers that are complete, some of which are graded.
struct Answers<'r, 'a, F> {
    task: &'r dyn Task,
    progress: F,
    /// Completed and not graded: the row, what it wrote, or how it weighed.
    complete: Vec<(usize, Answer<'a>)>,
    graded: Vec<Answer<'a>>,
    /// The rows of those.
    rows: Vec<usize>,
}

impl<'r, 'a, M: CausalLm> Asked<'r, 'a, M> {
    /// An engine for requests of at most `longest` tokens. Where the memory does not hold even one, they run one by one.
    fn engine(&self, longest: usize) -> Engine<'r, M> {
        let EvaluateConfig { batch, memory, .. } = self.config;
        let config = EngineConfig { slots: batch.max(1), ..EngineConfig::default() };
        let least = Engine::new(self.model, config).bytes_of(longest);
        Engine::new(self.model, EngineConfig { memory: memory.map(|memory| memory.max(least)), ..config })
    }

    /// The model writes its answers.
    pub(super) fn written(
        self,
        progress: impl FnMut(Progress<'_, 'a>) -> ControlFlow<()>,
    ) -> Result<Vec<Answer<'a>>, EvaluateError> {
        let Self { tokenizer, task, config, .. } = self;
        let repeats = config.repeats.max(1);
        let rows: Vec<(&'a Example, usize)> =
            self.examples.iter().flat_map(|&example| (0..repeats).map(move |repeat| (example, repeat))).collect();
        config.active.check(self.model, rows.len()).map_err(|error| RolloutError::from(GenerateError::from(error)))?;
        let mut prompts = Vec::with_capacity(rows.len());
        for &(example, _) in &rows {
            prompts.push(tokenizer.encode_chat(&task.prompt(example)).map_err(RolloutError::from)?);
        }
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0) + config.generate.max_new_tokens;
        let mut engine = self.engine(longest);
        let under = engine.under(config.active, rows.len()).map_err(RolloutError::from)?;
        let request = |((&(example, repeat), ids), under): ((&(&Example, usize), Vec<u32>), Under)| {
            config.generate.request(ids, under, seed(example, repeat, config.seed))
        };
        let requests = rows.iter().zip(prompts).zip(under).map(request).collect();
        let mut answers = Answers { task, progress, complete: vec![], graded: vec![], rows: vec![] };
        let mut failed = None;
        let stop = &config.generate.stop_strings;
        let ended: Result<Vec<Written>, RolloutError> = write(&mut engine, tokenizer, requests, stop, |row, so_far| {
            let (example, repeat) = rows[row];
            let seen = answers.see(row, so_far, |completion| {
                Ok(Answer { repeat, ..written(example, Written::new(tokenizer, completion, stop)?) })
            });
            let graded = seen.and_then(|()| answers.grade_from(GRADED_AT));
            failed = graded.err();
            if failed.is_some() { ControlFlow::Break(()) } else { answers.answering() }
        });
        answers.end(failed, ended.map(drop), rows.len())
    }

    /// The model weighs continuations, some examples at a time. Those with one that is too long are in the second list.
    pub(super) fn weighed(
        self,
        progress: impl FnMut(Progress<'_, 'a>) -> ControlFlow<()>,
    ) -> Result<(Vec<Answer<'a>>, Vec<Skipped>), EvaluateError> {
        let (mut rows, mut skipped) = (vec![], vec![]);
        for (row, &example) in self.examples.iter().enumerate() {
            match self.encoded(example)? {
                Ok(continuations) => rows.push((row, example, continuations)),
                Err(prompt_len) => skipped.push(Skipped::new(row, example, prompt_len)),
            }
        }
        let longest = rows.iter().flat_map(|(_, _, continuations)| continuations).map(|(ids, _)| ids.len()).max();
        let mut engine = self.engine(longest.unwrap_or(0));
        let mut answers = Answers { task: self.task, progress, complete: vec![], graded: vec![], rows: vec![] };
        let total = self.examples.len();
        while !rows.is_empty() {
            let (mut requests, mut asked) = (vec![], vec![]);
            for (row, example, continuations) in rows.drain(..GRADED_AT.min(rows.len())) {
                let under = engine.under(self.config.active, continuations.len()).map_err(RolloutError::from)?;
                asked.push((row, example, continuations.len()));
                let request = |((ids, from), under)| ScoreRequest { ids, from, under };
                requests.extend(continuations.into_iter().zip(under).map(request));
            }
            let scored = engine.score_all(requests, || answers.answering());
            let mut scored = match scored.map_err(RolloutError::from) {
                Ok(scored) => scored.into_iter(),
                Err(error) => return Ok((answers.end(None, Err(error), total)?, skipped)),
            };
            for (row, example, count) in asked {
                let weights: Vec<f32> = scored.by_ref().take(count).map(|logprobs| logprobs.iter().sum()).collect();
                answers.complete.push((row, weighed(self.task, example, weights)));
            }
            answers.grade_weights()?;
            let done = answers.graded.len();
            if answers.answering().is_break() && done + skipped.len() < total {
                return Err(EvaluateError::Interrupted { done, total });
            }
        }
        Ok((answers.end(None, Ok(()), total)?, skipped))
    }

    /// The prompt of `example` with each continuation, and how many tokens of that are the prompt; or the length of the one
    /// that is too long for the model.
    fn encoded(&self, example: &Example) -> Result<Result<Vec<Encoded>, usize>, EvaluateError> {
        let continuations = self.task.continuations(example);
        if continuations.len() < 2 {
            let (task, id, found) = (self.task.name().to_owned(), example.id.clone(), continuations.len());
            return Err(EvaluateError::Choices { task, id, found });
        }
        let prompt: Vec<Message> = self.task.prompt(example);
        let encode = |continuation: &String| {
            let (ids, prompt_len) = self.tokenizer.encode_answer(&prompt, continuation)?;
            check_prompt(self.model.shape(), 0, &ids, 0)?;
            Ok((ids, prompt_len))
        };
        match continuations.iter().map(encode).collect() {
            Err(RolloutError::Generate(GenerateError::TooLong { prompt_len, .. })) => Ok(Err(prompt_len)),
            encoded => Ok(Ok(encoded?)),
        }
    }
}

fn written(example: &Example, Written { completion, text }: Written) -> Answer<'_> {
    let (tokens, cut) = (completion.ids.len(), completion.finish == FinishReason::Length);
    Answer { example, repeat: 0, text, tokens, cut, weights: vec![], grade: Grade::of_reward(0.0) }
}

fn weighed<'a>(task: &dyn Task, example: &'a Example, weights: Vec<f32>) -> Answer<'a> {
    let grade = task.grade_weights(example, &weights);
    let text = grade.extracted.clone().unwrap_or_default();
    Answer { example, repeat: 0, text, tokens: 0, cut: false, weights, grade }
}

impl<'a, F: FnMut(Progress<'_, 'a>) -> ControlFlow<()>> Answers<'_, 'a, F> {
    fn done(&self) -> usize {
        self.complete.len() + self.graded.len()
    }

    fn answering(&mut self) -> ControlFlow<()> {
        let done = self.done();
        (self.progress)(Progress::Answering(done))
    }

    /// Take the completion of `row` if it has ended.
    fn see(
        &mut self,
        row: usize,
        so_far: &Completion,
        answer: impl Fn(Completion) -> Result<Answer<'a>, TokenizerError>,
    ) -> Result<(), EvaluateError> {
        if !so_far.is_going_on() {
            self.complete.push((row, answer(so_far.clone()).map_err(RolloutError::from)?));
        }
        Ok(())
    }

    /// Grade what is complete once there are `least` of them.
    fn grade_from(&mut self, least: usize) -> Result<(), EvaluateError> {
        if self.complete.len() < least.max(1) {
            return Ok(());
        }
        let examples: Vec<&Example> = self.complete.iter().map(|(_, answer)| answer.example).collect();
        let grades = grade(self.task, &examples, self.complete.iter().map(|(_, answer)| answer.text.as_str()))?;
        self.complete.iter_mut().zip(grades).for_each(|((_, answer), grade)| answer.grade = grade);
        self.show();
        Ok(())
    }

    /// Check what was weighed, which is graded already.
    fn grade_weights(&mut self) -> Result<(), EvaluateError> {
        let rewards: Vec<f32> = self.complete.iter().map(|(_, answer)| answer.grade.reward).collect();
        if let Some(found) = crate::train::faulty(&rewards, rewards.len()) {
            return Err(EvaluateError::Rewards { task: self.task.name().to_owned(), found, expected: rewards.len() });
        }
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        let new = self.graded.len();
        for (row, answer) in self.complete.drain(..) {
            self.rows.push(row);
            self.graded.push(answer);
        }
        // Whether to go on is asked at the next token.
        let _ = (self.progress)(Progress::Graded(&self.graded[new..]));
    }

    /// The answers in their order, once what is complete is graded; the error otherwise.
    fn end(
        mut self,
        failed: Option<EvaluateError>,
        ended: Result<(), RolloutError>,
        total: usize,
    ) -> Result<Vec<Answer<'a>>, EvaluateError> {
        if let Some(error) = failed {
            return Err(error);
        }
        // What was complete before an error is shown too.
        self.grade_from(1)?;
        match ended {
            Err(error) if error.is_interrupted() => {
                return Err(EvaluateError::Interrupted { done: self.graded.len(), total });
            }
            ended => ended?,
        }
        let mut answers: Vec<(usize, Answer<'a>)> = self.rows.into_iter().zip(self.graded).collect();
        answers.sort_by_key(|(row, _)| *row);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}
