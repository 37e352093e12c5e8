//! The way back through what is computed in one pass, beside Burn's automatic differentiation of the chain of simple
//! operations in f64, and beside finite differences.

use std::ops::Range;

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::activation::{gelu_approximate, log_softmax, silu};
use t2_linalg::burn::tensor::{DType, Distribution, Gradients};
use t2_linalg::ops::{self, Gate, Rows, Seen};

/// What rounding leaves of a gradient, over the largest number of it: sums of up to some hundred f32 terms.
const ROUNDING: f64 = 1e-5;

/// What differences of f32 numbers leave, over the largest number of a gradient.
const DIFFERENCE: f64 = 1e-2;

/// How far inputs are moved for a difference.
const STEP: f64 = 1e-2;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn tracked<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(x.clone()).require_grad()
}

/// `x` as a constant under automatic differentiation.
fn constant<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(x.clone())
}

fn exact<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().cast(DType::F64)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The gradients of `Σ y ∘ weights`.
fn back<const D: usize>(y: Tensor<D>, weights: &Tensor<D>) -> Gradients {
    (y * constant(weights)).sum().backward()
}

/// The gradient of `x`.
fn of<const D: usize>(x: &Tensor<D>, gradients: &Gradients) -> Vec<f64> {
    numbers(x.grad(gradients).expect("a gradient reaches what is tracked"))
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * largest, "{what}: number {i} is {found}, not {expected}");
    }
}

/// `gradient` of `Σ y(x) ∘ weights` against what it predicts for steps in some directions.
#[track_caller]
fn assert_slope<const D: usize, const L: usize>(
    what: &str,
    x: &Tensor<D>,
    y: impl Fn(Tensor<D>) -> Tensor<L>,
    weights: &Tensor<L>,
    gradient: &[f64],
) {
    let total = |x: Tensor<D>| -> f64 { numbers(y(x)).iter().zip(numbers(weights.clone())).map(|(y, w)| y * w).sum() };
    let length = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    for _ in 0..3 {
        let direction = random(x.dims());
        let moved = |step: f64| total(x.clone() + direction.clone() * step);
        let difference = (8.0 * (moved(STEP) - moved(-STEP)) - moved(2.0 * STEP) + moved(-2.0 * STEP)) / (12.0 * STEP);
        let expected: f64 = numbers(direction).iter().zip(gradient).map(|(d, g)| d * g).sum();
        assert!(
            (difference - expected).abs() <= DIFFERENCE * length,
            "{what}: {difference} by differences, {expected}"
        );
    }
}

#[track_caller]
fn check_product([m, n, k]: [usize; 3]) {
    let (x, w, weights) = (random([m, k]), random([k, n]), random([m, n]));
    let turned = random([n, k]).slice_assign([0..n, 0..k], w.clone().transpose()).transpose();
    let reference = tracked(&exact(&x));
    let expected = of(&reference, &back(reference.clone().matmul(constant(&exact(&w))), &exact(&weights)));
    for w in [w, turned] {
        let x = tracked(&x);
        let found = of(&x, &back(ops::product(x.clone(), constant(&w)), &weights));
        assert_close("a product", &found, &expected, ROUNDING);
    }
}

#[test]
fn gradients_go_back_through_products_of_every_shape() {
    for shape in [[1, 1, 1], [1, 70, 40], [5, 17, 9], [40, 65, 96], [130, 200, 67], [129, 96, 400], [60, 8, 900]] {
        check_product(shape);
    }
}

