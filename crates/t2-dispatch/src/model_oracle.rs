//! The oracle over a real model: every question is a request to an engine, under its own mixture.

use std::error::Error;
use std::fmt;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use t2_chat::Message;
use t2_model::adapter::mixture::MixtureError;
use t2_model::adapter::{Bank, Mixture};
use t2_model::decoder::CausalLm;
use t2_model::generate::{
    Engine, EngineConfig, GenerateConfig, GenerateError, ScoreRequest, Under, Written, check_prompt, write,
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
    /// Most rows at a time; bounds memory.
    pub max_rows: usize,
    /// Most bytes of keys and values, where fewer rows at a time take less; `None` for no bound.
    pub memory: Option<u64>,
    /// For strategies that learn from examples.
    pub labelled: Option<Labelled<'a>>,
    /// Asked again and again in the first pass, and may break off. The second asks who sees its tokens.
    pub keep_going: &'a dyn Fn() -> ControlFlow<()>,
}

impl<'a, M> ModelOracle<'a, M> {
    /// An oracle that answers greedily, 32 rows at a time, without labelled examples; change its fields for more.
    pub fn new(model: &'a M, tokenizer: &'a Tokenizer, pool: &'a ExpertPool) -> Self {
        let keep_going = &|| ControlFlow::Continue(());
        Self {
            model,
            tokenizer,
            pool,
            generate: GenerateConfig::default(),
            max_rows: 32,
            memory: None,
            labelled: None,
            keep_going,
        }
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

impl<M: CausalLm> Oracle for ModelOracle<'_, M> {
    fn classify(
        &mut self,
        questions: &[String],
        options: &[&str],
        reader: Reader,
    ) -> Result<Vec<Vec<f32>>, DispatchError> {
        if options.is_empty() || questions.is_empty() {
            return Err(GenerateError::NoRows.into());
        }
        let mut engine = self.engine();
        let under = match reader {
            Reader::Base => Under::Base,
            Reader::Classifier => self.under(&mut engine, self.pool.classifier()?, &[&Mixture::one_hot(0, 1)?])?[0],
        };
        let spellings = self.encode_options(options)?;
        let options: Vec<Vec<u32>> = spellings.concat();
        let longest = options.iter().map(Vec::len).max().unwrap_or(0);
        let mut prompts = Vec::with_capacity(questions.len());
        for (row, question) in questions.iter().enumerate() {
            prompts.push(self.encode(row, &[Message::user(question)], longest)?);
        }
        let requests = prompts
            .iter()
            .flat_map(|prompt| options.iter().map(move |option| ScoreRequest::new(prompt, option, under)));
        let weights = self.weigh(&mut engine, requests.collect(), options.len())?;
        // The spellings of an option are different ways to say it: their probabilities add up.
        let add_up = |row: &[f32]| {
            let mut rest = row;
            let of_option = |spellings: &Vec<Vec<u32>>| {
                let (own, others) = rest.split_at(spellings.len());
                rest = others;
                log_sum_exp(own)
            };
            spellings.iter().map(of_option).collect()
        };
        Ok(weights.chunks(options.len()).map(add_up).collect())
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
        let mut engine = self.engine();
        let under = self.under(&mut engine, self.pool.bank(), &population.iter().collect::<Vec<_>>())?;
        let requests = encoded
            .iter()
            .flat_map(|(prompt, answer)| under.iter().map(move |&under| ScoreRequest::new(prompt, answer, under)));
        let likelihoods = self.weigh(&mut engine, requests.collect(), 1)?;
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
        let reply = |Written { completion, text }| Reply { text, completion };
        Ok(self.complete(rows, on_token)?.into_iter().map(reply).collect())
    }
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

    /// An engine that runs as many rows at a time as allowed.
    fn engine(&self) -> Engine<'_, M> {
        let (slots, memory) = (self.max_rows.max(1), self.memory);
        Engine::new(self.model, EngineConfig { slots, memory, ..EngineConfig::default() })
    }

    /// What requests of `engine` are to be under for each of `mixtures` of `bank`.
    fn under(
        &self,
        engine: &mut Engine<'_, M>,
        bank: &Bank,
        mixtures: &[&Mixture],
    ) -> Result<Vec<Under>, DispatchError> {
        // Many questions under few mixtures: each is mixed once.
        let mut different: Vec<usize> = vec![];
        let which: Vec<usize> = (0..mixtures.len())
            .map(|row| {
                let known = different.iter().position(|&other| mixtures[other] == mixtures[row]);
                known.unwrap_or_else(|| {
                    different.push(row);
                    different.len() - 1
                })
            })
            .collect();
        let mut under = Vec::with_capacity(different.len());
        for rows in different.chunks(self.max_rows.max(1)) {
            let chunk: Vec<Mixture> = rows.iter().map(|&row| mixtures[row].clone()).collect();
            let scales = bank.rows(&chunk).map_err(|mut error| {
                if let MixtureError::Coefficients { row, .. }
                | MixtureError::Blocks { row, .. }
                | MixtureError::NotFinite { row, .. } = &mut error
                {
                    *row = rows[*row];
                }
                error
            })?;
            under.extend(engine.add(&scales)?);
        }
        Ok(which.into_iter().map(|index| under[index]).collect())
    }

    /// Complete every row under its own mixture; `on_token` sees `(row, id)` and may break off.
    fn complete(
        &self,
        rows: Vec<Row<'_>>,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Written>, DispatchError> {
        let mut engine = self.engine();
        let mixtures: Vec<&Mixture> = rows.iter().map(|row| row.mixture).collect();
        let under = self.under(&mut engine, self.pool.bank(), &mixtures)?;
        let request = |(Row { prompt, seed, .. }, under)| self.generate.request(prompt, under, seed);
        let requests = rows.into_iter().zip(under).map(request).collect();
        write(&mut engine, self.tokenizer, requests, &self.generate.stop_strings, |row, so_far| {
            so_far.ids.last().map_or(ControlFlow::Continue(()), |&id| on_token(row, id))
        })
    }

    /// Log-likelihood of what each of `requests` scores, as many in a row for each question.
    fn weigh(
        &self,
        engine: &mut Engine<'_, M>,
        requests: Vec<ScoreRequest>,
        each: usize,
    ) -> Result<Vec<f32>, DispatchError> {
        let mut flow = ControlFlow::Continue(());
        let watched = || {
            flow = (self.keep_going)();
            flow
        };
        let scored = engine.score_all(requests, watched).map_err(|error| match error {
            GenerateError::NotFinite { row, step } => GenerateError::NotFinite { row: row / each, step },
            error => error,
        })?;
        if flow.is_break() {
            // Of the last rows; who broke off there is not asked again.
            return Err(GenerateError::Interrupted { completions: vec![] }.into());
        }
        Ok(scored.iter().map(|logprobs| logprobs.iter().sum()).collect())
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
        let completions = self.complete(rows, &mut |_, _| (self.keep_going)());
        // An answer to a labelled example is nothing that the caller has asked for.
        let completions = completions.map_err(|error| match error {
            DispatchError::Generate(GenerateError::Interrupted { .. }) => {
                GenerateError::Interrupted { completions: vec![] }.into()
            }
            error => error,
        })?;
        let texts = completions.iter().map(|written| written.text.as_str());
        let graded: Vec<(usize, &str)> = index.into_iter().zip(texts).collect();
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
