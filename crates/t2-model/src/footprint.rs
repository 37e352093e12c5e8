//! What a model takes in memory, by its shape alone.
//!
//! A matrix `[d_in, d_out]` of rank `k` has `d_in d_out` numbers, and its factors `(d_in + d_out) k` in the type of the
//! weights, with `k` singular values and scales in f32. A token has keys and values in every layer.

use burn::tensor::DType;

use crate::decoder::DecoderConfig;
use crate::decoder::config::is_norm;
use crate::decomposition::Targets;

/// Bytes that a model with weights of one type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The weights. Gains of norms are f32 whatever the others are.
    pub weights: usize,
    /// The factors of the weights that are adapted; they stand beside the weights.
    pub factors: usize,
    /// Keys and values of a token in all layers.
    pub cache_per_token: usize,
}

impl Footprint {
    /// What a decoder of the shape `config` takes, with weights of `dtype` and factors for `targets`.
    pub fn of(config: &DecoderConfig, dtype: DType, targets: Targets) -> Self {
        let (size, full) = (dtype.size(), DType::F32.size());
        let (mut weights, mut factors) = (0, 0);
        for (path, shape) in config.parameters() {
            let count: usize = shape.iter().product();
            weights += count * if is_norm(&path) { full } else { size };
            if let &[d_in, d_out] = shape.as_slice()
                && targets.matches(&path)
            {
                let k = d_in.min(d_out);
                factors += (d_in + d_out) * k * size + 2 * k * full;
            }
        }
        let attention = &config.attention;
        let cache_per_token = 2 * attention.kv_heads * attention.head_dim * config.layers * size;
        Self { weights, factors, cache_per_token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_shape() {
        let config = DecoderConfig::tiny();
        let [full, half] = [DType::F32, DType::BF16].map(|dtype| Footprint::of(&config, dtype, Targets::ATTN));
        assert_eq!(full.weights, 4 * config.num_params());
        let gains = (2 * config.layers + 1) * config.d_model;
        assert_eq!(half.weights, 2 * config.num_params() + 2 * gains);
        // Of each layer: queries and output, 32 x 32 of rank 32, keys and values, 32 x 16 of rank 16.
        let (numbers, ranks) = (2 * (64 * 32 + 48 * 16), 2 * (32 + 16));
        assert_eq!(full.factors, 2 * (4 * numbers + 8 * ranks));
        assert_eq!(half.factors, 2 * (2 * numbers + 8 * ranks));
        assert_eq!((full.cache_per_token, half.cache_per_token), (2 * 2 * 8 * 2 * 4, 2 * 2 * 8 * 2 * 2));
        assert_eq!(Footprint::of(&config, DType::F32, Targets::NONE).factors, 0);
    }
}
