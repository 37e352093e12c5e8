//! Generation in batches: what a row gets depends on nothing but the row.

use std::ops::ControlFlow;

use burn::prelude::*;
use t2_model::adapter::Active;
use t2_model::adapter::mixture::MixtureError;
use t2_model::decoder::{CausalLm, Decoder, DecoderConfig, LmShape, Outgrown, RopeConfig, RopeScaling};
use t2_model::generate::score::{Sequences, log_likelihoods, option_log_likelihoods};
use t2_model::generate::{
    After, Completion, FinishReason, GenerateConfig, GenerateError, Prompts, Sampling, generate, generate_with,
};

use crate::tiny;

/// Token by token through the cache or at once, alone or in a batch: some roundings of f32 logits near 10.
const LOGPROB_GAP: f32 = 1e-4;

const GREEDY: GenerateConfig =
    GenerateConfig { max_new_tokens: 12, sampling: Sampling::GREEDY, stop: vec![], stop_strings: vec![] };

fn model() -> Decoder {
    tiny::decoder(4)
}

/// Seven prompts of 1 to 13 tokens.
fn prompts() -> Vec<Vec<u32>> {
    (0..7).map(|row| tiny::ids(1 + 2 * row, 40, row as u64)).collect()
}

fn complete(prompts: &[Vec<u32>], seeds: &[u64], config: &GenerateConfig) -> Vec<Completion> {
    complete_by(&model(), prompts, seeds, config)
}

fn complete_by(model: &Decoder, prompts: &[Vec<u32>], seeds: &[u64], config: &GenerateConfig) -> Vec<Completion> {
    generate(model, Prompts::new(prompts).seeded(seeds), config).unwrap()
}

/// Every row of the batch is what it is alone. Returns the rows.
#[track_caller]
fn check_rows(config: &GenerateConfig) -> Vec<Completion> {
    check_rows_of(&model(), config)
}

#[track_caller]
fn check_rows_of(model: &Decoder, config: &GenerateConfig) -> Vec<Completion> {
    let prompts = prompts();
    let seeds: Vec<u64> = (50..).take(prompts.len()).collect();
    let together = complete_by(model, &prompts, &seeds, config);
    for (row, together) in together.iter().enumerate() {
        let alone = &complete_by(model, &prompts[row..=row], &seeds[row..=row], config)[0];
        assert_eq!((&together.ids, together.finish), (&alone.ids, alone.finish), "row {row}");
        for (together, alone) in together.logprobs.iter().zip(&alone.logprobs) {
            assert!((together - alone).abs() < LOGPROB_GAP, "row {row}: {together} vs {alone}");
        }
    }
    together
}

#[test]
fn a_row_gets_the_same_tokens_alone_and_in_a_batch() {
    let plain = GenerateConfig { sampling: Sampling::PLAIN, ..GREEDY };
    let narrow = Sampling { temperature: 0.7, top_k: 20, top_p: 0.9, ..Sampling::PLAIN };
    check_rows(&GREEDY);
    check_rows(&plain);
    check_rows(&GenerateConfig { sampling: narrow, ..GREEDY });
    check_rows(&GenerateConfig { stop: vec![0, 1, 2, 3, 4, 5], ..plain });
}

/// Windows, and positions that depend on the length of a row: some prompts are longer than either from the start, others
/// become so, and rows leave the batch meanwhile.
#[test]
fn positions_of_a_row_do_not_depend_on_its_batch() {
    let plain = tiny::config();
    let pairs = plain.attention.head_dim / 2;
    let longrope = |outgrown| RopeScaling::LongRope {
        short: vec![1.0; pairs],
        long: (0..pairs).map(|pair| 2.0 + pair as f64).collect(),
        attention_factor: 1.1,
        original_max_seq_len: 8,
        outgrown,
    };
    let dynamic = RopeScaling::Dynamic { factor: 4.0, original_max_seq_len: 8 };
    let shape = |scaling| DecoderConfig { rope: RopeConfig { scaling, ..RopeConfig::new(100.0) }, ..plain.clone() };
    let scalings = [dynamic, longrope(Outgrown::Keep), longrope(Outgrown::Reread)];
    let stopping = GenerateConfig { sampling: Sampling::PLAIN, stop: (0..4).collect(), ..GREEDY };
    for config in scalings.map(shape).iter().chain([&tiny::switched()]) {
        let model = tiny::shaped(config, 4);
        let rows = check_rows_of(&model, &stopping);
        assert!(rows.iter().any(|row| row.finish == FinishReason::Stop && row.ids.len() < GREEDY.max_new_tokens));
        check_rows_of(&model, &GREEDY);
    }
}

