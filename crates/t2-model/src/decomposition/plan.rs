//! Which weights are decomposed together, within the memory that is allowed.

use std::collections::BTreeMap;

use burn::prelude::Device;
use t2_linalg::{Demand, SvdSolver};

use super::stream::writers;
use super::weights::Weight;
use super::{DecomposeConfig, DecomposeError};

const MIB: usize = 1 << 20;

/// Weights of one shape.
pub(super) struct Group<'a> {
    /// `[d_in, d_out]`.
    pub(super) dims: [usize; 2],
    /// In the order of the model.
    pub(super) weights: Vec<Weight<'a>>,
    /// How many are decomposed at a time.
    pub(super) batch: usize,
    /// Memory that a batch takes at most, in bytes.
    pub(super) memory: usize,
}

/// The weights by shape, in batches that fit the memory.
pub(super) fn plan<'a>(
    weights: Vec<Weight<'a>>,
    device: &Device,
    config: DecomposeConfig,
    solver: &dyn SvdSolver,
) -> Result<Vec<Group<'a>>, DecomposeError> {
    let mut groups: BTreeMap<[usize; 2], Vec<Weight<'a>>> = BTreeMap::new();
    for weight in weights {
        groups.entry(weight.dims).or_default().push(weight);
    }
    let fit = |(dims, weights): ([usize; 2], Vec<Weight<'a>>)| {
        let need = Need::of(dims, solver.demand(dims, device), writers(device));
        let most = need.batch.min(weights.len());
        let batch = config.memory.map_or(most, |memory| need.fitting(memory).min(most));
        if batch == 0 {
            return Err(DecomposeError::Memory {
                path: weights[0].path.clone(),
                d_in: dims[0],
                d_out: dims[1],
                needed: need.of_batch(1).div_ceil(MIB),
                memory: config.memory.unwrap_or(0) / MIB,
            });
        }
        Ok(Group { dims, weights, batch, memory: need.of_batch(batch) })
    };
    groups.into_iter().map(fit).collect()
}

/// Memory for batches of one shape, in bytes.
struct Need {
    /// For each matrix of a batch: what the solver takes for it, and the matrix of the next batch that is read
    /// meanwhile.
    each: usize,
    /// Whatever the size of the batch: one weight that is read and transposed, and sets of factors: one waits to be
    /// written, one is a file that is being checked, and each writing thread has one, on a GPU and on the host.
    once: usize,
    /// Matrices that keep the device busy.
    batch: usize,
}

impl Need {
    fn of([d_in, d_out]: [usize; 2], demand: Demand, writers: usize) -> Self {
        let bytes = |values: usize| size_of::<f32>() * values;
        let weight = bytes(d_in * d_out);
        let factors = bytes((d_in + d_out + 1) * d_in.min(d_out));
        // A single writing thread is that of a CPU, where the host is the device.
        let sets = if writers == 1 { 3 } else { 2 + 2 * writers };
        Self { each: demand.bytes_per_matrix + weight, once: 2 * weight + sets * factors, batch: demand.batch }
    }

    fn of_batch(&self, batch: usize) -> usize {
        batch * self.each + self.once
    }

    /// The largest batch within `memory`.
    fn fitting(&self, memory: usize) -> usize {
        memory.saturating_sub(self.once) / self.each.max(1)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use t2_linalg::HostSvd;

    use super::*;
    use crate::decomposition::{Targets, Weights};

    /// Seven weights, four of one shape.
    fn weights() -> Vec<Weight<'static>> {
        let mut weights = Weights::none(Targets::ALL, DType::F32, None);
        let shapes = [[64, 64], [64, 96], [64, 64], [96, 64], [64, 64], [64, 96], [64, 64]];
        for (i, shape) in shapes.iter().enumerate() {
            weights.add(format!("blocks.{i}.attn.q.weight"), shape, || Ok(vec![]));
        }
        weights.list
    }

    fn planned(memory: Option<usize>) -> Result<Vec<(usize, usize)>, DecomposeError> {
        let solver = HostSvd::default();
        let config = DecomposeConfig { memory, ..DecomposeConfig::default() };
        let groups = plan(weights(), &Device::flex(), config, &solver)?;
        Ok(groups.iter().map(|group| (group.weights.len(), group.batch)).collect())
    }

    #[test]
    fn batches_shrink_to_the_memory_and_one_matrix_must_fit() {
        let full = planned(None).unwrap();
        assert_eq!(full.iter().map(|(weights, _)| *weights).collect::<Vec<_>>(), [4, 2, 1]);
        let of_one = |dims| Need::of(dims, HostSvd::default().demand(dims, &Device::flex()), 1).of_batch(1);
        let largest = of_one([64, 96]).max(of_one([96, 64]));
        for memory in (largest..4 * largest).step_by(10_007) {
            let config = DecomposeConfig { memory: Some(memory), ..DecomposeConfig::default() };
            let groups = plan(weights(), &Device::flex(), config, &HostSvd::default()).unwrap();
            assert!(groups.iter().all(|group| group.memory <= memory && group.batch >= 1));
        }
        assert!(planned(Some(largest)).unwrap().iter().any(|(_, batch)| *batch == 1));
        let error = planned(Some(largest - 1)).unwrap_err().to_string();
        assert!(error.contains(".attn.q.weight`, ") && error.contains("allow more"), "{error}");
    }
}
