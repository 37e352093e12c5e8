//! What the kernels add to the operations of Burn's backends, and who may call them.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchTensor, backend_extension};
use burn::tensor::{DType, Shape, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::attention::{self, HEAD, Look, QUERIES};
use super::draw::{RESULTS, SETTINGS, draw as draw_from};
use super::place::{Placing, place};
use super::product::{ROWS, products as products_of};
use super::{pointwise, runs_on};
use crate::kernel::{Form, true_f32_product};
use crate::ops::{Draw, Gate, New, Placed, Seen};

/// See [`crate::ops::rms_norm`].
pub(crate) fn rms_norm<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, eps: f64) -> Option<Tensor<D>> {
    let applies = runs_on(&x.device(), x.dtype()) && gamma.dtype() == DType::F32 && !x.dims().contains(&0);
    applies.then(|| {
        assert_eq!(gamma.dims(), [x.dims()[D - 1]], "gains of a norm");
        Tensor::from_dispatch(<Dispatch as DecoderOps>::normed(on(x), on(gamma), eps as f32))
    })
}

/// Whether `x` are few rows that a kernel multiplies with the weights `w`.
fn multiplies(x: &Tensor<2>, w: &[&Tensor<2>]) -> bool {
    let fits = |w: &&Tensor<2>| w.dtype() == x.dtype() && w.dims()[0] == x.dims()[1] && w.dims()[1] > 0;
    runs_on(&x.device(), x.dtype()) && (1..=ROWS).contains(&x.dims()[0]) && w.iter().all(fits)
}

/// See [`crate::ops::product`].
pub(crate) fn product(x: &Tensor<2>, w: &Tensor<2>) -> Option<Tensor<2>> {
    multiplies(x, &[w]).then(|| Tensor::from_dispatch(<Dispatch as DecoderOps>::multiplied(on(x), on(w))))
}

/// See [`crate::ops::exact_product`].
pub(crate) fn exact_product(a: &Tensor<2>, b: &Tensor<2>) -> Option<Tensor<2>> {
    let applies = runs_on(&a.device(), a.dtype()) && [a, b].iter().all(|x| x.dtype() == DType::F32);
    let batch = |x: &Tensor<2>| x.clone().unsqueeze_dim(0);
    applies.then(|| true_f32_product(batch(a), batch(b), Form::Plain).squeeze_dim(0))
}

/// See [`crate::ops::products`].
pub(crate) fn products<const N: usize>(
    x: &Tensor<2>,
    weights: [&Tensor<2>; N],
    biases: [Option<&Tensor<1>>; N],
) -> Option<[Tensor<2>; N]> {
    let outs = match (&weights[..], &biases[..]) {
        _ if !multiplies(x, &weights) => return None,
        ([a, b], [None, None]) => {
            let (a, b) = <Dispatch as DecoderOps>::multiplied_by_two(on(x), on(a), on(b));
            vec![a, b]
        }
        ([a, b, c], [None, None, None]) => {
            let (a, b, c) = <Dispatch as DecoderOps>::multiplied_by_three(on(x), on(a), on(b), on(c));
            vec![a, b, c]
        }
        ([a, b, c], [Some(add_a), Some(add_b), Some(add_c)]) => {
            let adds = (on(add_a), on(add_b), on(add_c));
            let (a, b, c) =
                <Dispatch as DecoderOps>::transformed_by_three(on(x), on(a), on(b), on(c), adds.0, adds.1, adds.2);
            vec![a, b, c]
        }
        _ => return None,
    };
    outs.into_iter().map(Tensor::from_dispatch).collect::<Vec<_>>().try_into().ok()
}

/// See [`crate::ops::gated`].
pub(crate) fn gated<const D: usize>(gate: &Tensor<D>, up: &Tensor<D>, f: Gate) -> Option<Tensor<D>> {
    let applies = runs_on(&gate.device(), gate.dtype()) && up.dtype() == gate.dtype() && !gate.dims().contains(&0);
    applies.then(|| {
        assert_eq!(gate.dims(), up.dims(), "shapes of a gate and what goes through it");
        Tensor::from_dispatch(<Dispatch as DecoderOps>::gated(on(gate), on(up), f))
    })
}

