//! Rotary position encoding in the half-split layout of Hugging Face checkpoints.
//!
//! `rope(x)_i = x_i cos(p ω_i) - x_{i+h} sin(p ω_i)` and `rope(x)_{i+h} = x_{i+h} cos(p ω_i) + x_i sin(p ω_i)` for
//! `i < h = head_dim / 2`, position `p` and `ω_i = theta^(-i/h)`, rescaled by [`RopeScaling`].

use std::f64::consts::TAU;

use burn::prelude::*;

use super::config::{RopeConfig, RopeScaling};

/// Cosines and sines of every position of a forward pass.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// `[batch or 1, 1, seq, head_dim]`.
    cos: Tensor<4>,
    /// `[batch or 1, 1, seq, head_dim]`, negated in the first half.
    signed_sin: Tensor<4>,
}

impl Rotation {
    /// The rotation of `positions`, one row per sequence (or one row shared by all), each `seq` long.
    pub(crate) fn new(rope: &RopeConfig, head_dim: usize, positions: &[Vec<usize>], device: &Device) -> Self {
        let freqs = frequencies(rope, head_dim);
        let shape = [positions.len(), 1, positions[0].len(), head_dim];
        let table = |f: fn(f64) -> f64, first_half: f64| {
            let angles = positions.iter().flatten().flat_map(|&p| {
                let half = |sign: f64| freqs.iter().map(move |w| (sign * f(p as f64 * w)) as f32);
                half(first_half).chain(half(1.0))
            });
            Tensor::from_data(TensorData::new(angles.collect(), shape), device)
        };
        Self { cos: table(f64::cos, 1.0), signed_sin: table(f64::sin, -1.0) }
    }

    /// Rotate `x`, `[batch, heads, seq, head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let head_dim = x.dims()[3];
        let dtype = x.dtype();
        let [first, second] = [0..head_dim / 2, head_dim / 2..head_dim].map(|half| x.clone().slice_dim(3, half));
        let swapped = Tensor::cat(vec![second, first], 3);
        x * self.cos.clone().cast(dtype) + swapped * self.signed_sin.clone().cast(dtype)
    }
}

/// Angular frequency of each pair of coordinates, radians per token, `[head_dim / 2]`.
pub fn frequencies(rope: &RopeConfig, head_dim: usize) -> Vec<f64> {
    let plain = (0..head_dim / 2).map(|i| rope.theta.powf(-(2.0 * i as f64) / head_dim as f64));
    plain.map(|w| rescale(w, &rope.scaling)).collect()
}

fn rescale(w: f64, scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::None => w,
        RopeScaling::Linear { factor } => w / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len } => {
            let periods = original_max_seq_len as f64 * w / TAU;
            let keep = ((periods - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            keep * w + (1.0 - keep) * w / factor
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA3: RopeScaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_seq_len: 8192 };

    #[track_caller]
    fn check(scaling: RopeScaling, index: usize, ratio: f64) {
        let rope = |scaling| RopeConfig { theta: 500_000.0, scaling };
        let plain = frequencies(&rope(RopeScaling::None), 128);
        let scaled = frequencies(&rope(scaling), 128);
        assert!((scaled[index] / plain[index] - ratio).abs() < 1e-12, "{} vs {ratio}", scaled[index] / plain[index]);
    }

    #[test]
    fn scaling_keeps_short_wavelengths_and_stretches_long_ones() {
        check(RopeScaling::Linear { factor: 4.0 }, 5, 0.25);
        check(LLAMA3, 0, 1.0);
        check(LLAMA3, 63, 0.125);
    }
}
