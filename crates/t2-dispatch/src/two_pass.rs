//! The two passes: choose a mixture for every query, then answer each under its own.

use std::ops::ControlFlow;
use std::time::Instant;

use t2_chat::Message;
use t2_model::generate::Completion;

use crate::error::DispatchError;
use crate::oracle::{Oracle, Question, Reply};
use crate::pool::ExpertPool;
use crate::query::{Choice, Query};
use crate::strategy::Strategy;

/// What both passes gave.
#[derive(Clone, Debug)]
pub struct TwoPasses {
    /// One for each query.
    pub answers: Vec<Answer>,
    /// Time of the first pass over all queries, in seconds.
    pub first_pass_secs: f64,
    /// Time of the second pass over all queries, in seconds.
    pub second_pass_secs: f64,
}

/// The answer to one query.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the first pass chose.
    pub choice: Choice,
    /// What the second pass said.
    pub text: String,
    /// Its token ids, their log-probabilities, and how it ended.
    pub completion: Completion,
}

/// Look at `queries` with `strategy`, then answer them, all in shared batches.
///
/// # Errors
///
/// As [`two_pass_with`].
pub fn two_pass(
    strategy: &mut dyn Strategy,
    queries: &[Query],
    pool: &ExpertPool,
    oracle: &mut dyn Oracle,
) -> Result<TwoPasses, DispatchError> {
    two_pass_with(strategy, queries, pool, oracle, |_, _| ControlFlow::Continue(()))
}

/// Look at `queries` with `strategy`, then answer them, all in shared batches. `on_token` sees each new token of the
/// second pass as `(query, id)` and may break off.
///
/// # Errors
///
/// [`DispatchError::Generate`] for a query that is empty, too long or foreign, before either pass, and when `on_token`
/// broke off; [`DispatchError::Choices`] and [`DispatchError::Mixture`] for a strategy that does not choose for every
/// query, or mixes experts that are not those of the pool; what the strategy itself refuses.
pub fn two_pass_with(
    strategy: &mut dyn Strategy,
    queries: &[Query],
    pool: &ExpertPool,
    oracle: &mut dyn Oracle,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<TwoPasses, DispatchError> {
    oracle.check(&queries.iter().map(|query| query.prompt.as_slice()).collect::<Vec<&[Message]>>())?;
    let start = Instant::now();
    let choices = strategy.choose(queries, pool, oracle)?;
    let first_pass_secs = start.elapsed().as_secs_f64();
    let (found, expected) = (choices.len(), queries.len());
    if found != expected {
        return Err(DispatchError::Choices { strategy: strategy.name().to_owned(), found, expected });
    }

    let start = Instant::now();
    let question = |(query, choice)| {
        let (Query { prompt, seed }, Choice { mixture, .. }): (&Query, &Choice) = (query, choice);
        Question { prompt, seed: *seed, mixture }
    };
    let questions: Vec<Question<'_>> = queries.iter().zip(&choices).map(question).collect();
    let replies = oracle.answer(&questions, &mut on_token)?;
    let second_pass_secs = start.elapsed().as_secs_f64();
    if replies.len() != expected {
        return Err(DispatchError::Answers { found: replies.len(), expected });
    }
    let answer = |(choice, Reply { text, completion })| Answer { choice, text, completion };
    Ok(TwoPasses { answers: choices.into_iter().zip(replies).map(answer).collect(), first_pass_secs, second_pass_secs })
}