/// See [`crate::ops::placed`].
pub(crate) fn placed(new: New<'_>) -> Placed {
    let device = new.queries.device();
    let rows = new.rows.table(new.queries.dims()[0], &device);
    let (angles, rotated) = match new.angles {
        Some([cos, sin]) => ([cos.clone(), sin.clone()], cos.dims()[3]),
        None => {
            let none = || Tensor::from_data([[[[0.0f32]]]], (&device, DType::F32));
            ([none(), none()], 0)
        }
    };
    let [cos, sin] = angles.map(Tensor::into_dispatch);
    let [q, k, v] = [new.queries, new.keys, new.values].map(Tensor::into_dispatch);
    let [keys, values] = new.held.map(Tensor::into_dispatch);
    let (queries, keys, values) =
        <Dispatch as DecoderOps>::placed(q, k, v, cos, sin, keys, values, rows.into_dispatch(), rotated);
    let [queries, keys, values] = [queries, keys, values].map(Tensor::from_dispatch);
    Placed { queries, held: [keys, values] }
}

/// See [`crate::ops::attention`].
pub(crate) fn attention(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, seen: &Seen<'_>) -> Option<Tensor<3>> {
    let [batch, _, seq, head_dim] = q.dims();
    let applies = runs_on(&q.device(), q.dtype()) && (1..=QUERIES).contains(&seq) && (1..=HEAD).contains(&head_dim);
    applies.then(|| {
        let rows = seen.rows.table(batch, &q.device()).into_dispatch();
        let look = Look { window: seen.window, scale: seen.scale, cap: seen.cap };
        Tensor::from_dispatch(<Dispatch as DecoderOps>::seen(on(q), on(k), on(v), rows, look))
    })
}

