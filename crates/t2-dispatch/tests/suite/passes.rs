//! The two passes over an oracle without a model.

use std::ops::ControlFlow;

use t2_dispatch::strategy::{NoExperts, PromptBased};
use t2_dispatch::{DispatchError, Grade, Oracle, Query, Strategy, TwoPasses, two_pass, two_pass_with};
use t2_model::generate::GenerateError;

use crate::scripted::{Scripted, pool};

fn queries() -> [Query; 2] {
    [Query { seed: 7, ..Query::user("1 + 1?") }, Query { seed: 8, ..Query::user("def f") }]
}

#[test]
fn every_query_is_answered_under_its_choice() {
    let mut scripted = Scripted::reading(&[-2.0, -1.0, -3.0]);
    let oracle: &mut dyn Oracle = &mut scripted;
    let TwoPasses { answers, first_pass_secs, second_pass_secs } =
        two_pass(&mut PromptBased, &queries(), &pool(&["math", "code"]), oracle).unwrap();
    let said: Vec<(&str, &str, &[u32])> =
        answers.iter().map(|a| (a.choice.label.as_str(), a.text.as_str(), a.completion.ids.as_slice())).collect();
    assert_eq!(said, [("code", "7 under [0.0, 1.0]", &[7][..]), ("code", "8 under [0.0, 1.0]", &[8][..])]);
    assert!(first_pass_secs >= 0.0 && second_pass_secs >= 0.0);
    assert_eq!(scripted.asked, ["check", "classify", "answer"]);
}

#[test]
fn nothing_is_asked_about_prompts_of_which_one_is_refused() {
    let mut oracle = Scripted { refused: Some("def f"), ..Scripted::reading(&[-2.0, -1.0, -3.0]) };
    let error = two_pass(&mut PromptBased, &queries(), &pool(&["math", "code"]), &mut oracle).unwrap_err();
    assert!(matches!(error, DispatchError::Generate(GenerateError::EmptyPrompt { row: 1 })), "{error}");
    assert_eq!(oracle.asked, ["check"]);
}

#[test]
fn tokens_are_seen_with_the_query_they_answer() {
    let mut seen = vec![];
    let see = |query, id| {
        seen.push((query, id));
        if id == 7 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let three = [queries(), queries()].concat();
    let error = two_pass_with(&mut NoExperts, &three, &pool(&["math"]), &mut Scripted::reading(&[]), see).unwrap_err();
    assert!(matches!(error, DispatchError::Generate(GenerateError::Interrupted { .. })), "{error}");
    assert_eq!(seen, [(0, 7), (1, 8)]);
}

#[test]
fn no_queries_have_no_answers() {
    let mut oracle = Scripted::reading(&[-1.0, -2.0]);
    let passes = two_pass(&mut PromptBased, &[], &pool(&["math"]), &mut oracle).unwrap();
    assert!(passes.answers.is_empty());
}

#[test]
fn strategies_and_graders_can_go_to_another_thread() {
    fn is_send<T: Send + ?Sized>() {}
    fn is_sync<T: Sync + ?Sized>() {}
    is_send::<dyn Strategy>();
    is_send::<Box<dyn Strategy>>();
    is_send::<Grade<'static>>();
    is_sync::<Grade<'static>>();
}
