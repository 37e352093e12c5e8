//! Rows of shared batches on a tiny random model.

use t2_dispatch::burn::prelude::*;
use t2_dispatch::strategy::{Classifier, FewShot, NoExperts, PromptBased};
use t2_dispatch::{Labelled, Message, ModelOracle, Oracle, Query, Reader, Shot, Strategy, two_pass};
use t2_model::adapter::{Active, Mixture};
use t2_model::decoder::CausalLm;
use t2_model::generate::{FinishReason, GenerateConfig, Prompts, generate};

use crate::scripted::Given;
use crate::tiny::Tiny;

/// Sums of a few hundred f32 terms near one, in an order that depends on the number of rows.
const ROUNDING: f32 = 1e-4;
/// What the swings of the test experts move a log-likelihood by, at least: far more than rounding.
const EFFECT: f32 = 1e-3;

const NAMES: [&str; 4] = ["math", "code", "reason", "classify"];

/// Eight different mixtures of three experts.
fn mixtures() -> Vec<Mixture> {
    vec![
        Mixture::base(3),
        Mixture::one_hot(0, 3).unwrap(),
        Mixture::one_hot(1, 3).unwrap(),
        Mixture::one_hot(2, 3).unwrap(),
        Mixture::global(vec![0.5, 0.5, 0.0]),
        Mixture::global(vec![0.2, 0.3, 0.5]),
        Mixture::global(vec![1.0, 1.0, 1.0]),
        Mixture::per_layer(vec![vec![1.0, 0.0, 0.0], vec![0.0, 0.0, 0.7]]),
    ]
}

fn queries(count: usize) -> Vec<Query> {
    (0..count).map(|i| Query::user("Tom has 4 apples. He buys 3 more."[..8 + 3 * i].to_owned())).collect()
}

fn shots() -> Vec<Shot> {
    let shot = |(question, answer): (&str, &str)| Shot { prompt: vec![Message::user(question)], answer: answer.into() };
    [("Tom has 4.", "4"), ("He buys 3 more.", "7 apples"), ("def f(x):", "return x"), ("x", "x + 1")].map(shot).to_vec()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < ROUNDING, "{index}: {found} for {expected}");
    }
}

fn logits(tiny: &Tiny, prompt: &[i64], mixtures: &[Mixture]) -> Vec<f32> {
    let rows = mixtures.len();
    let tokens = TensorData::new(prompt.repeat(rows), [rows, prompt.len()]);
    let active = tiny.pool.bank().rows(mixtures).unwrap();
    let logits = tiny.model.forward(Tensor::from_data(tokens, &Device::flex()), None, Active::Rows(&active));
    logits.into_data().iter::<f32>().collect()
}

#[test]
fn eight_mixtures_in_one_batch_are_the_same_rows_one_by_one() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let prompt = [40, 41, 42, 43, 44];
    let together = logits(&tiny, &prompt, &mixtures());
    let each = together.len() / 8;
    let mut rows: Vec<&[f32]> = together.chunks(each).collect();
    for (row, mixture) in rows.iter().zip(mixtures()) {
        assert_near(row, &logits(&tiny, &prompt, &[mixture]));
    }
    // And they are eight different models.
    while let Some(row) = rows.pop() {
        for other in &rows {
            let apart = row.iter().zip(*other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart > EFFECT, "{apart}");
        }
    }
}

#[test]
fn answers_do_not_depend_on_the_batch() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let run = |max_rows| two_pass(&mut Given(mixtures()), &queries(8), &tiny.pool, &mut tiny.oracle(max_rows)).unwrap();
    let (together, apart) = (run(8), run(1));
    for (a, b) in together.answers.iter().zip(&apart.answers) {
        assert_eq!((&a.completion.ids, &a.text), (&b.completion.ids, &b.text));
        assert_near(&a.completion.logprobs, &b.completion.logprobs);
    }
}

