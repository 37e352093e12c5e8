//! Drawing from logits beside the obvious way: all tokens in order, in f64.

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::{DType, Distribution};
use t2_linalg::ops::{self, Draw, Drawn};

/// What rounding leaves of a share of the probability, and of a log-probability.
pub(crate) const ROUNDING: f64 = 2e-6;

pub(crate) const PLAIN: Draw<'static> =
    Draw { repetition_penalty: 1.0, seen: &[], temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, uniform: 0.0 };

/// How tokens are cut off.
pub(crate) const HOW: [Draw<'static>; 14] = [
    PLAIN,
    Draw { temperature: 0.7, ..PLAIN },
    Draw { temperature: 0.01, ..PLAIN },
    Draw { temperature: 30.0, ..PLAIN },
    Draw { top_k: 1, ..PLAIN },
    Draw { top_k: 7, ..PLAIN },
    Draw { top_k: 900, ..PLAIN },
    Draw { top_p: 0.1, ..PLAIN },
    Draw { top_p: 0.95, ..PLAIN },
    Draw { top_p: 0.99999, temperature: 20.0, ..PLAIN },
    Draw { min_p: 0.05, ..PLAIN },
    Draw { min_p: 1.0, ..PLAIN },
    Draw { top_k: 20, top_p: 0.9, min_p: 0.02, temperature: 1.3, ..PLAIN },
    Draw { top_p: 0.8, min_p: 0.2, ..PLAIN },
];

/// The tokens that a draw leaves, by their ids, with their shares of the probability.
fn shares(logits: &[f32], draw: &Draw<'_>) -> Vec<(u32, f64)> {
    let mut logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let penalty = f64::from(draw.repetition_penalty);
    let mut seen = draw.seen.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        let logit = &mut logits[id as usize];
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
    }
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |logit: f64| ((logit - top) / f64::from(draw.temperature)).exp();
    let mut order: Vec<(u32, f64)> = (0..).zip(logits.into_iter().map(weight)).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.truncate(if draw.top_k == 0 { order.len() } else { draw.top_k });
    if draw.top_p < 1.0 {
        let enough = f64::from(draw.top_p) * order.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut sum = 0.0;
        let reached = order.iter().position(|(_, weight)| {
            sum += weight;
            sum >= enough
        });
        order.truncate(reached.map_or(order.len(), |last| last + 1));
    }
    order.retain(|(_, weight)| *weight >= f64::from(draw.min_p));
    order.sort_by_key(|(id, _)| *id);
    let sum: f64 = order.iter().map(|(_, weight)| weight).sum();
    order.into_iter().map(|(id, weight)| (id, weight / sum)).collect()
}

/// Logits of `rows`, spread as wide as those of a language model.
pub(crate) fn logits(rows: usize, vocab: usize) -> Tensor<2> {
    Tensor::random([rows, vocab], Distribution::Normal(0.0, 3.0), &Device::flex())
}

fn rows(logits: &Tensor<2>) -> Vec<Vec<f32>> {
    let [_, vocab] = logits.dims();
    let values: Vec<f32> = logits.to_data().iter::<f32>().collect();
    values.chunks(vocab).map(<[f32]>::to_vec).collect()
}

/// Every token that is drawn is the one in whose share `uniform` lies, and has its log-probability.
#[track_caller]
pub(crate) fn check(logits: &Tensor<2>, how: Draw<'_>, rounding: f64) {
    let rows = rows(logits);
    let draws: Vec<Draw<'_>> =
        (0..rows.len()).map(|row| Draw { uniform: row as f64 / rows.len() as f64, ..how }).collect();
    let drawn = ops::draw(logits, &draws).unwrap();
    for ((row, draw), drawn) in rows.iter().zip(&draws).zip(drawn) {
        let Drawn { id, logprob } = drawn.expect("a distribution");
        let shares = shares(row, draw);
        let before: f64 = shares.iter().take_while(|(other, _)| *other < id).map(|(_, share)| share).sum();
        let share =
            shares.iter().find(|(other, _)| *other == id).unwrap_or_else(|| panic!("{id} is cut off: {how:?}")).1;
        let range = before - rounding..before + share + rounding;
        assert!(range.contains(&draw.uniform), "{} in {range:?}: {how:?}", draw.uniform);
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let norm = row.iter().map(|&logit| f64::from(logit - top).exp()).sum::<f64>().ln() + f64::from(top);
        let expected = f64::from(row[id as usize]) - norm;
        assert!((f64::from(logprob) - expected).abs() < rounding * 10.0, "{logprob} is not {expected}");
    }
}