#[track_caller]
fn check_factored([m, d_in, k, d_out]: [usize; 4]) {
    let (x, u, sigma, vt) = (random([m, d_in]), random([d_in, k]), random([k]), random([k, d_out]));
    let weights = random([m, d_out]);
    let chain =
        |x: Tensor<2>, sigma: Tensor<1>, u: Tensor<2>, vt: Tensor<2>| (x.matmul(u) * sigma.unsqueeze()).matmul(vt);
    let (x64, sigma64) = (tracked(&exact(&x)), tracked(&exact(&sigma)));
    let y = chain(x64.clone(), sigma64.clone(), constant(&exact(&u)), constant(&exact(&vt)));
    let expected = back(y, &exact(&weights));
    let (tracked_x, tracked_sigma) = (tracked(&x), tracked(&sigma));
    let y = ops::factored(&tracked_x, &constant(&u), &tracked_sigma, &constant(&vt)).expect("f32 on the CPU");
    assert_close(
        "a product",
        &numbers(y.clone()),
        &numbers(ops::factored(&x, &u, &sigma, &vt).expect("f32 on the CPU")),
        0.0,
    );
    let found = back(y, &weights);
    let [of_x, of_sigma] = [of(&tracked_x, &found), of(&tracked_sigma, &found)];
    assert_close("states", &of_x, &of(&x64, &expected), ROUNDING);
    assert_close("scales", &of_sigma, &of(&sigma64, &expected), ROUNDING);
    assert_slope("states", &x, |x| ops::factored(&x, &u, &sigma, &vt).expect("f32 on the CPU"), &weights, &of_x);
    assert_slope(
        "scales",
        &sigma,
        |sigma| ops::factored(&x, &u, &sigma, &vt).expect("f32 on the CPU"),
        &weights,
        &of_sigma,
    );
    // Where states come from nothing that is tracked, the scales have their gradient all the same.
    let y = ops::factored(&constant(&x), &constant(&u), &tracked_sigma, &constant(&vt)).expect("f32 on the CPU");
    assert_close("scales alone", &of(&tracked_sigma, &back(y, &weights)), &of_sigma, 0.0);
}

#[test]
fn gradients_go_back_through_factors_to_states_and_scales() {
    for shape in [[1, 1, 1, 1], [3, 8, 5, 9], [70, 64, 64, 100], [300, 40, 33, 70], [129, 96, 160, 50]] {
        check_factored(shape);
    }
}

#[track_caller]
fn check_norm(rows: usize, width: usize) {
    let (x, gamma, weights) = (random([rows, 2, width]), random([width]), random([rows, 2, width]));
    let x64 = tracked(&exact(&x));
    let rms = (x64.clone().square().mean_dim(2) + 1e-5).sqrt();
    let expected = of(&x64, &back(x64.clone() / rms * constant(&exact(&gamma)).unsqueeze(), &exact(&weights)));
    let tracked_x = tracked(&x);
    let y = ops::rms_norm(&tracked_x, &constant(&gamma), 1e-5).expect("f32 on the CPU");
    let found = of(&tracked_x, &back(y, &weights));
    assert_close("a norm", &found, &expected, ROUNDING);
    assert_slope("a norm", &x, |x| ops::rms_norm(&x, &gamma, 1e-5).expect("f32 on the CPU"), &weights, &found);
    let trained = ops::rms_norm(&tracked_x, &tracked(&gamma), 1e-5);
    assert!(trained.is_none(), "gains that are trained go the general way");
}

#[track_caller]
fn check_gate(shape: [usize; 2], f: Gate) {
    let (gate, up, weights) = (random(shape) * 3.0, random(shape), random(shape));
    let (gate64, up64) = (tracked(&exact(&gate)), tracked(&exact(&up)));
    let through = match f {
        Gate::Silu => silu(gate64.clone()),
        Gate::GeluTanh => gelu_approximate(gate64.clone()),
    };
    let expected = back(through * up64.clone(), &exact(&weights));
    let (tracked_gate, tracked_up) = (tracked(&gate), tracked(&up));
    let found = back(ops::gated(&tracked_gate, &tracked_up, f).expect("f32 on the CPU"), &weights);
    let [of_gate, of_up] = [of(&tracked_gate, &found), of(&tracked_up, &found)];
    assert_close("a gate", &of_gate, &of(&gate64, &expected), ROUNDING);
    assert_close("what is gated", &of_up, &of(&up64, &expected), ROUNDING);
    assert_slope("a gate", &gate, |gate| ops::gated(&gate, &up, f).expect("f32 on the CPU"), &weights, &of_gate);
}

