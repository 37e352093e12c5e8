//! The strategies that ask for the topic.

use t2_dispatch::strategy::{Classifier, NoExperts, PromptBased};
use t2_dispatch::{Message, Query, Reader, Strategy};
use t2_model::adapter::Mixture;

use crate::scripted::{Scripted, pool};

const NAN: f32 = f32::NAN;

/// What the model finds likely (math, code, reason, other), and what is chosen.
#[track_caller]
fn check(likelihoods: [f32; 4], label: &str, alpha: [f32; 3]) {
    let mut oracle = Scripted::reading(&likelihoods);
    let choices = PromptBased.choose(&[Query::user("1 + 1?")], &pool(&["math", "code", "reason"]), &mut oracle);
    let choice = choices.unwrap().remove(0);
    assert_eq!(choice.label, label);
    assert_eq!(choice.mixture, Mixture::global(alpha.to_vec()));
}

#[test]
fn the_most_likely_topic_is_chosen() {
    check([-1.0, -2.0, -3.0, -4.0], "math", [1.0, 0.0, 0.0]);
    check([-9.0, -8.0, -7.5, -20.0], "reason", [0.0, 0.0, 1.0]);
    check([-1.0, -0.5, -0.5, -0.5], "code", [0.0, 1.0, 0.0]);
    check([NAN, -2.0, -3.0, -4.0], "code", [0.0, 1.0, 0.0]);
}

#[test]
fn other_is_the_base_model() {
    check([-2.0, -2.0, -2.0, -1.0], "base", [0.0, 0.0, 0.0]);
    check([NAN, NAN, NAN, NAN], "base", [0.0, 0.0, 0.0]);
}

#[test]
fn scores_are_the_probabilities_of_the_topics() {
    let mut oracle = Scripted::reading(&[0.6_f32.ln() - 50.0, 0.3_f32.ln() - 50.0, 0.1_f32.ln() - 50.0]);
    let choices = PromptBased.choose(&[Query::user("1 + 1?")], &pool(&["math", "code"]), &mut oracle).unwrap();
    for ((name, score), (expected, p)) in choices[0].scores.iter().zip([("math", 0.6), ("code", 0.3), ("other", 0.1)]) {
        assert_eq!(name, expected);
        // Logarithms near -50 are rounded at 4e-6.
        assert!((score - p).abs() < 1e-5, "{name}: {score} for {p}");
    }
}

#[test]
fn all_queries_are_one_batch_of_questions() {
    let pool = pool(&["math", "classify", "code"]);
    let turns = vec![Message::user("Tom has 4."), Message::assistant("Good."), Message::user("And 3 more?")];
    let queries = [Query::user("def f"), Query { prompt: turns, seed: 0 }];
    let strategies: [(&mut dyn Strategy, Reader); 2] =
        [(&mut PromptBased, Reader::Base), (&mut Classifier, Reader::Classifier)];
    for (strategy, reader) in strategies {
        let mut oracle = Scripted::reading(&[-1.0, -2.0, -3.0]);
        let choices = strategy.choose(&queries, &pool, &mut oracle).unwrap();
        assert_eq!(choices.iter().map(|c| c.label.as_str()).collect::<Vec<_>>(), ["math", "math"]);
        let question = "Which topic is this: math, code, other?\n";
        let questions = [format!("{question}def f"), format!("{question}Tom has 4.\nAnd 3 more?")];
        assert_eq!(oracle.questions, [(reader, questions.to_vec(), "math code other".to_owned())]);
    }
}

#[test]
fn none_asks_nothing() {
    let mut oracle = Scripted::reading(&[]);
    let choices = NoExperts.choose(&[Query::user("a"), Query::user("b")], &pool(&["math"]), &mut oracle).unwrap();
    assert!(choices.iter().all(|choice| choice.mixture.is_base() && choice.label == "base"));
    assert_eq!((choices.len(), oracle.asked.len()), (2, 0));
}