#[test]
fn the_seed_and_nothing_else_decides_a_draw() {
    let prompts = vec![tiny::ids(5, 40, 1); 3];
    let plain = GenerateConfig { sampling: Sampling::PLAIN, ..GREEDY };
    let rows = complete(&prompts, &[8, 9, 8], &plain);
    assert_eq!(rows[0].ids, rows[2].ids);
    assert_ne!(rows[0].ids, rows[1].ids);
}

#[test]
fn a_stop_token_ends_its_row_and_belongs_to_it() {
    let free = check_rows(&GREEDY);
    assert!(free.iter().all(|row| row.finish == FinishReason::Length && row.ids.len() == GREEDY.max_new_tokens));
    let stop = vec![free[2].ids[3], free[5].ids[6]];
    let stopped = check_rows(&GenerateConfig { stop: stop.clone(), ..GREEDY });
    let mut seen = 0;
    for (stopped, free) in stopped.iter().zip(&free) {
        let end = free.ids.iter().position(|id| stop.contains(id));
        let len = end.map_or(GREEDY.max_new_tokens, |end| end + 1);
        assert_eq!(stopped.ids, free.ids[..len]);
        assert_eq!(stopped.logprobs.len(), len);
        assert_eq!(stopped.finish, if end.is_some() { FinishReason::Stop } else { FinishReason::Length });
        seen += usize::from(end.is_some());
    }
    assert!(seen >= 2);
}

#[test]
fn the_limit_may_be_zero_and_may_fill_the_context() {
    for row in complete(&prompts(), &[0; 7], &GenerateConfig { max_new_tokens: 0, ..GREEDY }) {
        assert_eq!((row.ids.len(), row.finish), (0, FinishReason::Length));
    }
    let full = GenerateConfig { max_new_tokens: 60, ..GREEDY };
    assert_eq!(complete(&[vec![1, 2, 3, 4]], &[0], &full)[0].ids.len(), 60);
    assert!(complete(&[], &[], &GREEDY).is_empty());
}

#[test]
fn bad_prompts_are_refused_before_anything_is_generated() {
    let refuse = |prompts: &[Vec<u32>]| {
        let no_token = |_, _| unreachable!("nothing may be generated");
        generate_with(&model(), Prompts::new(prompts), &GREEDY, no_token).unwrap_err()
    };
    assert!(matches!(refuse(&[vec![1], vec![]]), GenerateError::EmptyPrompt { row: 1 }));
    let long = refuse(&[vec![1; 53]]);
    assert!(matches!(long, GenerateError::TooLong { row: 0, prompt_len: 53, max_new_tokens: 12, max_seq_len: 64 }));
    assert!(long.to_string().contains("max_new_tokens"), "{long}");
    let unknown = refuse(&[vec![1], vec![3, 40]]);
    assert!(matches!(unknown, GenerateError::UnknownToken { row: 1, id: 40, vocab: 40 }));
}

#[test]
fn settings_and_seeds_that_make_no_sense_are_refused() {
    let prompts = prompts();
    let refuse = |sampling, seeds: &[u64]| {
        generate(&model(), Prompts::new(&prompts).seeded(seeds), &GenerateConfig { sampling, ..GREEDY }).unwrap_err()
    };
    let cold = refuse(Sampling { temperature: -1.0, ..Sampling::PLAIN }, &[0; 7]);
    assert!(cold.to_string().contains("temperature is -1"), "{cold}");
    let narrow = refuse(Sampling { top_p: 0.0, ..Sampling::PLAIN }, &[0; 7]);
    assert!(narrow.to_string().contains("top_p is 0"), "{narrow}");
    let few = refuse(Sampling::GREEDY, &[0; 3]);
    assert!(matches!(few, GenerateError::Seeds { found: 3, expected: 7 }), "{few}");
}

