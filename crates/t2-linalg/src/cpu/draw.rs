//! Drawing from rows of logits, without putting a vocabulary in order.

use std::cmp::Ordering;
use std::f32::consts::LOG2_E;

use burn::tensor::{Tensor, TensorReadError};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::exponential::exp2;
use super::lanes::{arch, vectors};
use super::memory::Held;

/// Logits that are summed up together: a draw finds the block first, then the token in it.
const BLOCK: usize = 64;

/// Tokens are counted by how much less likely they are than the most likely: for each halving there are so many counts…
const PER_BIT: f32 = 16.0;
/// …and so many in all.
const COUNTS: usize = 1024;

/// How one row is drawn from. What cuts tokens off is applied in the order of the fields, as transformers does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw<'a> {
    /// Logits of the tokens `seen` are divided by it where they are positive, multiplied by it where they are negative
    /// (CTRL, arXiv 1909.05858); 1 for none.
    pub repetition_penalty: f32,
    /// The tokens that count as repeated.
    pub seen: &'a [u32],
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Draw among the `top_k` most likely tokens only; 0 for all.
    pub top_k: usize,
    /// Draw among the fewest tokens whose probabilities reach `top_p`, up to 1 for all.
    pub top_p: f32,
    /// Draw among the tokens that are at least `min_p` times as likely as the most likely one, from 0 for all to 1.
    pub min_p: f32,
    /// Where in the distribution the token lies, from 0 to below 1; tokens are in the order of their ids.
    pub uniform: f64,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token. Of equal logits the lowest id comes first.
    pub id: u32,
    /// Its log-probability under the logits as they are, nats.
    pub logprob: f32,
}

/// As [`crate::ops::draw`], on the host.
pub(crate) fn draw(logits: &Tensor<2>, draws: &[Draw<'_>]) -> Result<Vec<Option<Drawn>>, TensorReadError> {
    in_rows(logits, |rows| draws.par_iter().zip(rows).map(|(draw, row)| draw.token(row)).collect())
}

/// As [`crate::ops::log_probabilities`], for logits in main memory.
pub(crate) fn log_probabilities(logits: &Tensor<2>, ids: &[u32]) -> Option<Vec<f32>> {
    let of = |(id, row): (&u32, &[f32])| Odds::of(row, 1.0).map_or(f32::NAN, |odds| odds.log_probability(*id));
    let held = Held::of(logits)?;
    let [_, vocab] = logits.dims();
    Some(ids.par_iter().zip(held.contiguous()?.par_chunks_exact(vocab)).map(of).collect())
}

/// What `work` makes of the rows of `logits`, where they lie or, from another device or type, of a copy.
fn in_rows<T>(
    logits: &Tensor<2>,
    work: impl FnOnce(rayon::slice::ChunksExact<'_, f32>) -> T,
) -> Result<T, TensorReadError> {
    let [_, vocab] = logits.dims();
    let held = Held::of(logits);
    if let Some(values) = held.as_ref().and_then(Held::contiguous) {
        return Ok(work(values.par_chunks_exact(vocab.max(1))));
    }
    let values = logits.clone().try_into_vec_as::<f32>()?;
    Ok(work(values.par_chunks_exact(vocab.max(1))))
}

/// A row of logits and how likely its tokens are.
struct Odds<'a> {
    logits: &'a [f32],
    /// What the logits are multiplied by, to be exponents of two.
    scale: f32,
    top: f32,
    /// The largest logit of each block.
    tops: Vec<f32>,
    /// What the odds of each block add up to; the odds of the most likely token are 1.
    sums: Vec<f32>,
    /// What all odds add up to.
    sum: f64,
}

/// A token that may be drawn.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    odds: f64,
}

impl Candidate {
    /// The more likely first, of equal ones the lowest id.
    fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

impl<'a> Odds<'a> {
    /// `None` where `logits` are no distribution.
    fn of(logits: &'a [f32], temperature: f32) -> Option<Self> {
        let mut tops = vec![f32::NEG_INFINITY; logits.len().div_ceil(BLOCK)];
        arch().dispatch(Tops { logits, tops: &mut tops });
        let top = tops.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // However cold, it is a number.
        let scale = (LOG2_E / temperature).min(f32::MAX);
        let mut sums = vec![0.0; tops.len()];
        arch().dispatch(Sums { logits, top, scale, sums: &mut sums });
        let sum: f64 = sums.iter().map(|&sum| f64::from(sum)).sum();
        // What is no number makes a sum that is none, and so does infinity, which is then the top.
        sum.is_finite().then_some(Self { logits, scale, top, tops, sums, sum })
    }

