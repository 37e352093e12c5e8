//! What experts look like from a distance: the scales of one, or the differences of two, for the whole, by target, by
//! block and by matrix.

use std::collections::BTreeMap;

use serde::Serialize;

use super::expert::{Expert, ExpertError};
use crate::decomposition::Targets;

/// A summary for the whole expert and for its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct ByPlace<T> {
    /// The whole expert.
    pub all: T,
    /// By target: `mlp`, `attn`.
    pub targets: BTreeMap<String, T>,
    /// By block of the decoder.
    pub layers: BTreeMap<usize, T>,
    /// By path of the weight.
    pub matrices: BTreeMap<String, T>,
}

/// The distribution of scales.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// How many scales there are.
    pub count: usize,
    /// The smallest scale.
    pub min: f64,
    /// The mean scale.
    pub mean: f64,
    /// The largest scale.
    pub max: f64,
    /// Standard deviation of the scales.
    pub std: f64,
    /// Share of the scales that are further from one than asked for.
    pub changed: f64,
    /// Root mean square of `z - 1`.
    pub rms_change: f64,
    /// Euclidean distance of the scales from one, `‖z - 1‖`.
    pub distance: f64,
}

/// How far two experts are apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// How many scales are compared.
    pub count: usize,
    /// Cosine of the angle between `z_a - 1` and `z_b - 1`; `None` where one of them is zero.
    pub cosine: Option<f64>,
    /// Largest `|z_a - z_b|`.
    pub max: f64,
    /// Mean `|z_a - z_b|`.
    pub mean: f64,
}

impl Statistics {
    /// The statistics of the scales `z`, of which those count as changed that are further than `threshold` from one.
    pub fn of(z: &[f32], threshold: f64) -> Self {
        let count = z.len();
        let mean_of = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(z.into())).sum::<f64>() / count.max(1) as f64;
        let mean = mean_of(&|z| z);
        let square = mean_of(&|z| (z - 1.0).powi(2));
        Self {
            count,
            min: z.iter().copied().fold(f32::INFINITY, f32::min).into(),
            mean,
            max: z.iter().copied().fold(f32::NEG_INFINITY, f32::max).into(),
            std: mean_of(&|z| (z - mean).powi(2)).sqrt(),
            changed: mean_of(&|z| f64::from(u8::from((z - 1.0).abs() > threshold))),
            rms_change: square.sqrt(),
            distance: (square * count as f64).sqrt(),
        }
    }
}

impl Difference {
    /// The difference of scales in pairs.
    pub fn of(pairs: &[(f32, f32)]) -> Self {
        let count = pairs.len();
        let sum = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(a, b)| f(a.into(), b.into())).sum::<f64>();
        let product = sum(&|a, b| (a - 1.0) * (b - 1.0));
        let norms = sum(&|a, _| (a - 1.0).powi(2)).sqrt() * sum(&|_, b| (b - 1.0).powi(2)).sqrt();
        Self {
            count,
            cosine: (norms > 0.0).then(|| (product / norms).clamp(-1.0, 1.0)),
            max: pairs.iter().map(|&(a, b)| (f64::from(a) - f64::from(b)).abs()).fold(0.0, f64::max),
            mean: sum(&|a, b| (a - b).abs()) / count.max(1) as f64,
        }
    }
}

impl Expert {
    /// The distribution of the scales. Those count as changed that are further than `threshold` from one.
    pub fn statistics(&self, threshold: f64) -> ByPlace<Statistics> {
        by_place(self.iter().map(|(path, z)| (path, z.to_vec())), |z| Statistics::of(z, threshold))
    }

    /// How far `other` is from this expert. A weight that only one of them names has scales of one in the other.
    ///
    /// # Errors
    ///
    /// [`ExpertError::OtherBase`] and [`ExpertError::OtherRank`] for experts that do not belong together.
    pub fn difference(&self, other: &Self) -> Result<ByPlace<Difference>, ExpertError> {
        other.check_base(&self.info.base_model)?;
        let mut pairs: BTreeMap<&str, Vec<(f32, f32)>> = BTreeMap::new();
        for (path, z) in self.iter() {
            pairs.insert(path, z.iter().map(|&z| (z, 1.0)).collect());
        }
        for (path, z) in other.iter() {
            let both = pairs.entry(path).or_insert_with(|| vec![(1.0, 1.0); z.len()]);
            if both.len() != z.len() {
                let (name, target) = (other.info.name.clone(), path.to_owned());
                return Err(ExpertError::OtherRank { name, target, found: z.len(), expected: both.len() });
            }
            both.iter_mut().zip(z).for_each(|(pair, &z)| pair.1 = z);
        }
        Ok(by_place(pairs.into_iter(), Difference::of))
    }
}

/// The decoder block that a parameter path belongs to, `blocks.3.mlp.up.weight` to 3; `None` outside the blocks.
pub fn layer_of(path: &str) -> Option<usize> {
    path.split('.').find_map(|part| part.parse().ok())
}