/// A model with one weight that is no number.
fn broken(value: f32) -> Decoder {
    let mut model = model();
    let head = model.head.as_mut().unwrap();
    head.weight = head.weight.clone().map(|weight| weight.slice_fill([0..1, 5..6], value));
    model
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    for value in [f32::NAN, f32::INFINITY] {
        let model = broken(value);
        let error = generate(&model, Prompts::new(&prompts()), &GREEDY).unwrap_err();
        assert!(matches!(error, GenerateError::NotFinite { row: 0, step: 0 }), "{error}");
        let error = option_log_likelihoods(&model, &[&[1, 2], &[3]], &[&[4], &[5], &[6]], Active::Base).unwrap_err();
        assert!(matches!(error, GenerateError::NotFinite { row: 0, .. }), "{error}");
        let error = log_likelihoods(&model, &[(&[1, 2], &[5])], Active::Base).unwrap_err();
        assert!(matches!(error, GenerateError::NotFinite { row: 0, .. }), "{error}");
    }
}

#[test]
fn rows_that_cannot_be_scored_are_refused() {
    let score = |rows: &[(&[u32], &[u32])]| log_likelihoods(&model(), rows, Active::Base).unwrap_err();
    assert!(matches!(score(&[]), GenerateError::NoRows));
    assert!(matches!(score(&[(&[1], &[2]), (&[], &[2])]), GenerateError::EmptyPrompt { row: 1 }));
    assert!(matches!(score(&[(&[1], &[])]), GenerateError::EmptyCompletion { .. }));
    let options = |prompts: &[&[u32]], options: &[&[u32]]| {
        option_log_likelihoods(&model(), prompts, options, Active::Base).unwrap_err()
    };
    assert!(matches!(options(&[], &[&[1]]), GenerateError::NoRows));
    assert!(matches!(options(&[&[1]], &[]), GenerateError::NoRows));
    assert!(matches!(options(&[&[1]], &[&[1], &[]]), GenerateError::EmptyCompletion { row: 1 }));
    assert!(matches!(options(&[&[]], &[&[1]]), GenerateError::EmptyPrompt { row: 0 }));
}

#[test]
fn rows_that_the_model_cannot_read_are_not_scored() {
    let score = |rows: &[(&[u32], &[u32])]| log_likelihoods(&model(), rows, Active::Base).unwrap_err();
    let options = |prompts: &[&[u32]], options: &[&[u32]]| {
        option_log_likelihoods(&model(), prompts, options, Active::Base).unwrap_err()
    };
    let LmShape { vocab, max_seq_len, .. } = model().shape();
    let (foreign, long) = ([vocab as u32], vec![1; max_seq_len]);
    assert!(matches!(score(&[(&[1], &[2]), (&foreign, &[2])]), GenerateError::UnknownToken { row: 1, .. }));
    assert!(matches!(score(&[(&[1], &[2]), (&[1], &foreign)]), GenerateError::UnknownToken { row: 1, .. }));
    assert!(matches!(score(&[(&long, &[2])]), GenerateError::TooLong { row: 0, .. }));
    assert!(matches!(options(&[&[1]], &[&[1], &foreign]), GenerateError::UnknownToken { row: 1, .. }));
    assert!(matches!(options(&[&[1], &long], &[&[1]]), GenerateError::TooLong { row: 1, .. }));
    let error =
        Sequences::new(&[(&[1], &[2])], &Device::flex()).unwrap().log_softmax(&model(), Active::Own).unwrap_err();
    assert!(matches!(error, GenerateError::Mixture(MixtureError::NoAdapter)), "{error}");
}

