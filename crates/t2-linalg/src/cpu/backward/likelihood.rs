//! The way back through the sum of log-probabilities: with the probabilities `p` of a row, `∂ ln p_y / ∂x_v = [v = y] - p_v`.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::super::likelihood::{Likelihood, score};
use super::super::memory::beside;
use super::{Back, primitive, record_of};

/// [`likelihood`](super::super::likelihood) of tracked logits, whose buffer becomes that of their slopes.
///
/// # Errors
///
/// `logits`, where they are no f32 tensor on a CPU that a gradient is wanted of.
pub(in super::super) fn likelihood(logits: Tensor<2>, targets: &[usize]) -> Result<Likelihood, Box<Tensor<2>>> {
    let traced = (logits.dtype() == DType::F32).then(|| logits.clone().try_into_primitive::<Autodiff<Flex>>());
    let Some(Ok(traced)) = traced.filter(|traced| traced.as_ref().is_ok_and(FloatTensor::<Autodiff<Flex>>::is_tracked))
    else {
        return Err(Box::new(logits));
    };
    drop(logits);
    let shape = [targets.len(), traced.primitive().layout().shape()[1]];
    let (values, node) = traced.into_parts();
    let mut slopes = values.to_contiguous();
    drop(values);
    let (logprobs, entropy) = score(&mut slopes.storage_mut::<f32>()[..shape[0] * shape[1]], targets);
    let slopes = Tensor::<2>::from_primitive::<Flex>(slopes);
    let [sum, logprobs, entropy] =
        [vec![logprobs.iter().sum()], logprobs, entropy].map(|values| beside(values, &slopes));
    Ok(Likelihood { sum: record_of([node], sum, Slopes { slopes }), logprobs, entropy })
}

#[derive(Clone, Debug)]
struct Slopes {
    slopes: Tensor<2>,
}

impl Back<1> for Slopes {
    fn gradients(self, of_output: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let factor = of_output.to_contiguous().storage::<f32>()[0];
        // Who asks for the gradient of the sum itself has it already.
        [Some(primitive(if factor == 1.0 { self.slopes } else { self.slopes * factor }))]
    }
}