#[test]
fn no_expert_is_the_base_model_bit_for_bit() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let oracle = &mut tiny.oracle(3);
    let passes = two_pass(&mut NoExperts, &queries(3), &tiny.pool, oracle).unwrap();
    let prompts: Vec<Vec<u32>> =
        queries(3).iter().map(|query| tiny.tokenizer.encode_chat(&query.prompt).unwrap()).collect();
    let base = generate(&tiny.model, Prompts::new(&prompts), &oracle.generate).unwrap();
    for (answer, base) in passes.answers.iter().zip(base) {
        assert_eq!(answer.completion.ids, base.ids);
        assert_eq!(answer.completion.logprobs, base.logprobs);
    }
    let prompt = [40, 41, 42];
    let tokens = Tensor::from_data([prompt], &Device::flex());
    let base: Vec<f32> = tiny.model.forward(tokens, None, Active::Base).into_data().iter::<f32>().collect();
    assert_eq!(logits(&tiny, &prompt, &[Mixture::base(3)]), base);
}

/// Log-likelihood of `answer` by reading the logits of its positions off one forward pass.
fn likelihood(tiny: &Tiny, prompt: &[Message], answer: &[u32], mixture: &Mixture) -> f32 {
    let mut ids = tiny.tokenizer.encode_chat(prompt).unwrap();
    let prompt_len = ids.len();
    ids.extend(answer);
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let logits = logits(tiny, &ids, std::slice::from_ref(mixture));
    let rows: Vec<&[f32]> = logits.chunks(tiny.model.config().vocab).collect();
    let next = |i: usize| rows[i][ids[i + 1] as usize] - rows[i].iter().map(|l| l.exp()).sum::<f32>().ln();
    (prompt_len - 1..ids.len() - 1).map(next).sum()
}

fn fragment(tiny: &Tiny, text: &str) -> Vec<u32> {
    tiny.tokenizer.encode_fragment(text).unwrap()
}

#[test]
fn options_are_weighed_as_whole_answers_whatever_the_batch() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let questions = ["Which one?".to_owned(), "And for Tom, who has 4 apples?".to_owned()];
    let options = ["math", "x", "other"];
    for max_rows in [1, 4, 64] {
        let found = tiny.oracle(max_rows).classify(&questions, &options, Reader::Base).unwrap();
        for (question, found) in questions.iter().zip(found) {
            let prompt = [Message::user(question)];
            let weigh = |option| likelihood(&tiny, &prompt, &fragment(&tiny, option), &Mixture::base(3));
            assert_near(&found, &options.map(weigh));
        }
    }
}

#[test]
fn the_classification_expert_reads_otherwise_than_the_base_model() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let ask = |reader| tiny.oracle(64).classify(&["Which?".to_owned()], &["math", "code"], reader).unwrap().remove(0);
    let (base, expert) = (ask(Reader::Base), ask(Reader::Classifier));
    assert!(base.iter().zip(&expert).any(|(a, b)| (a - b).abs() > EFFECT), "{base:?} {expert:?}");
    let choose = |strategy: &mut dyn Strategy| {
        let passes = two_pass(strategy, &queries(2), &tiny.pool, &mut tiny.oracle(64)).unwrap();
        passes.answers.into_iter().map(|answer| answer.choice.scores).collect::<Vec<_>>()
    };
    assert_ne!(choose(&mut PromptBased), choose(&mut Classifier));
}

/// What options of which one begins another are worth when these tokens end an answer.
#[track_caller]
fn check_stop(tiny: &Tiny, stop: &[u32]) {
    let (prompt, options) = ([Message::user("Q")], ["ma", "ma Q"]);
    let ids = options.map(|option| fragment(tiny, option));
    assert!(ids[1].starts_with(&ids[0]), "{ids:?}");
    let generate = GenerateConfig { stop: stop.to_vec(), ..GenerateConfig::default() };
    let mut oracle = ModelOracle { generate, ..tiny.oracle(64) };
    let found = oracle.classify(&["Q".to_owned()], &options, Reader::Base).unwrap().remove(0);
    let base = Mixture::base(3);
    let ended = |ids: &Vec<u32>| {
        let ways = stop.iter().map(|&stop| likelihood(tiny, &prompt, &[ids.as_slice(), &[stop]].concat(), &base));
        if stop.is_empty() { likelihood(tiny, &prompt, ids, &base) } else { ways.map(f32::exp).sum::<f32>().ln() }
    };
    assert_near(&found, &ids.each_ref().map(ended));
}

