//! Rotary position encoding in the half-split layout of Hugging Face checkpoints.
//!
//! `rope(x)_i = x_i cos(p ω_i) - x_{i+h} sin(p ω_i)` and `rope(x)_{i+h} = x_{i+h} cos(p ω_i) + x_i sin(p ω_i)` for
//! `i < h = rotated / 2`, position `p` and `ω_i = theta^(-i/h)`, rescaled by [`RopeScaling`].

use std::f64::consts::TAU;

use burn::prelude::*;
use t2_linalg::ops;

use super::config::{RopeConfig, RopeScaling};

/// Cosines and sines of every position of a forward pass.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// `[batch or 1, 1, seq, rotated]`.
    cos: Tensor<4>,
    /// `[batch or 1, 1, seq, rotated]`, negated in the first half.
    signed_sin: Tensor<4>,
}

impl Rotation {
    /// The rotation of `rows`, one per sequence (or one shared by all): its `seq` positions, and how long the sequence is.
    pub(crate) fn new(rope: &RopeConfig, head_dim: usize, rows: &[(Vec<usize>, usize)], device: &Device) -> Self {
        let shape = [rows.len(), 1, rows[0].0.len(), rope.rotated(head_dim)];
        let factor = amplitude(&rope.scaling);
        let of = |(_, len): &(Vec<usize>, usize)| frequencies(rope, head_dim, *len);
        let freqs = match rope.scaling {
            RopeScaling::Dynamic { .. } | RopeScaling::LongRope { .. } => rows.iter().map(of).collect(),
            _ => vec![of(&rows[0]); rows.len()],
        };
        let table = |f: fn(f64) -> f64, first_half: f64| {
            let angles = rows.iter().zip(&freqs).flat_map(|((row, _), freqs)| {
                row.iter().flat_map(move |&p| {
                    let half = |sign: f64| freqs.iter().map(move |w| (sign * f(p as f64 * w) * factor) as f32);
                    half(first_half).chain(half(1.0))
                })
            });
            Tensor::from_data(TensorData::new(angles.collect(), shape), device)
        };
        Self { cos: table(f64::cos, 1.0), signed_sin: table(f64::sin, -1.0) }
    }

    /// Cosines, and sines negated in the first half, `[batch or 1, 1, seq, rotated]`.
    pub(crate) fn angles(&self) -> [&Tensor<4>; 2] {
        [&self.cos, &self.signed_sin]
    }

    /// Rotate `x`, `[batch, heads, seq, head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        if let Some(turned) = ops::rotated(&x, &self.cos, &self.signed_sin) {
            return turned;
        }
        let (head_dim, rotated) = (x.dims()[3], self.cos.dims()[3]);
        if rotated == head_dim {
            return self.turn(x);
        }
        let turned = self.turn(x.clone().slice_dim(3, 0..rotated));
        Tensor::cat(vec![turned, x.slice_dim(3, rotated..head_dim)], 3)
    }

    /// Rotate `x`, `[batch, heads, seq, rotated]`.
    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let rotated = x.dims()[3];
        let dtype = x.dtype();
        let [first, second] = [0..rotated / 2, rotated / 2..rotated].map(|half| x.clone().slice_dim(3, half));
        let swapped = Tensor::cat(vec![second, first], 3);
        x * self.cos.clone().cast(dtype) + swapped * self.signed_sin.clone().cast(dtype)
    }
}

/// Queries, keys and values, `[batch, heads, seq, head_dim]`, of which the first two are turned, for those `[batch, seq,
/// heads, head_dim]` of new tokens.
pub(crate) fn turned([q, k, v]: [Tensor<4>; 3], rotation: Option<&Rotation>) -> [Tensor<4>; 3] {
    let [q, k, v] = [q, k, v].map(|x| x.swap_dims(1, 2));
    match rotation {
        Some(rotation) => [rotation.apply(q), rotation.apply(k), v],
        None => [q, k, v],
    }
}

/// What cosines and sines are multiplied by.
fn amplitude(scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::Yarn { attention_factor, .. } | RopeScaling::LongRope { attention_factor, .. } => attention_factor,
        _ => 1.0,
    }
}

