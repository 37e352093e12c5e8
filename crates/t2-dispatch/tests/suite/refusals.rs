//! What is refused, and how it is said.

use std::error::Error;

use t2_dispatch::cross_entropy::CrossEntropy;
use t2_dispatch::strategy::{Classifier, FewShot, FewShotConfig, NoExperts, PromptBased};
use t2_dispatch::{DispatchError, ExpertPool, Labelled, Message, ModelOracle, Query, Shot, Strategy, two_pass};
use t2_model::adapter::{Expert, ExpertError, ExpertInfo};
use t2_model::decoder::CausalLm;

use crate::tiny::{Tiny, decoder, expert};

/// An error says `message`, with its sources.
#[track_caller]
fn check<T>(result: Result<T, DispatchError>, message: &str) {
    let error = result.err().expect("refused");
    let chain = std::iter::successors(Some(&error as &dyn Error), |&error| error.source());
    let found = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(found.contains(message), "{found:?} does not say {message:?}");
}

#[test]
fn pools_without_a_choice() {
    let model = decoder(0);
    let named = |name: &&str| Expert::new([].into(), ExpertInfo::for_model(*name, &model)).unwrap();
    let pool = |names: &[&str]| ExpertPool::new(&model, names.iter().map(named).collect());
    check(pool(&[]), "give at least one");
    check(pool(&["classify"]), "give at least one");
    check(pool(&["math", "code", "math"]), "two experts are named `math`");
    check(pool(&["math", "other"]), "cannot be named `other`");
    check(pool(&["math", "base"]), "cannot be named `base`");
    check(pool(&["math", " "]), "cannot be named ` `");
}

#[test]
fn experts_of_something_else() {
    let tiny = Tiny::new(&["math"]).unwrap();
    for name in ["math", "classify"] {
        let stranger = Expert::new([].into(), ExpertInfo::for_model(name, &decoder(1))).unwrap();
        let own = expert(&tiny.model, "code", 1).unwrap();
        let error = ExpertPool::new(&tiny.model, vec![own, stranger]).unwrap_err();
        let DispatchError::Expert(ExpertError::OtherBase { expected, found, .. }) = error else { panic!("{error:?}") };
        assert_eq!((expected, found), (decoder(1).base_hash(), tiny.model.base_hash()));
    }
    let expert = expert(&tiny.model, "math", 1).unwrap();
    check(ExpertPool::new(&decoder(0), vec![expert]), "which this model has not decomposed");
}

#[track_caller]
fn check_passes(strategy: &mut dyn Strategy, question: &str, message: &str) {
    let tiny = Tiny::new(&["math", "code"]).unwrap();
    let queries = [Query::user("Tom"), Query::user(question)];
    check(two_pass(strategy, &queries, &tiny.pool, &mut tiny.oracle(8)), message);
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

#[test]
fn searches_that_cannot_be_made() {
    let with = |search| FewShot::new(FewShotConfig { search, ..FewShotConfig::default() });
    let plain = CrossEntropy::default();
    check_passes(&mut with(CrossEntropy { population: 0, ..plain }), "Tom", "population of the search is 0");
    check_passes(&mut with(CrossEntropy { low: 1.0, high: 0.0, ..plain }), "Tom", "high of the search is 0");
}

#[track_caller]
fn check_shot(question: &str, answer: &str, message: &str) {
    let tiny = Tiny::new(&["math"]).unwrap();
    let good = Shot { prompt: vec![Message::user("Tom")], answer: "4".into() };
    let shots = [good.clone(), good, Shot { prompt: vec![Message::user(question)], answer: answer.into() }];
    let grade = |_: &[(usize, &str)]| Err("python3 is missing".into());
    let mut oracle = ModelOracle { labelled: Some(Labelled { shots: &shots, grade: &grade }), ..tiny.oracle(8) };
    let queries = [Query::user("Tom")];
    check(two_pass(&mut FewShot::default(), &queries, &tiny.pool, &mut oracle), message);
}

#[test]
fn labelled_examples_that_do_not_work() {
    check_shot(&"1".repeat(126), "4", "labelled example 2 cannot be put to the model: prompt 2 has 126 tokens");
    check_shot("", "4", "labelled example 2 cannot be put to the model: prompt 2 is empty");
    check_shot("Tom", "", "an answer needs at least one token");
    check_shot("Tom", "4", "could not be graded: python3 is missing");
}
