//! What is left when the caller breaks off.

use std::cell::Cell;
use std::ops::ControlFlow;

use t2_dispatch::strategy::{FewShot, NoExperts, PromptBased};
use t2_dispatch::{DispatchError, Labelled, Message, ModelOracle, Query, Shot, Strategy, two_pass, two_pass_with};
use t2_model::generate::{Completion, FinishReason, GenerateConfig, GenerateError};

use crate::tiny::Tiny;

fn queries() -> Vec<Query> {
    (0..5).map(|i| Query::user("Tom has 4 apples. He buys 3 more."[..8 + 3 * i].to_owned())).collect()
}

#[track_caller]
fn completions(error: DispatchError) -> Vec<Completion> {
    match error {
        DispatchError::Generate(GenerateError::Interrupted { completions }) => completions,
        other => panic!("{other:?} is no interruption"),
    }
}

#[test]
fn an_interrupted_second_pass_has_every_answer_as_far_as_it_got() {
    use FinishReason::{Cancelled, Length};
    let tiny = Tiny::new(&["math"]).unwrap();
    let generate = GenerateConfig { max_new_tokens: 4, ..GenerateConfig::default() };
    let mut oracle = ModelOracle { generate, ..tiny.oracle(2) };
    let whole = two_pass(&mut NoExperts, &queries(), &tiny.pool, &mut oracle).unwrap();
    let mut seen = vec![];
    let passes = two_pass_with(&mut NoExperts, &queries(), &tiny.pool, &mut oracle, |query, _| {
        seen.push(query);
        if query == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let left = completions(passes.unwrap_err());
    let how: Vec<(usize, FinishReason)> = left.iter().map(|row| (row.ids.len(), row.finish)).collect();
    assert_eq!(how, [(4, Length), (4, Length), (1, Cancelled), (0, Cancelled), (0, Cancelled)]);
    // What two rows have in common is read once, so that one may be a token ahead.
    assert_eq!(seen.pop(), Some(2));
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 0, 0, 1, 1, 1, 1]);
    for (left, whole) in left.iter().zip(&whole.answers) {
        assert!(whole.completion.ids.starts_with(&left.ids), "{left:?} of {whole:?}");
    }
}

#[test]
fn who_breaks_off_at_the_last_token_of_a_batch_gets_no_other() {
    use FinishReason::{Cancelled, Length};
    let tiny = Tiny::new(&["math"]).unwrap();
    let generate = GenerateConfig { max_new_tokens: 4, ..GenerateConfig::default() };
    let mut oracle = ModelOracle { generate, ..tiny.oracle(2) };
    let mut left = 8;
    let passes = two_pass_with(&mut NoExperts, &queries(), &tiny.pool, &mut oracle, |_, _| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let how = completions(passes.unwrap_err()).iter().map(|row| row.finish).collect::<Vec<_>>();
    assert_eq!(how, [Length, Length, Cancelled, Cancelled, Cancelled]);
}

/// A first pass that may ask `times` times whether to go on.
#[track_caller]
fn check_first_pass(strategy: &mut dyn Strategy, max_rows: usize, times: usize) {
    let tiny = Tiny::new(&["math"]).unwrap();
    let shots = vec![Shot { prompt: vec![Message::user("Tom")], answer: "4".into() }; 4];
    let grade = |graded: &[(usize, &str)]| Ok(vec![0.0; graded.len()]);
    let asked = Cell::new(0);
    let keep_going = || {
        asked.set(asked.get() + 1);
        if asked.get() < times { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let mut oracle = ModelOracle {
        labelled: Some(Labelled { shots: &shots, grade: &grade }),
        keep_going: &keep_going,
        ..tiny.oracle(max_rows)
    };
    let passes = two_pass_with(strategy, &queries(), &tiny.pool, &mut oracle, |_, _| panic!("nothing is answered"));
    // What was tried on labelled examples is no answer.
    assert!(completions(passes.unwrap_err()).is_empty());
    assert_eq!(asked.get(), times);
}

#[test]
fn a_first_pass_is_interrupted_wherever_it_is() {
    // Two options of one token each: two rows for each of five questions.
    check_first_pass(&mut PromptBased, 4, 1);
    check_first_pass(&mut PromptBased, 4, 3);
    // 64 completions of up to six tokens, then their likelihoods.
    check_first_pass(&mut FewShot::default(), 64, 1);
    check_first_pass(&mut FewShot::default(), 64, 64 * 6 + 1);
}
