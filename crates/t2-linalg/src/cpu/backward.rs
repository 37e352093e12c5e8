//! The way back through what is computed in one pass, for Burn's automatic differentiation.
//!
//! Burn would keep what each operation of a chain makes. What is recorded here keeps the inputs of the whole, and at most a
//! number for each row beside them, and computes the rest again on the way back. Weights, gains and angles are constants:
//! where one is to be trained, the general way has its gradient.

mod attention;
mod likelihood;
mod pointwise;
mod product;

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Flex};
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

pub(super) use attention::attention;
pub(super) use likelihood::likelihood;
pub(super) use pointwise::{gated, rms_norm, rotated};
pub(super) use product::{factored, product};

/// An f32 tensor on a CPU under automatic differentiation.
#[derive(Clone)]
pub(super) struct Traced<const D: usize>(FloatTensor<Autodiff<Flex>>);

impl<const D: usize> Traced<D> {
    /// `None` for a tensor that lies elsewhere, is of another type than f32, is not under automatic differentiation, or is
    /// under one that computes forward passes again.
    pub(super) fn of(tensor: &Tensor<D>) -> Option<Self> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok().map(Self)
    }

    /// Its numbers.
    fn inner(&self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.0.primitive().clone())
    }
}

/// The numbers of a tensor whose gradient nobody asks for, if it is one.
fn constant<const D: usize>(tensor: &Tensor<D>) -> Option<Tensor<D>> {
    match Traced::of(tensor) {
        Some(traced) => (!traced.0.is_tracked()).then(|| traced.inner()),
        None => tensor.clone().try_into_primitive::<Flex>().ok().map(Tensor::from_primitive::<Flex>),
    }
}

/// What an operation with `N` inputs keeps for the way back.
trait Back<const N: usize>: Clone + Debug + Send + 'static {
    /// The gradients of those inputs that are `wanted`, where `of_output` is that of the output.
    fn gradients(self, of_output: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

/// `output` as what was made of `inputs`, with `back` for the way back.
fn record<const N: usize, const D: usize, T: Back<N>>(
    inputs: [FloatTensor<Autodiff<Flex>>; N],
    output: Tensor<D>,
    back: T,
) -> Tensor<D> {
    if !inputs.iter().any(FloatTensor::<Autodiff<Flex>>::is_tracked) {
        let output = <Autodiff<Flex> as AutodiffBackend>::from_inner(primitive(output));
        return Tensor::from_primitive::<Autodiff<Flex>>(output);
    }
    record_of(inputs.map(|input| input.node()), output, back)
}

/// As [`record`], where an input is tracked.
fn record_of<const N: usize, const D: usize, T: Back<N>>(
    inputs: [NodeGuard; N],
    output: Tensor<D>,
    back: T,
) -> Tensor<D> {
    let output = primitive(output);
    let step = Step::<T>(PhantomData).prepare::<NoCheckpointing>(inputs).compute_bound().stateful();
    Tensor::from_primitive::<Autodiff<Flex>>(match step {
        OpsKind::Tracked(step) => step.finish(back, output),
        OpsKind::UnTracked(step) => step.finish(output),
    })
}

/// `tensor`, which one of the functions of this module has made, as Burn's CPU backend has it.
fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("a tensor of the CPU backend")
}

/// A step of the way back, by what was kept for it.
#[derive(Debug)]
struct Step<T>(PhantomData<fn() -> T>);

impl<T: Back<N>, const N: usize> Backward<Flex, N> for Step<T> {
    type State = T;

    fn backward(self, ops: Ops<T, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let of_output = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, gradient) in ops.parents.into_iter().zip(ops.state.gradients(of_output, wanted)) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
