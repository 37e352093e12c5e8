//! The oracle over a real model: every question is a row of a batch, and no weights are ever merged.

use std::error::Error;
use std::fmt;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use t2_chat::Message;
use t2_model::adapter::mixture::MixtureError;
use t2_model::adapter::{Active, Bank, Mixture, RowScales};
use t2_model::decoder::CausalLm;
use t2_model::generate::score::{log_likelihoods, option_log_likelihoods};
use t2_model::generate::{
    Completion, FinishReason, GenerateConfig, GenerateError, Prompts, check_prompt, generate_with,
};
use t2_model::text::Tokenizer;

use crate::error::DispatchError;
use crate::fitness::Fitness;
use crate::oracle::{Oracle, Question, Reader, Reply};
use crate::pool::ExpertPool;

/// A labelled example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shot {
    /// The conversation that asks it.
    pub prompt: Vec<Message>,
    /// A right answer, in full.
    pub answer: String,
}

/// Rewards of completions, each with the index of its [`Shot`]; a batch, because graders are cheaper by the batch.
pub type Grade<'a> = dyn Fn(&[(usize, &str)]) -> Result<Vec<f32>, Box<dyn Error + Send + Sync>> + Send + Sync + 'a;

/// Labelled examples and who grades attempts at them.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The examples.
    pub shots: &'a [Shot],
    /// One reward for each completion.
    pub grade: &'a Grade<'a>,
}

impl fmt::Debug for Labelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labelled").field("shots", &self.shots).finish_non_exhaustive()
    }
}

/// An adapted model with what it takes to ask it in text.
#[derive(Clone)]
pub struct ModelOracle<'a, M> {
    /// The adapted model.
    pub model: &'a M,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its experts.
    pub pool: &'a ExpertPool,
    /// How answers are given, in the second pass and to the labelled examples.
    pub generate: GenerateConfig,
    /// Most rows of one batch; bounds memory.
    pub max_rows: usize,
    /// For strategies that learn from examples.
    pub labelled: Option<Labelled<'a>>,
    /// Asked again and again in the first pass, and may break off. The second asks who sees its tokens.
    pub keep_going: &'a dyn Fn() -> ControlFlow<()>,
}

impl<'a, M> ModelOracle<'a, M> {
    /// An oracle that answers greedily in batches of 32 rows, without labelled examples; change its fields for more.
    pub fn new(model: &'a M, tokenizer: &'a Tokenizer, pool: &'a ExpertPool) -> Self {
        let keep_going = &|| ControlFlow::Continue(());
        Self { model, tokenizer, pool, generate: GenerateConfig::default(), max_rows: 32, labelled: None, keep_going }
    }
}

impl<M> fmt::Debug for ModelOracle<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelOracle").field("generate", &self.generate).finish_non_exhaustive()
    }
}

/// A prompt to complete under a mixture.
#[derive(Clone, Debug)]
struct Row<'a> {
    prompt: Vec<u32>,
    seed: u64,
    mixture: &'a Mixture,
}

/// A completion to weigh under a mixture.
struct Weighed<'a> {
    prompt: &'a [u32],
    completion: &'a [u32],
    mixture: &'a Mixture,
}

