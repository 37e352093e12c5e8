//! What an expert changes in one stored tensor: `U diag((z - 1) ∘ s) Vᵀ` in each parameter that is made of it.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use t2_linalg::ops::exact_product;

use super::ExportError;
use crate::adapter::Expert;
use crate::architecture::{Layout, Source};
use crate::checkpoint::FileTensor;
use crate::decomposition::{StoredFactors, find_factors};

/// What an expert changes in one parameter.
pub(super) struct Change {
    /// Where in the stored tensor the parameter is.
    source: Source,
    /// Left singular vectors, `[d_in, k]`.
    u: TensorData,
    /// `(z - 1) ∘ s`, `[k]`.
    sigma: Vec<f32>,
    /// Right singular vectors, `[k, d_out]`.
    vt: TensorData,
}

impl Change {
    /// What `expert` changes in the parameters of `tensor`, whose stored values are `values`. A parameter that it does
    /// not name, or whose scales are all one, is not in it.
    pub(super) fn of(
        tensor: &FileTensor<'_>,
        values: &[f32],
        expert: &Expert,
        factors: &Path,
    ) -> Result<Vec<Self>, ExportError> {
        let changed = tensor.sources.iter().filter_map(|source| {
            let z = expert.z(&source.path)?;
            z.iter().any(|&z| z != 1.0).then_some((source, z))
        });
        changed.map(|(source, z)| Self::of_parameter(tensor, values, source, z, factors)).collect()
    }

    fn of_parameter(
        tensor: &FileTensor<'_>,
        values: &[f32],
        source: &Source,
        z: &[f32],
        cache: &Path,
    ) -> Result<Self, ExportError> {
        let missing = || ExportError::NotCached { cache: cache.to_owned(), path: source.path.clone() };
        let &[d_in, d_out] = source.shape.as_slice() else { return Err(missing()) };
        let rows = tensor.shape.first().copied().unwrap_or(1);
        let ours = source.layout.arrange(source.rows.pick(values, rows), &source.shape);
        let StoredFactors { u, s, vt } = find_factors(ours, [d_in, d_out], cache).ok_or_else(missing)?;
        let sigma = s.iter::<f32>().zip(z).map(|(s, z)| (z - 1.0) * s).collect();
        Ok(Self { source: source.clone(), u, sigma, vt })
    }

    /// Add the change to `values`, the stored tensor of `rows` rows.
    pub(super) fn add_to(self, values: &mut [f32], rows: usize, device: &Device) {
        let Self { source: Source { rows: ours, layout, .. }, u, sigma, vt } = self;
        let factor = |data: TensorData| Tensor::<2>::from_data(data, (device, DType::F32));
        let sigma = Tensor::<1>::from_data(sigma.as_slice(), (device, DType::F32));
        let (us, vt) = (factor(u) * sigma.unsqueeze(), factor(vt));
        let change = match layout {
            Layout::Same => exact_product(us, vt),
            Layout::Transposed => exact_product(vt.transpose(), us.transpose()),
        };
        let change = change.into_data();
        let mut merged = ours.pick(values, rows);
        merged.iter_mut().zip(change.iter::<f32>()).for_each(|(value, change)| *value += change);
        ours.place(&merged, values, rows);
    }

    /// `(z - 1) ∘ s`, `[k]`.
    pub(super) fn sigma(&self) -> &[f32] {
        &self.sigma
    }

    /// The left singular vector at `index`, `[d_in]`.
    pub(super) fn left(&self, index: usize) -> impl Iterator<Item = f32> {
        let u: &[f32] = self.u.as_slice().unwrap_or_default();
        u.iter().skip(index).step_by(self.sigma.len()).copied()
    }

