//! The two passes: choose a mixture for every query, then answer each under its own.

use std::ops::ControlFlow;
use std::time::Instant;

use t2_model::decoder::CausalLm;
use t2_model::generate::Completion;

use crate::error::DispatchError;
use crate::model_oracle::{ModelOracle, Row};
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
    /// The same as token ids, with how it ended.
    pub completion: Completion,
}

/// Look at `queries` with `strategy`, then answer them, all in shared batches.
///
/// `on_token` sees each new token of the second pass as `(query, id)` and may cancel all that is left.
///
/// # Errors
///
/// [`DispatchError::Generate`] for a query that is empty, too long or foreign, before either pass; what the strategy
/// refuses.
///
/// # Panics
///
/// When the strategy does not choose for every query, or its mixtures are not over the experts of the pool.
pub fn two_pass<M: CausalLm>(
    strategy: &mut dyn Strategy,
    queries: &[Query],
    oracle: &mut ModelOracle<'_, M>,
    on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<TwoPasses, DispatchError> {
    let mut prompts = Vec::with_capacity(queries.len());
    for (row, query) in queries.iter().enumerate() {
        prompts.push(oracle.encode(row, &query.prompt, oracle.generate.max_new_tokens)?);
    }
    let start = Instant::now();
    let choices = strategy.choose(queries, oracle.pool, oracle)?;
    let first_pass_secs = start.elapsed().as_secs_f64();
    assert_eq!(choices.len(), queries.len(), "strategy `{}` chooses for every query", strategy.name());

    let start = Instant::now();
    let rows = prompts.into_iter().zip(queries).zip(&choices).map(|((prompt, query), choice)| {
        let found = choice.mixture.at(0).len();
        assert_eq!(found, oracle.pool.len(), "strategy `{}` mixes the experts of the pool", strategy.name());
        Row { prompt, seed: query.seed, mixture: choice.mixture.clone() }
    });
    let completions = oracle.complete(&rows.collect::<Vec<_>>(), on_token)?;
    let second_pass_secs = start.elapsed().as_secs_f64();
    let answer = |(choice, completion)| Ok(Answer { text: oracle.text(&completion)?, choice, completion });
    let answers = choices.into_iter().zip(completions).map(answer).collect::<Result<_, DispatchError>>()?;
    Ok(TwoPasses { answers, first_pass_secs, second_pass_secs })
}