/// For [`crate::ops::draw`]: for each row the token, its log-probability, and 1 where it was drawn from a distribution,
/// `[rows, 3]`. Not where logits are changed by what a row has seen.
pub(crate) fn draw(logits: &Tensor<2>, draws: &[Draw<'_>]) -> Option<Tensor<2>> {
    let applies = runs_on(&logits.device(), logits.dtype())
        && !logits.dims().contains(&0)
        && draws.iter().all(|draw| draw.repetition_penalty == 1.0 || draw.seen.is_empty());
    applies.then(|| {
        let settings = draws.iter().flat_map(|draw| {
            // What a GPU would take for zero or infinity is neither.
            let normal = |x: f32| x.clamp(f32::MIN_POSITIVE, f32::MAX);
            let cold = if draw.temperature > 0.0 { normal(draw.temperature.recip()) } else { 0.0 };
            [cold, draw.top_k as f32, normal(draw.top_p), draw.min_p, draw.uniform as f32]
        });
        let how = TensorData::new(settings.collect::<Vec<f32>>(), [draws.len(), SETTINGS]);
        let how = Tensor::<2>::from_data(how, (&logits.device(), DType::F32));
        Tensor::from_dispatch(<Dispatch as DecoderOps>::drawn(on(logits), how.into_dispatch()))
    })
}

fn on<const D: usize>(tensor: &Tensor<D>) -> DispatchTensor {
    tensor.clone().into_dispatch()
}

type Two<T> = (T, T);
type Three<T> = (T, T, T);

/// The operations that the decoder adds to Burn's GPU backends.
#[backend_extension(Cube, Fusion)]
pub(super) trait DecoderOps: Backend {
    /// See [`rms_norm`].
    #[fusion(dtype = x, shape = x)]
    fn normed(x: FloatTensor<Self>, gamma: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;

    /// See [`gated`].
    #[fusion(dtype = gate, shape = gate)]
    fn gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, f: Gate) -> FloatTensor<Self>;

    /// See [`product`].
    #[fusion(meta = |x, w| of_product(x, w))]
    fn multiplied(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`products`].
    #[fusion(meta = |x, a, b| (of_product(x, a), of_product(x, b)))]
    fn multiplied_by_two(
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// See [`products`].
    #[fusion(meta = |x, a, b, c| (of_product(x, a), of_product(x, b), of_product(x, c)))]
    fn multiplied_by_three(
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`products`].
    #[allow(clippy::too_many_arguments, reason = "an operation of a backend takes its tensors one by one")]
    #[fusion(meta = |x, a, b, c, _, _, _| (of_product(x, a), of_product(x, b), of_product(x, c)))]
    fn transformed_by_three(
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        add_a: FloatTensor<Self>,
        add_b: FloatTensor<Self>,
        add_c: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`placed`].
    #[allow(clippy::too_many_arguments, reason = "an operation of a backend takes its tensors one by one")]
    #[fusion(meta = |q, _, _, _, _, keys, values, _, _| (of_turned(q), keys.clone(), values.clone()))]
    fn placed(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: IntTensor<Self>,
        rotated: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`attention`].
    #[fusion(meta = |q, _, _, _, _| of_seen(q))]
    fn seen(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: IntTensor<Self>,
        look: Look,
    ) -> FloatTensor<Self>;

    /// See [`draw`].
    #[fusion(meta = |logits, _| of_drawn(logits))]
    fn drawn(logits: FloatTensor<Self>, how: FloatTensor<Self>) -> FloatTensor<Self>;
}

fn of_product(x: &TensorSpec, w: &TensorSpec) -> TensorSpec {
    let ([rows, _], [_, columns]) = (x.shape.dims(), w.shape.dims());
    TensorSpec::new(Shape::from([rows, columns]), x.dtype)
}

fn of_turned(q: &TensorSpec) -> TensorSpec {
    let [batch, seq, heads, head_dim] = q.shape.dims();
    TensorSpec::new(Shape::from([batch, heads, seq, head_dim]), q.dtype)
}

fn of_seen(q: &TensorSpec) -> TensorSpec {
    let [batch, heads, seq, head_dim] = q.shape.dims();
    TensorSpec::new(Shape::from([batch, seq, heads * head_dim]), q.dtype)
}

fn of_drawn(logits: &TensorSpec) -> TensorSpec {
    let [rows, _] = logits.shape.dims();
    TensorSpec::new(Shape::from([rows, RESULTS]), DType::F32)
}

impl DecoderOps for CubeBackend {
    fn drawn(logits: CubeTensor, how: CubeTensor) -> CubeTensor {
        draw_from(logits, how)
    }

    fn normed(x: CubeTensor, gamma: CubeTensor, eps: f32) -> CubeTensor {
        pointwise::rms_norm(x, gamma, eps)
    }

    fn gated(gate: CubeTensor, up: CubeTensor, f: Gate) -> CubeTensor {
        pointwise::gated(gate, up, f)
    }

    fn multiplied(x: CubeTensor, w: CubeTensor) -> CubeTensor {
        let [out] = products_of(x, [w], []);
        out
    }

    fn multiplied_by_two(x: CubeTensor, a: CubeTensor, b: CubeTensor) -> Two<CubeTensor> {
        products_of(x, [a, b], []).into()
    }

    fn multiplied_by_three(x: CubeTensor, a: CubeTensor, b: CubeTensor, c: CubeTensor) -> Three<CubeTensor> {
        products_of(x, [a, b, c], []).into()
    }

    fn transformed_by_three(
        x: CubeTensor,
        a: CubeTensor,
        b: CubeTensor,
        c: CubeTensor,
        add_a: CubeTensor,
        add_b: CubeTensor,
        add_c: CubeTensor,
    ) -> Three<CubeTensor> {
        products_of(x, [a, b, c], [add_a, add_b, add_c]).into()
    }

    fn placed(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        rows: CubeTensor,
        rotated: usize,
    ) -> Three<CubeTensor> {
        place(Placing { new: [q, k, v], angles: [cos, sin], rotated, rows, held: [keys, values] })
    }

    fn seen(q: CubeTensor, keys: CubeTensor, values: CubeTensor, rows: CubeTensor, look: Look) -> CubeTensor {
        attention::attention([q, keys, values], rows, look)
    }
}