#[test]
fn gradients_go_back_through_norms_and_gates() {
    for (rows, width) in [(1, 17), (5, 576), (40, 300)] {
        check_norm(rows, width);
        check_gate([rows, width], Gate::Silu);
        check_gate([rows, width], Gate::GeluTanh);
    }
}

#[test]
fn a_gate_that_is_wide_open_or_shut_has_a_slope_that_is_a_number() {
    let gate = Tensor::<1>::from_floats([-1e30, -300.0, 300.0, 1e30], &Device::flex());
    for f in [Gate::Silu, Gate::GeluTanh] {
        let tracked_gate = tracked(&gate);
        let y = ops::gated(&tracked_gate, &tracked(&gate.ones_like()), f).expect("f32 on the CPU");
        assert_eq!(of(&tracked_gate, &y.sum().backward()), [0.0, 0.0, 1.0, 1.0], "{f:?}");
    }
}

#[track_caller]
fn check_rotation([batch, heads, seq, head_dim]: [usize; 4], angles: usize, rotated: usize) {
    let x = random([batch, seq, heads, head_dim]).swap_dims(1, 2);
    let [cos, sin] = [random([angles, 1, seq, rotated]), random([angles, 1, seq, rotated])];
    let weights = random([batch, heads, seq, head_dim]);
    let x64 = tracked(&exact(&x));
    let part = x64.clone().slice_dim(3, 0..rotated);
    let [first, second] = [0..rotated / 2, rotated / 2..rotated].map(|half| part.clone().slice_dim(3, half));
    let turned = part * constant(&exact(&cos)) + Tensor::cat(vec![second, first], 3) * constant(&exact(&sin));
    let y = match rotated == head_dim {
        true => turned,
        false => Tensor::cat(vec![turned, x64.clone().slice_dim(3, rotated..head_dim)], 3),
    };
    let expected = of(&x64, &back(y, &exact(&weights)));
    let tracked_x = tracked(&x);
    let y = ops::rotated(&tracked_x, &constant(&cos), &constant(&sin)).expect("f32 on the CPU");
    assert_close("a rotation", &of(&tracked_x, &back(y, &weights)), &expected, ROUNDING);
}

#[test]
fn gradients_go_back_through_rotations() {
    check_rotation([1, 1, 1, 4], 1, 4);
    check_rotation([2, 3, 5, 12], 2, 8);
    check_rotation([3, 2, 70, 64], 1, 64);
}

/// Queries, and what they see.
struct Case<'a> {
    /// Batch, query heads, key heads, width of a head.
    shape: [usize; 4],
    seq: usize,
    columns: usize,
    /// The first column of each row, and the one behind the last.
    keys: &'a [[usize; 2]],
    window: Option<usize>,
    cap: Option<f32>,
}

