//! An optimizer's memory of each parameter, kept and loaded on the device of the parameter.
//!
//! Burn's own container of optimizer states loads them onto the default device, which a library must not choose and a
//! machine may not have.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::optim::{Optimizer, RecordState, StateSink, StateSource};
use burn::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Name of the one metadata entry: the numbers that are no tensors, as a JSON object.
const SCALARS: &str = "scalars";

/// What the optimizer `O` keeps of each parameter; matrices and vectors are treated as tensors of `D` dimensions.
#[derive(Clone)]
pub struct Moments<O: Optimizer, const D: usize> {
    optimizer: O,
    states: BTreeMap<ParamId, O::State<D>>,
}

/// Bytes that are not the moments of an optimizer.
#[derive(Debug, thiserror::Error)]
#[error("these are not the moments of this optimizer: {0}")]
pub struct NotMoments(String);

impl<O: Optimizer, const D: usize> Moments<O, D> {
    /// No memory yet.
    pub fn new(optimizer: O) -> Self {
        Self { optimizer, states: BTreeMap::new() }
    }

    /// The value of the parameter `id` after a step against `grad`; both of the same shape and without autodiff.
    pub fn step(&mut self, learning_rate: f64, id: ParamId, value: Tensor<D>, grad: Tensor<D>) -> Tensor<D> {
        let (value, state) = self.optimizer.step(learning_rate, value, grad, self.states.remove(&id));
        if let Some(state) = state {
            self.states.insert(id, state);
        }
        value
    }

    /// The moments as a safetensors file: equal moments give equal bytes.
    ///
    /// # Errors
    ///
    /// [`NotMoments`] when the format cannot hold them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NotMoments> {
        let mut sink = StateSink::default();
        for (id, state) in &self.states {
            state.state_flatten(&id.val().to_string(), &mut sink);
        }
        let scalars: BTreeMap<_, _> = sink.scalars.into_iter().collect();
        let scalars = serde_json::to_string(&scalars).map_err(refused)?;
        let values: Vec<_> = sink.tensors.into_iter().map(|(name, data)| (name, data.convert::<f32>())).collect();
        let views = values.iter().map(|(name, data)| {
            let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
            view.map(|view| (name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        safetensors::serialize(views, Some([(SCALARS.to_owned(), scalars)].into())).map_err(refused)
    }

    /// The moments in `bytes`, for the parameters `ids`, on `device`.
    ///
    /// # Errors
    ///
    /// [`NotMoments`] for bytes that [`to_bytes`](Self::to_bytes) did not write, or not for these parameters.
    pub fn from_bytes(
        optimizer: O,
        bytes: &[u8],
        ids: impl IntoIterator<Item = ParamId>,
        device: &Device,
    ) -> Result<Self, NotMoments> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(refused)?;
        let scalars = header.metadata().as_ref().and_then(|metadata| metadata.get(SCALARS));
        let scalars = scalars.ok_or_else(|| refused("there is no list of numbers"))?;
        let mut source = StateSource::new(serde_json::from_str(scalars).map_err(refused)?);
        for (name, view) in SafeTensors::deserialize(bytes).map_err(refused)?.tensors() {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            source.insert_tensor(name, TensorData::new(values, view.shape().to_vec()));
        }
        let mut states = BTreeMap::new();
        for id in ids {
            let prefix = id.val().to_string();
            if source.has_under(&prefix) {
                let state = RecordState::state_unflatten(&prefix, &mut source, device);
                states.insert(id, state.ok_or_else(|| refused(format!("those of parameter {prefix} are cut off")))?);
            }
        }
        Ok(Self { optimizer, states })
    }
}

fn refused(reason: impl ToString) -> NotMoments {
    NotMoments(reason.to_string())
}

#[cfg(test)]
mod tests {
    use burn::optim::{Adam, AdamConfig};

    use super::*;

    /// The value after each of `steps`, from moments that go through bytes in between when `saved` is set.
    fn course(steps: usize, saved: bool) -> Vec<Vec<f32>> {
        let device = Device::flex();
        let id = ParamId::from(7);
        let mut moments: Moments<Adam, 1> = Moments::new(AdamConfig::new().build());
        let mut value = Tensor::<1>::from_floats([1.0, -2.0, 0.5], &device);
        (0..steps)
            .map(|step| {
                if saved {
                    let bytes = moments.to_bytes().unwrap();
                    moments = Moments::from_bytes(AdamConfig::new().build(), &bytes, [id], &device).unwrap();
                }
                value = moments.step(0.1, id, value.clone(), value.clone() * (step as f32 - 0.7));
                value.clone().try_into_vec_as().unwrap()
            })
            .collect()
    }

    #[test]
    fn moments_that_went_through_bytes_are_the_same() {
        assert_eq!(course(5, true), course(5, false));
    }

    #[test]
    fn other_bytes_are_refused() {
        let load = |bytes: &[u8]| {
            Moments::<Adam, 1>::from_bytes(AdamConfig::new().build(), bytes, [ParamId::from(7)], &Device::flex())
        };
        assert!(load(b"nothing").is_err());
        let no_scalars = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert!(load(&no_scalars).err().unwrap().to_string().contains("list of numbers"));
    }
}
