//! The question for the topic: `argmax_o log p(o | question)` over the names of the experts and [`OTHER`].

use t2_chat::topic_question;

use crate::error::DispatchError;
use crate::oracle::{Oracle, Reader};
use crate::pool::ExpertPool;
use crate::query::{Choice, OTHER, Query};

/// Ask `reader` for the topic of every query; [`OTHER`] is the base model.
pub(super) fn choose(
    queries: &[Query],
    pool: &ExpertPool,
    oracle: &mut dyn Oracle,
    reader: Reader,
) -> Result<Vec<Choice>, DispatchError> {
    let names = pool.names();
    let questions: Vec<String> = queries.iter().map(|query| topic_question(&names, &query.text())).collect();
    let options: Vec<&str> = names.iter().copied().chain([OTHER]).collect();
    let likelihoods = oracle.classify(&questions, &options, reader)?;
    let answers = likelihoods.iter().map(Vec::len).chain([likelihoods.len()]);
    let expected = std::iter::repeat_n(options.len(), likelihoods.len()).chain([queries.len()]);
    match answers.zip(expected).find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(DispatchError::Answers { found, expected }),
        None => likelihoods.iter().map(|likelihoods| most_likely(pool, &options, likelihoods)).collect(),
    }
}

/// The expert whose name is the most likely of `options`; of equal ones the first.
fn most_likely(pool: &ExpertPool, options: &[&str], log_likelihoods: &[f32]) -> Result<Choice, DispatchError> {
    let better = |best: usize, next: usize| if log_likelihoods[next] > log_likelihoods[best] { next } else { best };
    let number = |option: &usize| !log_likelihoods[*option].is_nan();
    // A model that gives no numbers at all has named no topic.
    let best = (0..options.len()).filter(number).reduce(better).unwrap_or(pool.len());
    let probabilities = softmax(log_likelihoods);
    let scores = options.iter().map(|&option| option.to_owned()).zip(probabilities).collect();
    Ok(pool.choice((best < pool.len()).then_some(best), scores)?)
}

/// Probability of each option, given that one of them is the answer.
fn softmax(log_likelihoods: &[f32]) -> Vec<f32> {
    let top = log_likelihoods.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let odds: Vec<f32> = log_likelihoods.iter().map(|l| (l - top).exp()).collect();
    let sum: f32 = odds.iter().sum();
    odds.iter().map(|odds| odds / sum).collect()
}
