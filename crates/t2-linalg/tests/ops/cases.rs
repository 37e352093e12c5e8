//! Random tensors, and queries with what they see, each by itself and in f64.

use std::ops::Range;

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::Distribution;

/// What rounding leaves of numbers near one, relative to the sum of the sizes of all terms.
pub(crate) const ROUNDING: f64 = 2e-6;

pub(crate) fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[track_caller]
pub(crate) fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, size: f64) {
    assert_eq!(found.dims(), expected.dims());
    for (i, (found, expected)) in numbers(found).into_iter().zip(numbers(expected)).enumerate() {
        assert!((found - expected).abs() <= ROUNDING * size, "number {i} is {found}, not {expected}");
    }
}

/// A batch of queries and what they see.
pub(crate) struct Case<'a> {
    /// Batch, query heads, key heads, width of a head.
    pub(crate) shape: [usize; 4],
    pub(crate) seq: usize,
    pub(crate) columns: usize,
    /// The first column of each row, and the one behind the last.
    pub(crate) keys: &'a [[usize; 2]],
    pub(crate) window: Option<usize>,
    pub(crate) cap: Option<f32>,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self { shape: [1, 2, 1, 8], seq: 1, columns: 1, keys: &[], window: None, cap: None }
    }
}

impl Case<'_> {
    pub(crate) fn ranges(&self) -> Vec<Range<usize>> {
        self.keys.iter().map(|&[start, end]| start..end).collect()
    }

    pub(crate) fn tensors(&self) -> [Tensor<4>; 3] {
        let [batch, heads, kv_heads, head_dim] = self.shape;
        // As a decoder has them: queries with the heads of a token side by side, keys as part of a longer buffer.
        let q = random([batch, self.seq, heads, head_dim]).swap_dims(1, 2);
        let held = || random([batch, kv_heads, self.columns + 3, head_dim]).slice_dim(2, 0..self.columns);
        [q * 3.0, held() * 2.0, held()]
    }

    /// Each query by itself.
    pub(crate) fn reference(&self, [q, k, v]: [Tensor<4>; 3], scale: f32) -> Vec<f64> {
        let [batch, heads, kv_heads, head_dim] = self.shape;
        let [q, k, v] = [q, k, v].map(numbers);
        let run = |values: &[f64], at: usize| values[at * head_dim..(at + 1) * head_dim].to_vec();
        let mut out = vec![];
        for (b, i, h) in (0..batch).flat_map(|b| (0..self.seq).flat_map(move |i| (0..heads).map(move |h| (b, i, h)))) {
            let [start, end] = self.keys[b.min(self.keys.len() - 1)];
            let own = end + i - self.seq;
            let first = self.window.map_or(0, |window| (own + 1).saturating_sub(window)).max(start);
            let query = run(&q, (b * heads + h) * self.seq + i);
            let held = (b * kv_heads + h / (heads / kv_heads)) * self.columns;
            let weight = |column: usize| {
                let score: f64 =
                    query.iter().zip(run(&k, held + column)).map(|(q, k)| q * k).sum::<f64>() * f64::from(scale);
                self.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
            };
            let weights: Vec<f64> = (first..own + 1).map(weight).collect();
            let total: f64 = weights.iter().sum();
            let seen =
                |d: usize| weights.iter().zip(first..).map(|(w, c)| w / total * run(&v, held + c)[d]).sum::<f64>();
            out.extend((0..head_dim).map(seen));
        }
        out
    }
}

/// Batches of queries of every kind.
pub(crate) fn attention_cases() -> Vec<Case<'static>> {
    vec![
        Case { keys: &[[0, 1]], ..Case::default() },
        Case { seq: 5, columns: 5, keys: &[[0, 5]], ..Case::default() },
        Case { shape: [2, 6, 2, 20], seq: 1, columns: 37, keys: &[[0, 37]], ..Case::default() },
        Case { shape: [3, 3, 3, 16], seq: 1, columns: 300, keys: &[[4, 300], [299, 300], [0, 300]], ..Case::default() },
        Case { shape: [1, 9, 3, 64], seq: 150, columns: 150, keys: &[[0, 150]], ..Case::default() },
        Case { shape: [1, 4, 1, 24], seq: 70, columns: 600, keys: &[[0, 600]], ..Case::default() },
        // A window, shorter and longer than a block of keys, and rows that begin later.
        Case { shape: [2, 2, 1, 16], seq: 90, columns: 90, keys: &[[0, 90]], window: Some(7), ..Case::default() },
        Case { shape: [1, 2, 2, 16], seq: 70, columns: 700, keys: &[[0, 700]], window: Some(300), ..Case::default() },
        Case {
            shape: [2, 2, 1, 16],
            seq: 1,
            columns: 500,
            keys: &[[20, 500], [0, 500]],
            window: Some(5),
            ..Case::default()
        },
        // Rows that are not yet as long as the buffer.
        Case { shape: [3, 4, 2, 8], seq: 2, columns: 40, keys: &[[0, 40], [0, 3], [5, 17]], ..Case::default() },
        Case { shape: [2, 4, 2, 8], seq: 9, columns: 40, keys: &[[0, 9], [3, 33]], cap: Some(1.5), ..Case::default() },
        Case { shape: [1, 2, 1, 48], seq: 33, columns: 290, keys: &[[0, 290]], cap: Some(20.0), window: Some(40) },
        // Heads that fill a whole block of units, or leave most of it out.
        Case { shape: [1, 2, 1, 256], seq: 1, columns: 300, keys: &[[3, 300]], ..Case::default() },
        Case {
            shape: [2, 3, 1, 80],
            seq: 8,
            columns: 600,
            keys: &[[0, 600], [9, 23]],
            window: Some(520),
            ..Case::default()
        },
    ]
}
