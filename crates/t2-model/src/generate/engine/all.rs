//! Many requests to their end.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::{Engine, Event, Request, RequestId, ScoreRequest};
use crate::decoder::CausalLm;
use crate::generate::{Completion, FinishReason, GenerateError};

/// What becomes of a completion after a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on, if the token was not its last anyway.
    GoOn,
    /// It ends here, as [`FinishReason::Text`]; the others go on.
    End,
    /// All completions are broken off.
    BreakOff,
}

impl<M: CausalLm> Engine<'_, M> {
    /// Complete all `requests`, those for no tokens too. `on_token` sees each new token as `(row, id)`, where `row` is the
    /// position of its request, and may break off: all of them are taken out then.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), with the position of the request; nothing runs then.
    /// [`GenerateError::NotFinite`] where the model gives no numbers. [`GenerateError::Interrupted`] holds what there is
    /// when `on_token` broke off before the last token.
    ///
    /// # Panics
    ///
    /// When other requests wait or run, whose events nobody would see.
    pub fn complete(
        &mut self,
        requests: Vec<Request>,
        mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Completion>, GenerateError> {
        self.complete_until(requests, |row, so_far| match so_far.ids.last().map(|&id| on_token(row, id)) {
            Some(ControlFlow::Break(())) => After::BreakOff,
            _ => After::GoOn,
        })
    }

    /// Complete all `requests` as [`complete`](Self::complete) does. `on_token` sees `(row, completion)` after each new
    /// token, with what there is of the completion (it is `Cancelled` as long as it goes on), and says what becomes of it:
    /// a caller who reads text may end it where no token would.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    ///
    /// # Panics
    ///
    /// As [`complete`](Self::complete).
    pub fn complete_until(
        &mut self,
        requests: Vec<Request>,
        mut on_token: impl FnMut(usize, &Completion) -> After,
    ) -> Result<Vec<Completion>, GenerateError> {
        let empty = |request: &Request| {
            let finish = if request.max_new_tokens == 0 { FinishReason::Length } else { FinishReason::Cancelled };
            Completion { ids: vec![], logprobs: vec![], finish }
        };
        let mut done: Vec<Completion> = requests.iter().map(empty).collect();
        let asked = requests.into_iter().enumerate().filter(|(_, request)| request.max_new_tokens > 0);
        let rows = self.all(asked, Self::submit)?;
        let ended = self.watch(|engine, events| {
            events.into_iter().try_for_each(|event| {
                let request = event.request();
                let row = rows[&request];
                let Event::Token { id, logprob, finish, .. } = event else { return ControlFlow::Continue(()) };
                let so_far = &mut done[row];
                so_far.ids.push(id);
                so_far.logprobs.push(logprob);
                so_far.finish = finish.unwrap_or(FinishReason::Cancelled);
                match on_token(row, so_far) {
                    After::BreakOff => return ControlFlow::Break(()),
                    // Not where a token has ended it; at the limit it would have ended here too.
                    After::End if finish != Some(FinishReason::Stop) => {
                        so_far.finish = FinishReason::Text;
                        engine.cancel(request);
                    }
                    After::End | After::GoOn => {}
                }
                ControlFlow::Continue(())
            })
        });
        let is_done = done.iter().all(|row| row.finish != FinishReason::Cancelled);
        match ended {
            Err(error) => Err(counted(error, &rows)),
            Ok(()) if is_done => Ok(done),
            Ok(()) => Err(GenerateError::Interrupted { completions: done }),
        }
    }

    /// Log-probabilities of what all `requests` score, nats. `keep_going` is asked after every step and may break off.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete) and [`score`](Self::score); [`GenerateError::Interrupted`] holds nothing.
    ///
    /// # Panics
    ///
    /// As [`complete`](Self::complete).
    pub fn score_all(
        &mut self,
        requests: Vec<ScoreRequest>,
        mut keep_going: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>, GenerateError> {
        let mut done = vec![None; requests.len()];
        let rows = self.all(requests.into_iter().enumerate(), Self::score)?;
        let ended = self.watch(|_, events| {
            for event in events {
                let row = rows[&event.request()];
                if let Event::Scored { logprobs, .. } = event {
                    done[row] = Some(logprobs);
                }
            }
            keep_going()
        });
        ended.map_err(|error| counted(error, &rows))?;
        let all: Option<Vec<Vec<f32>>> = done.into_iter().collect();
        all.ok_or(GenerateError::Interrupted { completions: vec![] })
    }

    /// Ask for all of `requests`, each with its position, or for none.
    fn all<R>(
        &mut self,
        requests: impl Iterator<Item = (usize, R)>,
        ask: impl Fn(&mut Self, R) -> Result<RequestId, GenerateError>,
    ) -> Result<HashMap<RequestId, usize>, GenerateError> {
        assert!(self.is_idle(), "an engine that runs nothing else");
        let mut rows = HashMap::new();
        for (row, request) in requests {
            match ask(self, request) {
                Ok(id) => rows.insert(id, row),
                Err(error) => {
                    self.cancel_all();
                    return Err(error.map_row(|_| row));
                }
            };
        }
        Ok(rows)
    }

    /// Step until nothing runs, `on_events` breaks off, or a row has no numbers; nothing runs in any case then.
    fn watch(&mut self, mut on_events: impl FnMut(&mut Self, Vec<Event>) -> ControlFlow<()>) -> Result<(), Stopped> {
        let ended = self.watched(&mut on_events);
        self.cancel_all();
        ended
    }

    fn watched(&mut self, on_events: &mut impl FnMut(&mut Self, Vec<Event>) -> ControlFlow<()>) -> Result<(), Stopped> {
        while !self.is_idle() {
            let events = self.step().map_err(Stopped::Failed)?;
            let broken = events.iter().find_map(|event| match event {
                &Event::Broken { request, step } => Some(Stopped::Broken(request, step)),
                _ => None,
            });
            if let Some(broken) = broken {
                return Err(broken);
            }
            if on_events(self, events).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Why requests did not come to their end.
enum Stopped {
    Failed(GenerateError),
    /// A request has no numbers after so many tokens.
    Broken(RequestId, usize),
}

/// The error of the row of a request.
fn counted(stopped: Stopped, rows: &HashMap<RequestId, usize>) -> GenerateError {
    match stopped {
        Stopped::Failed(error) => error,
        Stopped::Broken(request, step) => GenerateError::NotFinite { row: rows[&request], step },
    }
}
