//! Completions as text, which may end at strings.

use std::ops::ControlFlow;

use super::engine::{After, Engine, Request};
use super::{Completion, FinishReason, GenerateError};
use crate::decoder::CausalLm;
use crate::text::{StopStrings, Tokenizer, TokenizerError, stop};

/// A completion and its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The new token ids and their log-probabilities.
    pub completion: Completion,
    /// The text without special tokens, without the token that ended it, and up to the string that ended it.
    pub text: String,
}

impl Written {
    /// The text of `completion`, up to the first of `stop` in it.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn new(tokenizer: &Tokenizer, completion: Completion, stop: &[String]) -> Result<Self, TokenizerError> {
        let text = tokenizer.decode(completion.answer_ids())?;
        let text = stop::before(&text, stop).to_owned();
        Ok(Self { completion, text })
    }
}

/// Complete all `requests`, each up to the first of the strings `stop` in its text. `on_token` sees `(row, completion)`
/// after each new token, with why it ended if it has (`Cancelled` while it goes on), and may break all of them off.
///
/// # Errors
///
/// As [`Engine::complete`], and where the tokenizer cannot decode a completion.
///
/// # Panics
///
/// As [`Engine::complete`].
pub fn write<M, E>(
    engine: &mut Engine<'_, M>,
    tokenizer: &Tokenizer,
    requests: Vec<Request>,
    stop: &[String],
    mut on_token: impl FnMut(usize, &Completion) -> ControlFlow<()>,
) -> Result<Vec<Written>, E>
where
    M: CausalLm,
    E: From<GenerateError> + From<TokenizerError>,
{
    let mut texts = StopStrings::new(tokenizer, stop, requests.len());
    let mut unreadable = None;
    let completed = engine.complete_until(requests, |row, so_far| {
        let ends = so_far.ids.last().map_or(Ok(false), |&id| texts.push(row, id));
        let ends = match ends {
            Ok(ends) => ends && so_far.finish != FinishReason::Stop,
            Err(error) => {
                unreadable = Some(error);
                return After::BreakOff;
            }
        };
        let flow = if ends { on_token(row, &so_far.ended_by_text()) } else { on_token(row, so_far) };
        match (flow, ends) {
            (ControlFlow::Break(()), _) => After::BreakOff,
            (ControlFlow::Continue(()), true) => After::End,
            (ControlFlow::Continue(()), false) => After::GoOn,
        }
    });
    match unreadable {
        Some(error) => Err(error.into()),
        None => {
            let written = completed?.into_iter().map(|completion| Written::new(tokenizer, completion, stop));
            Ok(written.collect::<Result<_, _>>()?)
        }
    }
}