impl Case<'_> {
    /// Which columns are hidden from which queries, `[batch, 1, seq, columns]`.
    fn hidden(&self) -> Tensor<4, Bool> {
        let rows = (0..self.shape[0]).map(|row| self.keys[row.min(self.keys.len() - 1)]);
        let hidden = rows.flat_map(|[start, end]| {
            (0..self.seq).flat_map(move |query| {
                let own = end + query - self.seq;
                let first = self.window.map_or(0, |window| (own + 1).saturating_sub(window)).max(start);
                (0..self.columns).map(move |column| !(first..own + 1).contains(&column))
            })
        });
        let shape = [self.shape[0], 1, self.seq, self.columns];
        Tensor::from_data(TensorData::new(hidden.collect(), shape), &Device::flex().autodiff())
    }

    /// The chain of operations.
    fn chain(&self, [q, k, v]: [Tensor<4>; 3], scale: f64) -> Tensor<3> {
        let [batch, heads, kv_heads, head_dim] = self.shape;
        let group = heads / kv_heads;
        let shape = [batch, heads, self.seq, self.columns];
        let q = q.reshape([batch, kv_heads, group * self.seq, head_dim]);
        let scores = (q.matmul(k.swap_dims(2, 3)) * scale).reshape(shape);
        let scores = match self.cap {
            Some(cap) => (scores / cap).tanh() * cap,
            None => scores,
        };
        let hidden = self.hidden().expand(shape);
        let powers = scores.exp().mask_fill(hidden, 0.0);
        // A query that sees nothing gets zeros.
        let weights = powers.clone() / (powers.sum_dim(3) + 1e-300);
        let y = weights.reshape([batch, kv_heads, group * self.seq, self.columns]).matmul(v);
        y.reshape([batch, heads, self.seq, head_dim]).swap_dims(1, 2).reshape([batch, self.seq, heads * head_dim])
    }
}

#[track_caller]
fn check_attention(case: &Case<'_>) {
    let [batch, heads, kv_heads, head_dim] = case.shape;
    let q = random([batch, case.seq, heads, head_dim]).swap_dims(1, 2) * 2.0;
    let held = || random([batch, kv_heads, case.columns + 3, head_dim]).slice_dim(2, 0..case.columns);
    let inputs = [q, held(), held()];
    let weights = random([batch, case.seq, heads * head_dim]);
    let scale = (head_dim as f32).powf(-0.5);
    let ranges: Vec<Range<usize>> = case.keys.iter().map(|&[start, end]| start..end).collect();
    let rows = Rows::new(ranges.clone(), None);
    let seen = Seen { rows: &rows, window: case.window, scale, cap: case.cap };
    let exacts = inputs.each_ref().map(|x| tracked(&exact(x)));
    let expected = back(case.chain(exacts.clone(), f64::from(scale)), &exact(&weights));
    let tracks = inputs.each_ref().map(tracked);
    let found = back(ops::attention(&tracks[0], &tracks[1], &tracks[2], &seen).expect("f32 on the CPU"), &weights);
    for (input, what) in ["queries", "keys", "values"].into_iter().enumerate() {
        let of_input = of(&tracks[input], &found);
        assert_close(what, &of_input, &of(&exacts[input], &expected), 2.0 * ROUNDING);
        let moved = |x: Tensor<4>| {
            let [q, k, v] = std::array::from_fn(|i| if i == input { x.clone() } else { inputs[i].clone() });
            ops::attention(&q, &k, &v, &seen).expect("f32 on the CPU")
        };
        assert_slope(what, &inputs[input], moved, &weights, &of_input);
    }
}

#[test]
fn gradients_go_back_through_attention() {
    let plain = Case { shape: [1, 2, 1, 8], seq: 1, columns: 1, keys: &[[0, 1]], window: None, cap: None };
    let cases = [
        Case { seq: 5, columns: 5, keys: &[[0, 5]], ..plain },
        Case { shape: [2, 6, 2, 20], seq: 3, columns: 37, keys: &[[0, 37]], ..plain },
        // More than one piece of queries and block of keys.
        Case { shape: [1, 3, 3, 16], seq: 150, columns: 300, keys: &[[0, 300]], ..plain },
        // A window, rows that begin later, queries that see nothing.
        Case { shape: [2, 2, 1, 16], seq: 90, columns: 90, keys: &[[4, 90], [0, 90]], window: Some(7), ..plain },
        Case { shape: [1, 2, 2, 16], seq: 70, columns: 400, keys: &[[0, 400]], window: Some(300), ..plain },
        // Rows that are not as long as the buffer, and a cap.
        Case { shape: [2, 4, 2, 8], seq: 9, columns: 40, keys: &[[0, 9], [3, 33]], cap: Some(1.5), ..plain },
        Case { shape: [1, 2, 1, 48], seq: 33, columns: 290, keys: &[[0, 290]], cap: Some(20.0), window: Some(40) },
    ];
    cases.iter().for_each(check_attention);
}