/// Angular frequency of each pair of coordinates that is turned, radians per token, `[rotated / 2]`, in a sequence of
/// `seq_len` tokens.
pub fn frequencies(rope: &RopeConfig, head_dim: usize, seq_len: usize) -> Vec<f64> {
    let rotated = rope.rotated(head_dim) as f64;
    let pairs = 0..rope.rotated(head_dim) / 2;
    let plain = |theta: f64| pairs.clone().map(move |i| theta.powf(-(2.0 * i as f64) / rotated));
    match rope.scaling {
        RopeScaling::None => plain(rope.theta).collect(),
        RopeScaling::Linear { factor } => plain(rope.theta).map(|w| w / factor).collect(),
        RopeScaling::Dynamic { factor, original_max_seq_len } => {
            let stretch = seq_len.max(original_max_seq_len) as f64 / original_max_seq_len as f64;
            let growth = factor * stretch - (factor - 1.0);
            plain(rope.theta * growth.powf(rotated / (rotated - 2.0))).collect()
        }
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_max_seq_len, truncate, .. } => {
            // The pair that turns this many times within the original context.
            let pair =
                |turns: f64| rotated * (original_max_seq_len as f64 / (turns * TAU)).ln() / (2.0 * rope.theta.ln());
            let ramp = ramp(pair(beta_fast), pair(beta_slow), rotated, truncate);
            plain(rope.theta).zip(0..).map(|(w, i)| (1.0 - ramp(i)) * w + ramp(i) * w / factor).collect()
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len } => {
            let rescale = |w: f64| {
                let periods = original_max_seq_len as f64 * w / TAU;
                let keep = ((periods - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                keep * w + (1.0 - keep) * w / factor
            };
            plain(rope.theta).map(rescale).collect()
        }
        RopeScaling::LongRope { ref short, ref long, original_max_seq_len, .. } => {
            let divisors = if seq_len > original_max_seq_len { long } else { short };
            plain(rope.theta).zip(divisors).map(|(w, divisor)| w / divisor).collect()
        }
    }
}

/// How far each pair is stretched by `YaRN`: 0 up to the pair `low`, 1 from `high` on, and a line between them. The bounds
/// are cut as transformers cuts them.
fn ramp(low: f64, high: f64, rotated: f64, truncate: bool) -> impl Fn(u32) -> f64 {
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(rotated - 1.0));
    let width = if low == high { 0.001 } else { high - low };
    move |i| ((f64::from(i) - low) / width).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::Outgrown;

    /// Frequencies of a head of 128 in a sequence of `seq_len`, over those without scaling.
    fn ratios(scaling: RopeScaling, seq_len: usize) -> Vec<f64> {
        let rope = |scaling| RopeConfig { scaling, ..RopeConfig::new(500_000.0) };
        let plain = frequencies(&rope(RopeScaling::None), 128, seq_len);
        frequencies(&rope(scaling), 128, seq_len).iter().zip(plain).map(|(scaled, plain)| scaled / plain).collect()
    }

    #[track_caller]
    fn check(scaling: RopeScaling, seq_len: usize, index: usize, ratio: f64) {
        let found = ratios(scaling, seq_len)[index];
        assert!((found - ratio).abs() < 1e-12, "{found} vs {ratio}");
    }

    #[test]
    fn scaling_keeps_short_wavelengths_and_stretches_long_ones() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_seq_len: 8192,
        };
        let yarn = RopeScaling::Yarn {
            factor: 8.0,
            attention_factor: 1.2,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_max_seq_len: 8192,
            truncate: true,
        };
        check(RopeScaling::Linear { factor: 4.0 }, 9, 5, 0.25);
        for scaling in [llama3, yarn] {
            check(scaling.clone(), 9, 0, 1.0);
            check(scaling, 9, 63, 0.125);
        }
    }

    #[test]
    fn the_length_of_a_sequence_counts_beyond_the_original_one() {
        let longrope = RopeScaling::LongRope {
            short: vec![1.0; 64],
            long: vec![4.0; 64],
            attention_factor: 1.0,
            original_max_seq_len: 100,
            outgrown: Outgrown::Keep,
        };
        check(longrope.clone(), 100, 7, 1.0);
        check(longrope, 101, 7, 0.25);
        let dynamic = RopeScaling::Dynamic { factor: 2.0, original_max_seq_len: 100 };
        check(dynamic.clone(), 100, 63, 1.0);
        // The base grows so that the slowest pair is stretched by `factor * seq_len / original - (factor - 1)`.
        check(dynamic.clone(), 200, 63, 1.0 / 3.0);
        check(dynamic, 200, 0, 1.0);
    }

    #[test]
    fn coordinates_beyond_the_fraction_are_left_alone() {
        let rope = RopeConfig { fraction: 0.75, ..RopeConfig::new(100.0) };
        let x = Tensor::<4>::ones([1, 1, 3, 8], &Device::flex());
        let turned = Rotation::new(&rope, 8, &[(vec![4, 5, 6], 7)], &Device::flex()).apply(x);
        let kept = turned.clone().slice_dim(3, 6..8).into_data().iter::<f32>().all(|x| x == 1.0);
        assert!(kept && turned.slice_dim(3, 0..6).into_data().iter::<f32>().all(|x| x != 1.0));
    }
}