#[test]
fn where_one_option_begins_another_each_may_end_with_any_stop_token() {
    let tiny = Tiny::new(&NAMES).unwrap();
    check_stop(&tiny, &[]);
    check_stop(&tiny, &[0]);
    check_stop(&tiny, &[70, 0, 5]);
}

#[test]
fn the_text_of_an_answer_is_without_the_token_that_ended_it() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let ask = |stop: &[u32]| {
        let generate = GenerateConfig { max_new_tokens: 12, stop: stop.to_vec(), ..GenerateConfig::default() };
        let mut oracle = ModelOracle { generate, ..tiny.oracle(64) };
        two_pass(&mut NoExperts, &queries(1), &tiny.pool, &mut oracle).unwrap().answers.remove(0)
    };
    let ids = ask(&[]).completion.ids;
    // A token with a text of its own that is not there before.
    let last = (1..ids.len()).rev().find(|&at| !ids[..at].contains(&ids[at])).expect("two different tokens");
    let answer = ask(&[ids[last]]);
    assert_eq!((&answer.completion.ids[..], answer.completion.finish), (&ids[..=last], FinishReason::Stop));
    assert_eq!(answer.text, tiny.tokenizer.decode(&ids[..last]).unwrap());
    assert_ne!(answer.text, tiny.tokenizer.decode(&ids[..=last]).unwrap());
}

#[test]
fn fitness_is_the_mean_over_the_examples_whatever_the_batch() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let shots = shots();
    // Rewards that tell the examples and the completions apart.
    let grade = |graded: &[(usize, &str)]| {
        Ok(graded.iter().map(|(shot, text)| *shot as f32 + text.len() as f32 / 64.0).collect::<Vec<_>>())
    };
    let chosen = [3, 0, 1];
    let value = |max_rows| {
        let labelled = Some(Labelled { shots: &shots, grade: &grade });
        ModelOracle { labelled, ..tiny.oracle(max_rows) }.fitness(&mixtures(), &chosen).unwrap()
    };
    let (together, apart) = (value(64), value(5));
    for ((together, apart), mixture) in together.iter().zip(&apart).zip(mixtures()) {
        assert_eq!(together.reward, apart.reward);
        let mut given = Given(vec![mixture.clone(); 3]);
        let alone = two_pass(&mut given, &chosen.map(query), &tiny.pool, &mut tiny.oracle(1));
        let texts: Vec<String> = alone.unwrap().answers.into_iter().map(|answer| answer.text).collect();
        let reward = (4.0 + texts.iter().map(String::len).sum::<usize>() as f32 / 64.0) / 3.0;
        let likelihoods =
            chosen.map(|i| likelihood(&tiny, &shots[i].prompt, &fragment(&tiny, &shots[i].answer), &mixture));
        let log_likelihood = likelihoods.iter().sum::<f32>() / 3.0;
        assert_near(
            &[together.reward, together.log_likelihood, apart.log_likelihood],
            &[reward, log_likelihood, log_likelihood],
        );
    }
}

fn query(shot: usize) -> Query {
    Query { prompt: shots()[shot].prompt.clone(), seed: shot as u64 }
}

#[test]
fn few_shot_answers_under_the_mixture_it_found() {
    let tiny = Tiny::new(&NAMES).unwrap();
    let shots = shots();
    let grade = |graded: &[(usize, &str)]| Ok(vec![0.0; graded.len()]);
    let mut oracle = ModelOracle { labelled: Some(Labelled { shots: &shots, grade: &grade }), ..tiny.oracle(64) };
    let passes = two_pass(&mut FewShot::default(), &queries(2), &tiny.pool, &mut oracle).unwrap();
    assert_eq!(passes.answers[0].choice, passes.answers[1].choice);
    // All rewards tie: on the held-out examples no finalist is likelier than the choice.
    let held_out = |mixture: &Mixture| oracle.clone().fitness(std::slice::from_ref(mixture), &[1, 3]).unwrap()[0];
    let chosen = held_out(&passes.answers[0].choice.mixture).log_likelihood;
    for mixture in &mixtures()[..4] {
        assert!(chosen > held_out(mixture).log_likelihood - ROUNDING);
    }
}
