//! The oracle over a real model: every question is a row of a batch, and no weights are ever merged.

use std::error::Error;
use std::fmt;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use t2_model::chat::Message;
use t2_model::decoder::CausalLm;
use t2_model::generate::{Completion, FinishReason, GenerateConfig, GenerateError, generate};
use t2_model::mix::{Mix, Mixture};
use t2_model::score::{log_likelihoods, option_log_likelihoods};
use t2_model::tokenizer::Tokenizer;

use crate::error::DispatchError;
use crate::fitness::Fitness;
use crate::oracle::{Oracle, Reader};
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
pub type Grade<'a> = dyn Fn(&[(usize, &str)]) -> Result<Vec<f32>, Box<dyn Error + Send + Sync>> + 'a;

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
#[derive(Clone, Debug)]
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
}

/// A prompt to complete under a mixture.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) prompt: Vec<u32>,
    pub(crate) seed: u64,
    pub(crate) mixture: Mixture,
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
            Reader::Classifier => (self.pool.classifier()?, Mixture::one_hot(0, 1)),
        };
        let options = self.encode_options(options)?;
        let longest = options.iter().map(Vec::len).max().unwrap_or(0);
        let mut prompts = Vec::with_capacity(questions.len());
        for (row, question) in questions.iter().enumerate() {
            prompts.push(self.encode(row, &[Message::user(question)], longest)?);
        }
        let options: Vec<&[u32]> = options.iter().map(Vec::as_slice).collect();
        let mut weights = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks((self.max_rows / options.len().max(1)).max(1)) {
            let chunk: Vec<&[u32]> = chunk.iter().map(Vec::as_slice).collect();
            let mix = bank.rows(&vec![mixture.clone(); chunk.len()]);
            weights.extend(option_log_likelihoods(self.model, &chunk, &options, Mix::Rows(&mix))?);
        }
        Ok(weights)
    }

    fn shots(&self) -> usize {
        self.labelled.map_or(0, |labelled| labelled.shots.len())
    }

    fn fitness(&mut self, population: &[Mixture], shots: &[usize]) -> Result<Vec<Fitness>, DispatchError> {
        let labelled = self.labelled.filter(|_| !shots.is_empty()).ok_or(DispatchError::TooFewShots { found: 0 })?;
        let mut encoded = Vec::with_capacity(shots.len());
        for &index in shots {
            let Shot { prompt, answer } = &labelled.shots[index];
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
}

impl<M: CausalLm> ModelOracle<'_, M> {
    /// Token ids of the prompt of `row`, which leave `room` tokens for what follows.
    pub(crate) fn encode(&self, row: usize, prompt: &[Message], room: usize) -> Result<Vec<u32>, DispatchError> {
        let ids = self.tokenizer.encode_chat(prompt)?;
        let (vocab, max_seq_len) = (self.model.config().vocab, self.model.config().max_seq_len);
        let prompt_len = ids.len();
        if ids.is_empty() {
            return Err(GenerateError::EmptyPrompt { row }.into());
        }
        if prompt_len + room > max_seq_len {
            return Err(GenerateError::TooLong { row, prompt_len, max_new_tokens: room, max_seq_len }.into());
        }
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(&id) => Err(GenerateError::UnknownToken { row, id, vocab }.into()),
            None => Ok(ids),
        }
    }

    /// Complete every row under its own mixture; `on_token` sees `(row, id)` and may cancel all that is left.
    pub(crate) fn complete(
        &self,
        rows: &[Row],
        mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Completion>, DispatchError> {
        let cancelled = || Completion { ids: vec![], logprobs: vec![], finish: FinishReason::Cancelled };
        let mut done: Vec<Completion> = Vec::with_capacity(rows.len());
        let mut flow = ControlFlow::Continue(());
        for chunk in rows.chunks(self.max_rows.max(1)) {
            if flow.is_break() {
                break;
            }
            let first = done.len();
            let mixtures: Vec<Mixture> = chunk.iter().map(|row| row.mixture.clone()).collect();
            let prompts: Vec<Vec<u32>> = chunk.iter().map(|row| row.prompt.clone()).collect();
            let seeds: Vec<u64> = chunk.iter().map(|row| row.seed).collect();
            let mix = self.pool.bank().rows(&mixtures);
            let how = (Mix::Rows(&mix), &self.generate);
            done.extend(generate(self.model, &prompts, &seeds, how, |row, id| {
                flow = on_token(first + row, id);
                flow
            })?);
        }
        done.resize_with(rows.len(), cancelled);
        Ok(done)
    }

    /// The text of a completion, without the token that ended it.
    pub(crate) fn text(&self, completion: &Completion) -> Result<String, DispatchError> {
        let end = usize::from(completion.finish == FinishReason::Stop);
        Ok(self.tokenizer.decode(&completion.ids[..completion.ids.len() - end])?)
    }

    /// Rewards of every mixture on every `(shot, prompt)`, by shot, then by mixture. All mixtures draw with the same
    /// seed on an example, so that they differ by their merits alone.
    fn rewards<'p>(
        &self,
        population: &[Mixture],
        shots: impl Iterator<Item = (usize, &'p Vec<u32>)>,
    ) -> Result<Vec<f32>, DispatchError> {
        let Some(Labelled { grade, .. }) = self.labelled else { return Ok(vec![]) };
        let (index, rows): (Vec<usize>, Vec<Row>) = shots
            .flat_map(|(shot, prompt)| {
                let row = move |m: &Mixture| Row { prompt: prompt.clone(), seed: shot as u64, mixture: m.clone() };
                population.iter().map(move |mixture| (shot, row(mixture)))
            })
            .unzip();
        let completions = self.complete(&rows, |_, _| ControlFlow::Continue(()))?;
        let texts = completions.iter().map(|c| self.text(c)).collect::<Result<Vec<_>, _>>()?;
        let graded: Vec<(usize, &str)> = index.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let rewards = grade(&graded).map_err(DispatchError::Grade)?;
        assert_eq!(rewards.len(), graded.len(), "a grader rewards every completion");
        Ok(rewards)
    }

    /// Log-likelihood of every row, each under its own mixture of the pool.
    fn weigh(&self, rows: &[Weighed<'_>]) -> Result<Vec<f32>, DispatchError> {
        let mut weights = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(self.max_rows.max(1)) {
            let mixtures: Vec<Mixture> = chunk.iter().map(|row| row.mixture.clone()).collect();
            let pairs: Vec<(&[u32], &[u32])> = chunk.iter().map(|row| (row.prompt, row.completion)).collect();
            weights.extend(log_likelihoods(self.model, &pairs, Mix::Rows(&self.pool.bank().rows(&mixtures)))?);
        }
        Ok(weights)
    }

    /// Token ids of the answers to choose among. Where one is the beginning of another, all of them end with the stop
    /// token: otherwise the longer could never be the more likely.
    fn encode_options(&self, options: &[&str]) -> Result<Vec<Vec<u32>>, DispatchError> {
        let mut ids = options.iter().map(|option| self.encode_answer(option)).collect::<Result<Vec<_>, _>>()?;
        let begins = |(i, a): (usize, &Vec<u32>)| ids.iter().enumerate().any(|(j, b)| i != j && b.starts_with(a));
        if ids.iter().enumerate().any(begins) {
            ids.iter_mut().for_each(|ids| ids.extend(self.generate.stop.first()));
        }
        Ok(ids)
    }

    fn encode_answer(&self, text: &str) -> Result<Vec<u32>, DispatchError> {
        let ids = self.tokenizer.encode_fragment(text)?;
        let vocab = self.model.config().vocab;
        if ids.is_empty() {
            return Err(DispatchError::NoTokens { text: text.into() });
        }
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(&id) => Err(GenerateError::UnknownToken { row: 0, id, vocab }.into()),
            None => Ok(ids),
        }
    }
}