    fn most_likely(&self) -> u32 {
        let block = self.tops.iter().position(|&top| top == self.top).unwrap_or(0);
        let of_block = |at: usize| self.logits[at..].iter().position(|&logit| logit == self.top).map(|i| at + i);
        of_block(block * BLOCK).unwrap_or(0) as u32
    }

    /// For a temperature of 1.
    fn log_probability(&self, id: u32) -> f32 {
        (f64::from(self.logits[id as usize] - self.top) - self.sum.ln()) as f32
    }

    /// The odds of a token with this logit.
    fn odds(&self, logit: f32) -> f64 {
        f64::from(((logit - self.top) * self.scale).exp2())
    }

    /// The logit of a token with these odds, or one a little less likely, whatever is rounded.
    fn logit(&self, odds: f64) -> f32 {
        self.top + ((odds / 2.0).log2() / f64::from(self.scale)) as f32
    }

    /// The token at `uniform` of the distribution.
    fn at(&self, uniform: f64) -> u32 {
        let (mut left, mut before) = (uniform * self.sum, 0.0);
        let mut block = 0;
        for (i, &sum) in self.sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
            // Not of the last: where rounding leads beyond it, its last token is meant.
            left -= before;
            block = i;
            before = f64::from(sum);
            if left < before {
                break;
            }
        }
        let ids = block * BLOCK..self.logits.len().min((block + 1) * BLOCK);
        nth(ids.map(|id| (id as u32, self.odds(self.logits[id]))), left)
    }

    /// All tokens whose logits are at least `least`, in the order of their ids.
    fn at_least(&self, least: f32) -> Vec<Candidate> {
        let blocks = (0..).step_by(BLOCK).zip(self.logits.chunks(BLOCK)).zip(&self.tops);
        let all = blocks.filter(|(_, top)| **top >= least).flat_map(|((first, logits), _)| (first..).zip(logits));
        all.filter(|(_, logit)| **logit >= least)
            .map(|(id, &logit)| Candidate { id, logit, odds: self.odds(logit) })
            .collect()
    }

    /// A logit that at least `count` tokens have or exceed: that many blocks have such a token.
    fn exceeded_by(&self, count: usize) -> f32 {
        let mut tops = self.tops.clone();
        if count > tops.len() {
            return f32::NEG_INFINITY;
        }
        *tops.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
    }

    /// The tokens that `draw` leaves, in the order of their ids.
    fn kept(&self, draw: &Draw<'_>) -> Vec<Candidate> {
        let (top_p, min_p) = (f64::from(draw.top_p), f64::from(draw.min_p));
        let (mut kept, sum) = if draw.top_k > 0 {
            let mut kept = self.at_least(self.exceeded_by(draw.top_k));
            if draw.top_k < kept.len() {
                kept.select_nth_unstable_by(draw.top_k - 1, Candidate::order);
                kept.truncate(draw.top_k);
            }
            let sum = kept.iter().map(|token| token.odds).sum();
            (kept, sum)
        } else {
            // All tokens that are less likely than this, together, are not needed to reach `top_p`.
            let needless = (1.0 - top_p) * self.sum / self.logits.len() as f64;
            (self.at_least(self.logit(needless.max(min_p))), self.sum)
        };
        if top_p < 1.0 {
            self.keep_reaching(top_p * sum, &mut kept);
        }
        kept.retain(|token| token.odds >= min_p);
        // Most of them are in this order.
        kept.sort_by_key(|token| token.id);
        kept
    }
}

impl Odds<'_> {
    /// Keeps the fewest of the most likely of `tokens` whose odds reach `enough`: they are counted by how likely they are,
    /// roughly, and only those about as likely as the last are looked at one by one.
    fn keep_reaching(&self, enough: f64, tokens: &mut Vec<Candidate>) {
        let count = |token: &Candidate| (((self.top - token.logit) * self.scale * PER_BIT) as usize).min(COUNTS - 1);
        let mut sums = vec![0.0; COUNTS];
        tokens.iter().for_each(|token| sums[count(token)] += token.odds);
        let mut before = 0.0;
        let reached = sums.iter().position(|sum| {
            before += sum;
            before >= enough
        });
        // Rounding may leave less than all together.
        let Some(last) = reached else { return };
        tokens.retain(|token| count(token) <= last);
        let mut lasts: Vec<Candidate> = tokens.extract_if(.., |token| count(token) == last).collect();
        let needed = reaching(enough - (before - sums[last]), &mut lasts);
        tokens.extend(&lasts[..needed]);
    }
}

