//! What is refused, and how it is said.

use std::ops::ControlFlow;

use t2_dispatch::strategy::{Classifier, FewShot, NoExperts, PromptBased};
use t2_dispatch::{DispatchError, ExpertPool, Labelled, ModelOracle, Query, Shot, Strategy, two_pass};
use t2_chat::Message;
use t2_model::adapter::{Expert, ExpertInfo};

use crate::tiny::{BASE_MODEL, Tiny, decoder, expert};

#[track_caller]
fn check<T>(result: Result<T, DispatchError>, message: &str) {
    let found = result.err().expect("refused").to_string();
    assert!(found.contains(message), "{found:?} does not say {message:?}");
}

fn named(name: &str) -> Expert {
    Expert::new([].into(), ExpertInfo { name: name.into(), base_model: BASE_MODEL.to_string(), ..Default::default() })
}

#[test]
fn pools_without_a_choice() {
    let model = decoder();
    let pool = |names: &[&str]| ExpertPool::new(&model, &BASE_MODEL, names.iter().map(|name| named(name)).collect());
    check(pool(&[]), "give at least one");
    check(pool(&["classify"]), "give at least one");
    check(pool(&["math", "code", "math"]), "two experts are named `math`");
    check(pool(&["math", "other"]), "cannot be named `other`");
    check(pool(&["math", "base"]), "cannot be named `base`");
    check(pool(&["math", " "]), "cannot be named ` `");
}

#[test]
fn experts_of_something_else() {
    let stranger = Expert::new([].into(), ExpertInfo { name: "math".into(), ..ExpertInfo::default() });
    check(ExpertPool::new(&decoder(), &BASE_MODEL, vec![stranger]), "was trained on the base model");
    let tiny = Tiny::new(&["math"]).unwrap();
    let expert = expert(&tiny.model, "math", 1);
    check(ExpertPool::new(&decoder(), &BASE_MODEL, vec![expert]), "which this model has not decomposed");
}

#[track_caller]
fn check_passes(strategy: &mut dyn Strategy, question: &str, message: &str) {
    let tiny = Tiny::new(&["math", "code"]).unwrap();
    let queries = [Query::user("Tom"), Query::user(question)];
    check(two_pass(strategy, &queries, &mut tiny.oracle(8), |_, _| ControlFlow::Continue(())), message);
}

#[test]
fn queries_that_do_not_fit() {
    check_passes(&mut NoExperts, "", "prompt 1 is empty");
    check_passes(&mut NoExperts, &"12".repeat(62), "prompt 1 has 124 tokens and 6 are to follow, the model reads 128");
    // The prompt fits; the question about it does not.
    check_passes(&mut PromptBased, &"12".repeat(60), "the model reads 128");
}

#[test]
fn strategies_that_lack_something() {
    check_passes(&mut Classifier, "Tom", "no expert named `classify` among math, code");
    check_passes(&mut FewShot::default(), "Tom", "at least 2 labelled examples, found 0");
}

#[track_caller]
fn check_shot(question: &str, answer: &str, message: &str) {
    let tiny = Tiny::new(&["math"]).unwrap();
    let good = Shot { prompt: vec![Message::user("Tom")], answer: "4".into() };
    let shots = [good.clone(), good, Shot { prompt: vec![Message::user(question)], answer: answer.into() }];
    let grade = |_: &[(usize, &str)]| Err("python3 is missing".into());
    let mut oracle = ModelOracle { labelled: Some(Labelled { shots: &shots, grade: &grade }), ..tiny.oracle(8) };
    let queries = [Query::user("Tom")];
    check(two_pass(&mut FewShot::default(), &queries, &mut oracle, |_, _| ControlFlow::Continue(())), message);
}

#[test]
fn labelled_examples_that_do_not_work() {
    check_shot(&"1".repeat(126), "4", "labelled example 2: prompt 2 has 126 tokens");
    check_shot("", "4", "labelled example 2: prompt 2 is empty");
    check_shot("Tom", "", "an answer needs at least one token");
    check_shot("Tom", "4", "could not be graded: python3 is missing");
}