    /// The right singular vector at `index` in the rows of the stored tensor, `[rows]`, and zeros in the rows of other
    /// parameters.
    pub(super) fn right_as_stored(&self, index: usize, rows: usize) -> Vec<f32> {
        let vt: &[f32] = self.vt.as_slice().unwrap_or_default();
        let d_out = vt.len() / self.sigma.len().max(1);
        let mut stored = vec![0.0; rows];
        self.source.rows.place(&vt[index * d_out..(index + 1) * d_out], &mut stored, rows);
        stored
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    use t2_linalg::HostSvd;

    use super::*;
    use crate::adapter::ExpertInfo;
    use crate::adapter::expert::Parametrization;
    use crate::architecture::Rows;
    use crate::decomposition::{DecomposeConfig, Targets, Weights, decompose};
    use crate::hash::Hash;

    /// Products in f32 of numbers near one.
    const SAME: f32 = 1e-5;

    const D_IN: usize = 3;
    /// Rows of the two parameters of the tensor.
    const PARTS: [std::ops::Range<usize>; 2] = [0..4, 4..6];

    fn source(part: usize) -> Source {
        let shape = vec![D_IN, PARTS[part].len()];
        let source = Source::plain(format!("blocks.0.mlp.part{part}.weight"), shape, "fused.weight".to_owned());
        Source { rows: Rows::Part { range: PARTS[part].clone(), of: 6 }, ..source }
    }

    fn stored() -> Vec<f32> {
        (0..6 * D_IN).map(|i| (i as f32 * 1.7).sin()).collect()
    }

    fn tensor() -> FileTensor<'static> {
        FileTensor::not_stored("fused.weight", vec![6, D_IN], vec![source(0), source(1)])
    }

    /// The changes of an expert that doubles one part and leaves the other alone, or halves it too.
    fn changes(z: [f32; 2]) -> Vec<Change> {
        let cache = tempfile::tempdir().unwrap();
        let mut weights = Weights::none(Targets::MLP, DType::F32, Some(&Device::flex()));
        for part in 0..2 {
            let source = source(part);
            let values = source.layout.arrange(source.rows.pick(&stored(), 6), &source.shape);
            weights.add(source.path.clone(), &source.shape, move || Ok(values));
        }
        let keep_on = |_| ControlFlow::Continue(());
        decompose(weights, DecomposeConfig::default(), &HostSvd::default(), cache.path(), keep_on).unwrap();
        let info = ExpertInfo {
            name: "test".to_owned(),
            base_model: Hash([0; 32]),
            targets: Targets::MLP,
            parametrization: Parametrization::Scale,
            training: String::new(),
        };
        let scales = |part: usize| vec![z[part]; source(part).shape.iter().copied().min().unwrap()];
        let z = BTreeMap::from([0, 1].map(|part| (source(part).path, scales(part))));
        Change::of(&tensor(), &stored(), &Expert::new(z, info).unwrap(), cache.path()).unwrap()
    }

    #[track_caller]
    fn check(z: [f32; 2]) {
        let scale = |row: usize| if PARTS[0].contains(&row) { z[0] } else { z[1] };
        let expected: Vec<f32> = stored()
            .chunks(D_IN)
            .enumerate()
            .flat_map(|(row, values)| values.iter().map(move |value| value * scale(row)).collect::<Vec<_>>())
            .collect();
        let mut merged = stored();
        let mut from_directions = stored();
        for change in changes(z) {
            for (index, sigma) in change.sigma().iter().enumerate() {
                let right = change.right_as_stored(index, 6);
                for (row, right) in right.iter().enumerate() {
                    let row = &mut from_directions[row * D_IN..(row + 1) * D_IN];
                    row.iter_mut().zip(change.left(index)).for_each(|(value, left)| *value += sigma * left * right);
                }
            }
            change.add_to(&mut merged, 6, &Device::flex());
        }
        for found in [merged, from_directions] {
            let distance = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(distance < SAME, "{z:?}: {found:?} is not {expected:?}");
        }
    }

    #[test]
    fn each_parameter_of_a_fused_tensor_changes_in_its_own_rows() {
        check([2.0, 1.0]);
        check([2.0, 0.5]);
        check([1.0, -1.0]);
        assert!(changes([1.0, 1.0]).is_empty());
        assert_eq!(changes([1.0, 3.0]).len(), 1);
    }
}