#[test]
fn breaking_off_keeps_what_there_is() {
    let free = complete(&prompts(), &[0; 7], &GREEDY);
    // Row 2 ends by itself in the third step; the caller breaks off at row 4 of the same step.
    let config = GenerateConfig { stop: vec![free[2].ids[2]], ..GREEDY };
    let whole = complete(&prompts(), &[0; 7], &config);
    let mut seen = vec![vec![]; 7];
    let (prompts, seeds) = (prompts(), [0; 7]);
    let broken = generate_with(&model(), Prompts::new(&prompts).seeded(&seeds), &config, |row, id| {
        seen[row].push(id);
        if row == 4 && seen[row].len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let Err(GenerateError::Interrupted { completions: rows }) = broken else { panic!("{broken:?}") };
    assert_eq!(rows[4].ids.len(), 3);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.ids, seen[index]);
        assert_eq!(row.ids.len(), row.logprobs.len());
        assert!(whole[index].ids.starts_with(&row.ids));
        let ended = row.ids.last() == Some(&config.stop[0]);
        assert_eq!(row.finish, if ended { FinishReason::Stop } else { FinishReason::Cancelled }, "row {index}");
    }
    assert_eq!(rows[2].finish, FinishReason::Stop);
}

#[test]
fn breaking_off_after_the_last_token_loses_nothing() {
    let (prompts, mut left) = (prompts(), 7 * GREEDY.max_new_tokens);
    let whole = complete(&prompts, &[0; 7], &GREEDY);
    let seeds = [0; 7];
    let broken = generate_with(&model(), Prompts::new(&prompts).seeded(&seeds), &GREEDY, |_, _| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let ids = |rows: &[Completion]| rows.iter().map(|row| (row.ids.clone(), row.finish)).collect::<Vec<_>>();
    assert_eq!(ids(&broken.unwrap()), ids(&whole));
}

#[test]
fn sampled_log_probabilities_are_those_of_scoring() {
    let plain = GenerateConfig { sampling: Sampling::PLAIN, stop: vec![0, 1, 2], ..GREEDY };
    let (prompts, seeds) = (prompts(), [3; 7]);
    let rows = complete(&prompts, &seeds, &plain);
    let pairs: Vec<(&[u32], &[u32])> =
        prompts.iter().zip(&rows).map(|(prompt, row)| (prompt.as_slice(), row.ids.as_slice())).collect();
    let sequences = Sequences::new(&pairs, &Device::flex()).unwrap();
    let chosen = sequences.chosen(sequences.log_softmax(&model(), Active::Base).unwrap());
    let [_, seq] = chosen.dims();
    let (chosen, mask) = (tiny::values(chosen), tiny::values(sequences.mask.clone()));
    let totals = log_likelihoods(&model(), &pairs, Active::Base).unwrap();
    let mut worst = 0.0_f32;
    for (index, row) in rows.iter().enumerate() {
        let columns = index * seq..(index + 1) * seq;
        let scored: Vec<f32> = columns.filter(|&column| mask[column] == 1.0).map(|column| chosen[column]).collect();
        assert_eq!(scored.len(), row.ids.len());
        for (sampled, scored) in row.logprobs.iter().zip(&scored) {
            worst = worst.max((sampled - scored).abs());
        }
        let total: f32 = row.logprobs.iter().sum();
        assert!((totals[index] - total).abs() < LOGPROB_GAP * row.ids.len() as f32);
    }
    println!("largest difference between sampled and scored log-probability: {worst:.1e}");
    assert!(worst < LOGPROB_GAP, "{worst:e}");
}

#[test]
fn a_completion_that_its_caller_ends_leaves_the_others_alone() {
    let model = model();
    let prompts = prompts();
    let config = GenerateConfig { max_new_tokens: 6, ..GREEDY };
    let (mut engine, requests) = Prompts::new(&prompts).requests(&model, &config).unwrap();
    let all = engine.complete(requests.clone(), |_, _| ControlFlow::Continue(())).unwrap();
    // One after two tokens, and one at its last.
    let ended = engine.complete_until(requests, |row, so_far| {
        assert_eq!(so_far.ids.len(), so_far.logprobs.len());
        match (row, so_far.ids.len()) {
            (1, 2) | (2, 6) => After::End,
            _ => After::GoOn,
        }
    });
    let ended = ended.unwrap();
    for (row, (ended, all)) in ended.iter().zip(&all).enumerate() {
        let (len, finish) = match row {
            1 => (2, FinishReason::Text),
            2 => (6, FinishReason::Text),
            _ => (6, FinishReason::Length),
        };
        assert_eq!((&ended.ids[..], ended.finish), (&all.ids[..len], finish), "row {row}");
        assert_eq!(ended.answer_ids(), ended.ids);
    }
    assert!(engine.is_idle());
}