/// How many of the most likely of `tokens`, which come first then, are the fewest whose odds reach `enough`.
fn reaching(mut enough: f64, tokens: &mut [Candidate]) -> usize {
    let (mut start, mut end) = (0, tokens.len());
    while end - start > 1 {
        let half = (end - start) / 2;
        let (more, _, _) = tokens[start..end].select_nth_unstable_by(half, Candidate::order);
        let sum: f64 = more.iter().map(|token| token.odds).sum();
        if sum >= enough {
            end = start + half;
        } else {
            enough -= sum;
            start += half;
        }
    }
    end
}

/// The token in whose odds `left` lies, of tokens one after the other; the last that has any where rounding leads beyond.
fn nth(tokens: impl Iterator<Item = (u32, f64)>, mut left: f64) -> u32 {
    let mut last = 0;
    for (id, odds) in tokens.filter(|(_, odds)| *odds > 0.0) {
        last = id;
        left -= odds;
        if left < 0.0 {
            break;
        }
    }
    last
}

impl Draw<'_> {
    /// As [`draw`](crate::ops::draw), from one row of `logits`, `[vocab]`.
    ///
    /// # Panics
    ///
    /// When a token in `seen` has no logit.
    pub fn token(&self, logits: &[f32]) -> Option<Drawn> {
        let plain = Odds::of(logits, 1.0)?;
        let penalized = (self.repetition_penalty != 1.0 && !self.seen.is_empty()).then(|| self.penalized(logits));
        let id = match (&penalized, self.temperature) {
            (None, 0.0) => plain.most_likely(),
            (None, 1.0) => self.pick(&plain),
            (penalized, temperature) => {
                let logits = penalized.as_deref().unwrap_or(logits);
                // A temperature of zero would divide by it.
                let odds = Odds::of(logits, if temperature > 0.0 { temperature } else { 1.0 })?;
                if temperature > 0.0 { self.pick(&odds) } else { odds.most_likely() }
            }
        };
        Some(Drawn { id, logprob: plain.log_probability(id) })
    }

    fn pick(&self, odds: &Odds<'_>) -> u32 {
        if self.top_k == 0 && self.top_p >= 1.0 && self.min_p <= 0.0 {
            return odds.at(self.uniform);
        }
        let kept = odds.kept(self);
        let sum: f64 = kept.iter().map(|token| token.odds).sum();
        nth(kept.into_iter().map(|token| (token.id, token.odds)), self.uniform * sum)
    }

    fn penalized(&self, logits: &[f32]) -> Vec<f32> {
        let mut changed = logits.to_vec();
        for &id in self.seen {
            let logit = logits[id as usize];
            let by = self.repetition_penalty;
            changed[id as usize] = (if logit > 0.0 { logit / by } else { logit * by }).clamp(f32::MIN, f32::MAX);
        }
        changed
    }
}

/// The largest number of each block.
struct Tops<'a> {
    logits: &'a [f32],
    tops: &'a mut [f32],
}

impl WithSimd for Tops<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (block, top) in self.logits.chunks(BLOCK).zip(self.tops) {
            let (block, rest) = vectors::<S>(block);
            let lowest = simd.splat_f32s(f32::NEG_INFINITY);
            let largest = block.iter().fold(lowest, |largest, logits| simd.max_f32s(largest, *logits));
            *top = rest.iter().copied().fold(simd.reduce_max_f32s(largest), f32::max);
        }
    }
}

/// What `2^((logit - top) scale)` adds up to in each block.
struct Sums<'a> {
    logits: &'a [f32],
    top: f32,
    scale: f32,
    sums: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (top, scale) = (simd.splat_f32s(self.top), simd.splat_f32s(self.scale));
        for (block, sum) in self.logits.chunks(BLOCK).zip(self.sums) {
            let (block, rest) = vectors::<S>(block);
            let odds = |logits: &S::f32s| exp2(simd, simd.mul_f32s(simd.sub_f32s(*logits, top), scale));
            let total = block.iter().fold(simd.splat_f32s(0.0), |sum, logits| simd.add_f32s(sum, odds(logits)));
            let of_rest = rest.iter().map(|logit| ((logit - self.top) * self.scale).exp2());
            *sum = simd.reduce_sum_f32s(total) + of_rest.sum::<f32>();
        }
    }
}
