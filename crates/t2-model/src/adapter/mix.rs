//! Experts made of experts: the weighted sum `1 + Σ_e α_e (z_e - 1)`, with the same weights everywhere or by block.

use std::collections::BTreeMap;

use super::expert::{Expert, ExpertError, ExpertInfo};
use super::mixture::Mixture;
use super::statistics::layer_of;
use crate::decomposition::Targets;

impl Expert {
    /// One expert that acts like the weighted sum `1 + Σ_e α_e (z_e - 1)`, over the union of the experts' weights. A
    /// single expert of weight 1 stays itself, bit for bit.
    ///
    /// # Errors
    ///
    /// [`ExpertError::NothingToMix`] without experts, [`ExpertError::OtherBase`] and [`ExpertError::OtherRank`] for
    /// experts that do not belong together, [`ExpertError::BadWeight`] for a weight that is no number.
    pub fn mix(experts: &[(&Self, f32)]) -> Result<Self, ExpertError> {
        if let &[(only, 1.0)] = experts {
            return Ok(only.clone());
        }
        if let Some((expert, weight)) = experts.iter().find(|(_, weight)| !weight.is_finite()) {
            return Err(ExpertError::BadWeight { name: expert.info.name.clone(), weight: *weight });
        }
        let parts: Vec<String> =
            experts.iter().map(|(expert, weight)| format!("{weight}*{}", expert.info.name)).collect();
        let (experts, alpha): (Vec<&Self>, Vec<f32>) = experts.iter().copied().unzip();
        sum(&experts, &Mixture::global(alpha), parts.join("+"))
    }

    /// As [`mix`](Self::mix), with weights that may differ from block to block.
    ///
    /// # Errors
    ///
    /// As there, and [`ExpertError::Mixture`] for a mixture of another number of experts, or of other blocks than
    /// [`layers`](Self::layers) counts.
    pub fn mix_by_layer(experts: &[&Self], mixture: &Mixture) -> Result<Self, ExpertError> {
        mixture.check(0, experts.len(), Self::layers(experts))?;
        let names: Vec<&str> = experts.iter().map(|expert| expert.info.name.as_str()).collect();
        sum(experts, mixture, format!("{} by block", names.join("+")))
    }

    /// How many blocks a model has at least that all of `experts` belong to: one more than the last that they scale.
    pub fn layers(experts: &[&Self]) -> usize {
        let layers = experts.iter().flat_map(|expert| expert.iter().filter_map(|(path, _)| layer_of(path)));
        layers.max().map_or(0, |last| last + 1)
    }
}

fn sum(experts: &[&Expert], mixture: &Mixture, name: String) -> Result<Expert, ExpertError> {
    let Some(first) = experts.first() else { return Err(ExpertError::NothingToMix) };
    let mut z: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut targets = Targets::NONE;
    for (index, expert) in experts.iter().enumerate() {
        expert.check_base(&first.info.base_model)?;
        targets = targets | expert.info.targets;
        for (path, scales) in expert.iter() {
            let weight = mixture.at(layer_of(path).unwrap_or(0)).get(index).copied().unwrap_or(0.0);
            let mixed = z.entry(path.to_owned()).or_insert_with(|| vec![1.0; scales.len()]);
            if mixed.len() != scales.len() {
                let (name, target) = (expert.info.name.clone(), path.to_owned());
                return Err(ExpertError::OtherRank { name, target, found: scales.len(), expected: mixed.len() });
            }
            mixed.iter_mut().zip(scales).for_each(|(mixed, z)| *mixed += weight * (z - 1.0));
        }
    }
    let info = ExpertInfo { training: format!("mixed: {name}"), name, targets, ..first.info.clone() };
    Expert::new(z, info)
}