#[test]
fn draws_are_those_of_all_tokens_in_order() {
    for vocab in [1, 5, 64, 65, 1000, 5003] {
        let logits = logits(40, vocab);
        let some: Vec<u32> = (0..vocab as u32).step_by(3).chain([0, 0]).collect();
        let penalties = [
            Draw { repetition_penalty: 1.3, seen: &some, ..PLAIN },
            Draw { repetition_penalty: 0.5, seen: &some, top_k: 9, temperature: 0.5, ..PLAIN },
        ];
        for draw in HOW.into_iter().chain(penalties) {
            check(&logits, draw, ROUNDING);
        }
    }
}

#[test]
fn settings_at_their_ends_draw_what_they_lead_to() {
    let row = [0.0, 5.0, -5.0];
    let id = |draw: Draw<'_>| draw.token(&row).map(|drawn| drawn.id);
    for temperature in [f32::MIN_POSITIVE, 1e-40, 1e-30] {
        assert_eq!(id(Draw { temperature, uniform: 0.99, ..PLAIN }), Some(1), "{temperature:e}");
    }
    assert_eq!(id(Draw { temperature: 3e38, uniform: 0.9, ..PLAIN }), Some(2));
    assert_eq!(id(Draw { top_p: f32::MIN_POSITIVE, uniform: 0.9, ..PLAIN }), Some(1));
    assert_eq!(id(Draw { repetition_penalty: 1e-38, seen: &[1], ..PLAIN }), Some(1));
    assert_eq!(id(Draw { uniform: 1.0 - f64::EPSILON, ..PLAIN }), Some(2));
}

#[test]
fn equal_logits_are_taken_by_their_ids() {
    let flat = Tensor::<2>::zeros([10, 300], &Device::flex());
    for draw in [PLAIN, Draw { top_k: 70, ..PLAIN }, Draw { top_p: 0.31, ..PLAIN }, Draw { min_p: 1.0, ..PLAIN }] {
        check(&flat, draw, ROUNDING);
    }
    let greedy = ops::draw(&flat, &[Draw { temperature: 0.0, ..PLAIN }; 10]).unwrap();
    assert!(greedy.iter().all(|drawn| drawn.is_some_and(|drawn| drawn.id == 0)), "{greedy:?}");
}

#[test]
fn the_most_likely_token_may_be_one_that_is_not_penalized() {
    let logits = Tensor::<2>::from_data([[1.0, 3.0, 2.9, -1.0]], &Device::flex());
    let greedy = Draw { temperature: 0.0, ..PLAIN };
    let draw = |draw: Draw<'_>| ops::draw(&logits, &[draw]).unwrap()[0].unwrap().id;
    assert_eq!(draw(greedy), 1);
    assert_eq!(draw(Draw { repetition_penalty: 1.2, seen: &[1, 1], ..greedy }), 2);
    assert_eq!(draw(Draw { repetition_penalty: 1.2, seen: &[1, 2], ..greedy }), 1);
}

#[test]
fn what_is_ruled_out_is_never_drawn_and_what_is_no_distribution_says_so() {
    let off = f32::NEG_INFINITY;
    let mut row = vec![off; 200];
    row[70] = 1.0;
    row[199] = 1.0;
    let some = Tensor::<2>::from_data(TensorData::new(row.repeat(8), [8, 200]), &Device::flex());
    for draw in [PLAIN, Draw { top_k: 50, ..PLAIN }, Draw { top_p: 0.9, ..PLAIN }, Draw { temperature: 0.0, ..PLAIN }] {
        let draws: Vec<Draw<'_>> = (0..8).map(|i| Draw { uniform: f64::from(i) / 8.0, ..draw }).collect();
        let drawn = ops::draw(&some, &draws).unwrap();
        assert!(drawn.iter().all(|drawn| drawn.is_some_and(|drawn| [70, 199].contains(&drawn.id))), "{drawn:?}");
    }
    for broken in [f32::NAN, f32::INFINITY] {
        for at in [0, 70, 199] {
            let mut row = row.clone();
            row[at] = broken;
            assert_eq!(PLAIN.token(&row), None, "{broken} at {at}");
        }
    }
    assert_eq!(PLAIN.token(&[off; 200]), None);
}

#[test]
fn other_types_are_drawn_from_and_tokens_scored_alike() {
    let logits = logits(6, 500);
    let half = logits.clone().cast(DType::F16);
    let draws = [Draw { uniform: 0.4, top_p: 0.9, ..PLAIN }; 6];
    assert_eq!(ops::draw(&half, &draws).unwrap(), ops::draw(&half.cast(DType::F32), &draws).unwrap());
    let drawn = ops::draw(&logits, &draws).unwrap();
    let (ids, logprobs): (Vec<u32>, Vec<f32>) =
        drawn.into_iter().map(|drawn| drawn.map(|drawn| (drawn.id, drawn.logprob)).unwrap()).unzip();
    assert_eq!(ops::log_probabilities(&logits, &ids).unwrap(), logprobs);
    let broken = Tensor::<2>::from_data([[0.0, f32::NAN]], &Device::flex());
    assert!(ops::log_probabilities(&broken, &[0]).unwrap()[0].is_nan());
}
