//! Tensors as slices, without a copy.

use burn::backend::Flex;
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::FlexTensor;

/// An f32 tensor in main memory that no gradient flows through.
pub(super) struct Held<const D: usize> {
    tensor: FlexTensor,
    pub(super) shape: [usize; D],
    /// How far apart neighbours along each dimension are.
    pub(super) strides: [usize; D],
}

impl<const D: usize> Held<D> {
    /// `None` for a tensor that lies elsewhere, is of another type, is tracked or empty, or runs backwards.
    pub(super) fn of(tensor: &Tensor<D>) -> Option<Self> {
        if tensor.dtype() != DType::F32 || tensor.dims().contains(&0) {
            return None;
        }
        let shape = tensor.dims();
        let tensor = tensor.clone().try_into_primitive::<Flex>().ok()?;
        let mut strides = [0; D];
        for (stride, &of) in strides.iter_mut().zip(tensor.layout().strides()) {
            *stride = usize::try_from(of).ok()?;
        }
        Some(Self { tensor, shape, strides })
    }

    /// As [`of`](Self::of), where the numbers of the last dimension are neighbours.
    pub(super) fn in_rows(tensor: &Tensor<D>) -> Option<Self> {
        Self::of(tensor).filter(|held| held.shape[D - 1] == 1 || held.strides[D - 1] == 1)
    }

    /// The numbers in memory, from the first of the tensor on.
    pub(super) fn values(&self) -> &[f32] {
        &self.tensor.storage()[self.tensor.layout().start_offset()..]
    }

    /// The numbers of the tensor, where they lie in order and without gaps.
    pub(super) fn contiguous(&self) -> Option<&[f32]> {
        self.tensor.as_slice()
    }
}

/// `values` as a tensor beside `like`.
pub(super) fn tensor<const D: usize, const L: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    like: &Tensor<L>,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (&like.device(), DType::F32))
}

/// `values` as a tensor beside `like`.
pub(super) fn beside<const L: usize>(values: Vec<f32>, like: &Tensor<L>) -> Tensor<1> {
    let shape = [values.len()];
    tensor(values, shape, like)
}