#[test]
fn rows_that_read_the_keys_of_others_go_the_general_way() {
    let [q, k, v] = [random([1, 2, 1, 8]), random([2, 1, 4, 8]), random([2, 1, 4, 8])].map(|x| tracked(&x));
    let keys = [0..4, 0..4];
    let rows = Rows::new(keys[..1].to_vec(), Some(vec![1]));
    let seen = Seen { rows: &rows, window: None, scale: 0.3, cap: None };
    assert!(ops::attention(&q, &k, &v, &seen).is_none());
}

#[track_caller]
fn check_likelihood([tokens, vocab]: [usize; 2]) {
    let x = random([tokens, vocab]) * 3.0;
    let targets: Vec<usize> = (0..tokens).map(|i| (i * 37 + 5) % vocab).collect();
    let exacts = tracked(&exact(&x));
    let logprobs = log_softmax(exacts.clone(), 1);
    let index: Vec<i64> = targets.iter().map(|&target| target as i64).collect();
    let index = Tensor::<1, Int>::from_data(index.as_slice(), &Device::flex().autodiff()).unsqueeze_dim::<2>(1);
    let chosen = logprobs.clone().gather(1, index);
    let entropy = (logprobs.clone().exp() * logprobs).sum_dim(1).neg();
    let tracked_x = tracked(&x);
    let found = ops::likelihood(tracked_x.clone(), &targets).expect("f32 on the CPU");
    for (what, found, expected) in [
        ("log-probabilities", &found.logprobs, &chosen),
        ("entropies", &found.entropy, &entropy),
        ("their sum", &found.sum, &chosen.clone().sum().reshape([1, 1])),
    ] {
        for (found, expected) in numbers(found.clone()).into_iter().zip(numbers(expected.clone())) {
            // Where a token is almost certain, they are the small difference of numbers that are not small.
            let close = (found - expected).abs() <= ROUNDING * expected.abs().max(1.0);
            assert!(close, "{what}: {found}, not {expected}");
        }
    }
    let expected = of(&exacts, &(chosen.sum() * 2.0).backward());
    for (found, expected) in of(&tracked_x, &(found.sum * 2.0).backward()).into_iter().zip(expected) {
        assert!(
            (found - expected).abs() <= ROUNDING,
            "a slope is {found}, not {expected}, as probabilities are to rounding"
        );
    }
    // Logits that somebody else holds stay as they are.
    assert_close("what was held", &numbers(tracked_x), &numbers(x.clone()), 0.0);
    assert!(ops::likelihood(x, &targets).is_err(), "constants go the general way");
}

#[test]
fn log_probabilities_have_the_gradient_of_a_chain() {
    [[1, 1], [1, 2], [3, 17], [9, 1000], [70, 333], [2, 50_000]].into_iter().for_each(check_likelihood);
}

#[test]
fn what_is_no_number_is_not_lost_in_a_log_probability() {
    for value in [f32::NAN, f32::INFINITY] {
        let x = random([2, 40]).slice_fill([1..2, 7..8], value);
        let found = ops::likelihood(tracked(&x), &[3, 3]).expect("f32 on the CPU");
        let finite = |of: Tensor<1>| numbers(of).iter().map(|x| x.is_finite()).collect::<Vec<_>>();
        assert_eq!([finite(found.logprobs), finite(found.entropy)], [[true, false], [true, false]].map(Vec::from));
    }
    let hidden = random([1, 40]).slice_fill([0..1, 7..9], f32::NEG_INFINITY);
    let found = ops::likelihood(tracked(&hidden), &[3]).expect("f32 on the CPU");
    assert!(numbers(found.entropy)[0].is_finite(), "what cannot be drawn adds nothing");
}