/// The matrix that a parameter path means in any block, `blocks.3.mlp.up.weight` to `mlp.up`.
pub fn matrix_of(path: &str) -> String {
    let is_name = |part: &&str| *part != "blocks" && *part != "weight" && part.parse::<usize>().is_err();
    path.split('.').filter(is_name).collect::<Vec<_>>().join(".")
}

/// Summaries of `numbers` by path, for the whole and its parts.
fn by_place<'a, N: Copy, T>(
    numbers: impl Iterator<Item = (&'a str, Vec<N>)>,
    summarize: impl Fn(&[N]) -> T,
) -> ByPlace<T> {
    let mut all = vec![];
    let (mut targets, mut layers) = (BTreeMap::<String, Vec<N>>::new(), BTreeMap::<usize, Vec<N>>::new());
    let mut matrices = BTreeMap::new();
    for (path, numbers) in numbers {
        all.extend_from_slice(&numbers);
        targets.entry(Targets::of(path).to_string()).or_default().extend_from_slice(&numbers);
        if let Some(layer) = layer_of(path) {
            layers.entry(layer).or_default().extend_from_slice(&numbers);
        }
        matrices.insert(path.to_owned(), summarize(&numbers));
    }
    ByPlace {
        all: summarize(&all),
        targets: targets.into_iter().map(|(target, numbers)| (target, summarize(&numbers))).collect(),
        layers: layers.into_iter().map(|(layer, numbers)| (layer, summarize(&numbers))).collect(),
        matrices,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::ExpertInfo;
    use crate::adapter::expert::Parametrization;
    use crate::hash::Hash;

    /// Sums of a few numbers near one, in f64 of f32.
    const SAME: f64 = 1e-6;

    fn expert(base: u8, z: &[(&str, &[f32])]) -> Expert {
        let info = ExpertInfo {
            name: "test".to_owned(),
            base_model: Hash([base; 32]),
            targets: Targets::ALL,
            parametrization: Parametrization::Scale,
            training: String::new(),
        };
        Expert::new(z.iter().map(|(path, z)| ((*path).to_owned(), z.to_vec())).collect(), info).unwrap()
    }

    #[test]
    fn scales_are_described_by_block_target_and_matrix() {
        let expert = expert(1, &[("blocks.0.mlp.up.weight", &[1.0, 1.5]), ("blocks.10.attn.q.weight", &[0.5])]);
        let statistics = expert.statistics(0.1);
        let Statistics { count, min, mean, max, std, changed, rms_change, distance } = statistics.all;
        assert_eq!((count, min, mean, max), (3, 0.5, 1.0, 1.5));
        assert!((std - (0.5_f64 / 3.0).sqrt()).abs() < SAME && (rms_change - std).abs() < SAME);
        assert!((changed - 2.0 / 3.0).abs() < SAME && (distance - 0.5_f64.sqrt()).abs() < SAME);
        assert_eq!(statistics.targets.keys().collect::<Vec<_>>(), ["attn", "mlp"]);
        assert_eq!(statistics.targets["mlp"], statistics.layers[&0]);
        assert_eq!(statistics.layers[&10], statistics.matrices["blocks.10.attn.q.weight"]);
        assert_eq!(expert.statistics(0.5).all.changed, 0.0);
    }

    #[test]
    fn experts_are_compared_scale_by_scale() {
        let a = expert(1, &[("blocks.0.mlp.up.weight", &[1.0, 1.5]), ("blocks.1.mlp.up.weight", &[1.0])]);
        let b = expert(1, &[("blocks.0.mlp.up.weight", &[1.0, 0.5]), ("blocks.2.mlp.up.weight", &[3.0])]);
        let difference = a.difference(&b).unwrap();
        assert_eq!(difference.layers[&0], Difference { count: 2, cosine: Some(-1.0), max: 1.0, mean: 0.5 });
        assert_eq!(difference.layers[&2], Difference { count: 1, cosine: None, max: 2.0, mean: 2.0 });
        assert_eq!((difference.all.count, difference.all.max), (4, 2.0));
        assert_eq!(a.difference(&a).unwrap().all, Difference { count: 3, cosine: Some(1.0), max: 0.0, mean: 0.0 });
    }

    #[test]
    fn experts_of_two_models_are_not_compared() {
        let a = expert(1, &[("blocks.0.mlp.up.weight", &[1.0])]);
        let of_other_base = expert(2, &[("blocks.0.mlp.up.weight", &[1.0])]);
        assert!(matches!(a.difference(&of_other_base), Err(ExpertError::OtherBase { .. })));
        let of_other_rank = expert(1, &[("blocks.0.mlp.up.weight", &[1.0, 1.0])]);
        assert!(matches!(a.difference(&of_other_rank), Err(ExpertError::OtherRank { found: 2, expected: 1, .. })));
    }

    #[test]
    fn a_path_has_a_block_and_a_matrix() {
        assert_eq!((layer_of("blocks.12.attn.q.weight"), layer_of("head.weight")), (Some(12), None));
        assert_eq!(matrix_of("blocks.12.attn.q.weight"), "attn.q");
        assert_eq!(matrix_of("head.weight"), "head");
    }
}