impl<M: CausalLm> Oracle for ModelOracle<'_, M> {
    fn classify(
        &mut self,
        questions: &[String],
        options: &[&str],
        reader: Reader,
    ) -> Result<Vec<Vec<f32>>, DispatchError> {
        let (bank, mixture) = match reader {
            Reader::Base => (self.pool.bank(), Mixture::base(self.pool.len())),
            Reader::Classifier => (self.pool.classifier()?, Mixture::one_hot(0, 1)?),
        };
        let spellings = self.encode_options(options)?;
        let options: Vec<Vec<u32>> = spellings.concat();
        let longest = options.iter().map(Vec::len).max().unwrap_or(0);
        let mut prompts = Vec::with_capacity(questions.len());
        for (row, question) in questions.iter().enumerate() {
            prompts.push(self.encode(row, &[Message::user(question)], longest)?);
        }
        let options: Vec<&[u32]> = options.iter().map(Vec::as_slice).collect();
        let mut weights = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks((self.max_rows / options.len().max(1)).max(1)) {
            let first = weights.len();
            let chunk: Vec<&[u32]> = chunk.iter().map(Vec::as_slice).collect();
            let rows = rows_from(first, bank, &vec![mixture.clone(); chunk.len()])?;
            let weighed = option_log_likelihoods(self.model, &chunk, &options, Active::Rows(&rows));
            weights.extend(weighed.map_err(|error| counted_from(first, error))?);
            self.go_on()?;
        }
        // The spellings of an option are different ways to say it: their probabilities add up.
        let add_up = |row: Vec<f32>| {
            let mut rest = row.as_slice();
            let of_option = |spellings: &Vec<Vec<u32>>| {
                let (own, others) = rest.split_at(spellings.len());
                rest = others;
                log_sum_exp(own)
            };
            spellings.iter().map(of_option).collect()
        };
        Ok(weights.into_iter().map(add_up).collect())
    }

    fn shots(&self) -> usize {
        self.labelled.map_or(0, |labelled| labelled.shots.len())
    }

    fn fitness(&mut self, population: &[Mixture], shots: &[usize]) -> Result<Vec<Fitness>, DispatchError> {
        let labelled = self.labelled.filter(|_| !shots.is_empty()).ok_or(DispatchError::TooFewShots { found: 0 })?;
        let mut encoded = Vec::with_capacity(shots.len());
        for &index in shots {
            let missing = || DispatchError::NoShot { index, shots: labelled.shots.len() };
            let Shot { prompt, answer } = labelled.shots.get(index).ok_or_else(missing)?;
            let answer = self.encode_answer(answer)?;
            let room = self.generate.max_new_tokens.max(answer.len());
            let ids = self.encode(index, prompt, room).map_err(|error| match error {
                DispatchError::Generate(source) => DispatchError::Shot { index, source },
                other => other,
            })?;
            encoded.push((ids, answer));
        }
        let rewards = self.rewards(population, shots.iter().zip(&encoded).map(|(&shot, (ids, _))| (shot, ids)))?;
        let rows = encoded.iter().flat_map(|(prompt, completion)| {
            population.iter().map(move |mixture| Weighed { prompt, completion, mixture })
        });
        let likelihoods = self.weigh(&rows.collect::<Vec<_>>())?;
        // Rows are ordered by example, then by mixture.
        let mean = |values: &[f32], index: usize| {
            values.iter().skip(index).step_by(population.len()).sum::<f32>() / shots.len() as f32
        };
        let fitness = |index| Fitness { reward: mean(&rewards, index), log_likelihood: mean(&likelihoods, index) };
        Ok((0..population.len()).map(fitness).collect())
    }

    fn check(&mut self, prompts: &[&[Message]]) -> Result<(), DispatchError> {
        let room = self.generate.max_new_tokens;
        prompts.iter().enumerate().try_for_each(|(row, prompt)| self.encode(row, prompt, room).map(drop))
    }

    fn answer(
        &mut self,
        questions: &[Question<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Reply>, DispatchError> {
        let mut rows = Vec::with_capacity(questions.len());
        for (row, &Question { prompt, seed, mixture }) in questions.iter().enumerate() {
            rows.push(Row { prompt: self.encode(row, prompt, self.generate.max_new_tokens)?, seed, mixture });
        }
        let completions = self.complete(&rows, on_token)?;
        let reply = |completion| Ok(Reply { text: self.text(&completion)?, completion });
        completions.into_iter().map(reply).collect()
    }
}

/// The scales of a batch whose first row is the row `first` of all.
fn rows_from(first: usize, bank: &Bank, mixtures: &[Mixture]) -> Result<RowScales, MixtureError> {
    bank.rows(mixtures).map_err(|mut error| {
        match &mut error {
            MixtureError::Coefficients { row, .. }
            | MixtureError::Blocks { row, .. }
            | MixtureError::NotFinite { row, .. } => *row += first,
            _ => {}
        }
        error
    })
}

/// The error of a batch whose first row is the row `first` of all.
fn counted_from(first: usize, mut error: GenerateError) -> GenerateError {
    if let GenerateError::NotFinite { row, .. } = &mut error {
        *row += first;
    }
    error
}

/// `ln Σ exp(x)`.
fn log_sum_exp(values: &[f32]) -> f32 {
    match values {
        [one] => *one,
        many => {
            let top = many.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            top + many.iter().map(|value| (value - top).exp()).sum::<f32>().ln()
        }
    }
}

impl<M: CausalLm> ModelOracle<'_, M> {
    /// Token ids of the prompt of `row`, which leave `room` tokens for what follows.
    fn encode(&self, row: usize, prompt: &[Message], room: usize) -> Result<Vec<u32>, DispatchError> {
        let ids = self.tokenizer.encode_chat(prompt)?;
        check_prompt(self.model.shape(), row, &ids, room)?;
        Ok(ids)
    }

    /// Complete every row under its own mixture; `on_token` sees `(row, id)` and may break off.
    fn complete(
        &self,
        rows: &[Row<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Completion>, DispatchError> {
        let mut done: Vec<Completion> = Vec::with_capacity(rows.len());
        // A batch whose last token was broken off at is whole; the next one is not begun.
        let mut flow = ControlFlow::Continue(());
        for chunk in rows.chunks(self.max_rows.max(1)) {
            let first = done.len();
            if flow.is_break() {
                return Err(broken_off(done, rows.len()).into());
            }
            let mixtures: Vec<Mixture> = chunk.iter().map(|row| row.mixture.clone()).collect();
            let prompts: Vec<Vec<u32>> = chunk.iter().map(|row| row.prompt.clone()).collect();
            let seeds: Vec<u64> = chunk.iter().map(|row| row.seed).collect();
            let scales = rows_from(first, self.pool.bank(), &mixtures)?;
            let prompts = Prompts::new(&prompts).under(Active::Rows(&scales)).seeded(&seeds);
            let watched = |row, id| {
                flow = on_token(first + row, id);
                flow
            };
            match generate_with(self.model, prompts, &self.generate, watched) {
                Ok(completions) => done.extend(completions),
                Err(GenerateError::Interrupted { completions }) => {
                    done.extend(completions);
                    return Err(broken_off(done, rows.len()).into());
                }
                Err(error) => return Err(counted_from(first, error).into()),
            }
        }
        Ok(done)
    }

    /// Break off where the caller wants to, with nothing to show for it.
    fn go_on(&self) -> Result<(), GenerateError> {
        match (self.keep_going)() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(GenerateError::Interrupted { completions: vec![] }),
        }
    }

    /// The text of a completion, without the token that ended it.
    fn text(&self, completion: &Completion) -> Result<String, DispatchError> {
        Ok(self.tokenizer.decode(completion.answer_ids())?)
    }

    /// Rewards of every mixture on every `(shot, prompt)`, by shot, then by mixture. All mixtures draw with the same
    /// seed on an example, so that they differ by their merits alone.
    fn rewards<'p>(
        &self,
        population: &[Mixture],
        shots: impl Iterator<Item = (usize, &'p Vec<u32>)>,
    ) -> Result<Vec<f32>, DispatchError> {
        let Some(Labelled { grade, .. }) = self.labelled else { return Ok(vec![]) };
        let (index, rows): (Vec<usize>, Vec<Row<'_>>) = shots
            .flat_map(|(shot, prompt)| {
                let row = move |mixture| Row { prompt: prompt.clone(), seed: shot as u64, mixture };
                population.iter().map(move |mixture| (shot, row(mixture)))
            })
            .unzip();
        let completions = self.complete(&rows, &mut |_, _| (self.keep_going)());
        // An answer to a labelled example is nothing that the caller has asked for.
        let completions = completions.map_err(|error| match error {
            DispatchError::Generate(GenerateError::Interrupted { .. }) => {
                GenerateError::Interrupted { completions: vec![] }.into()
            }
            error => error,
        })?;
        let texts = completions.iter().map(|c| self.text(c)).collect::<Result<Vec<_>, _>>()?;
        let graded: Vec<(usize, &str)> = index.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let rewards = grade(&graded).map_err(DispatchError::Grade)?;
        let expected = graded.len();
        if rewards.len() != expected {
            return Err(DispatchError::Rewards { found: format!("{} rewards", rewards.len()), expected });
        }
        match rewards.iter().find(|reward| !reward.is_finite()) {
            Some(reward) => Err(DispatchError::Rewards { found: format!("the reward {reward}"), expected }),
            None => Ok(rewards),
        }
    }

    /// Log-likelihood of every row, each under its own mixture of the pool.
    fn weigh(&self, rows: &[Weighed<'_>]) -> Result<Vec<f32>, DispatchError> {
        let mut weights = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(self.max_rows.max(1)) {
            let first = weights.len();
            let mixtures: Vec<Mixture> = chunk.iter().map(|row| row.mixture.clone()).collect();
            let pairs: Vec<(&[u32], &[u32])> = chunk.iter().map(|row| (row.prompt, row.completion)).collect();
            let scales = rows_from(first, self.pool.bank(), &mixtures)?;
            let weighed = log_likelihoods(self.model, &pairs, Active::Rows(&scales));
            weights.extend(weighed.map_err(|error| counted_from(first, error))?);
            self.go_on()?;
        }
        Ok(weights)
    }

    /// Token ids of the answers to choose among, each in all its spellings. Where one answer is the beginning of another,
    /// all of them end with a stop token, whichever it is: otherwise the longer could never be the more likely.
    fn encode_options(&self, options: &[&str]) -> Result<Vec<Vec<Vec<u32>>>, DispatchError> {
        let ids = options.iter().map(|option| self.encode_answer(option)).collect::<Result<Vec<_>, _>>()?;
        let begins = |(i, a): (usize, &Vec<u32>)| ids.iter().enumerate().any(|(j, b)| i != j && b.starts_with(a));
        if self.generate.stop.is_empty() || !ids.iter().enumerate().any(begins) {
            return Ok(ids.into_iter().map(|ids| vec![ids]).collect());
        }
        let ended = |ids: Vec<u32>| self.generate.stop.iter().map(|&stop| [ids.as_slice(), &[stop]].concat()).collect();
        Ok(ids.into_iter().map(ended).collect())
    }

    fn encode_answer(&self, text: &str) -> Result<Vec<u32>, DispatchError> {
        let ids = self.tokenizer.encode_fragment(text)?;
        let vocab = self.model.shape().vocab;
        if ids.is_empty() {
            return Err(DispatchError::NoTokens { text: text.into() });
        }
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(&id) => Err(GenerateError::UnknownToken { row: 0, id, vocab }.into()),
            None => Ok(ids),
        }
    }
}

/// What there is of `rows` completions where the caller broke off: those `done`, and the others empty.
fn broken_off(mut done: Vec<Completion>, rows: usize) -> GenerateError {
    done.resize(rows, Completion { ids: vec![], logprobs: vec![], finish: FinishReason::Cancelled });
    GenerateError::Interrupted { completions: done }
}
