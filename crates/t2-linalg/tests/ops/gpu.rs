//! Tensors on GPUs, in every type that the GPU has, beside the same numbers in main memory.

#![expect(clippy::print_stdout, reason = "what a GPU lacks is said, for it is not tested")]

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::activation::{gelu_approximate, silu};
use t2_linalg::burn::tensor::{DType, DeviceType};
use t2_linalg::ops::{self, Draw, Drawn, Gate, New, Placed, Rows, Seen};

use crate::cases::{Case, ROUNDING, attention_cases, numbers, random};
use crate::draw::{self, HOW, PLAIN};

/// What rounding leaves of a share of the probability where odds are f32 and so are their sums.
const GPU_ROUNDING: f64 = 2e-5;

/// A GPU and a type of numbers.
#[derive(Clone, Debug)]
struct On {
    device: Device,
    dtype: DType,
}

impl On {
    /// Every type of numbers of every backend that the tests are built for.
    fn all() -> impl Iterator<Item = Self> {
        let kinds = [
            #[cfg(feature = "wgpu")]
            DeviceType::Wgpu,
            #[cfg(feature = "cuda")]
            DeviceType::Cuda,
        ];
        let first = |kind| Device::enumerate(kind).into_iter().next().expect("a GPU, or one of software");
        kinds.into_iter().map(first).flat_map(|device: Device| {
            let types = [DType::F32, DType::F16, DType::BF16].into_iter();
            types.filter_map(move |dtype| {
                let has = device.supports_dtype(dtype);
                println!("{device:?} has {}{}", if has { "" } else { "no " }, dtype.name());
                has.then(|| Self { device: device.clone(), dtype })
            })
        })
    }

    /// `x` on the GPU, and what is left of it there.
    fn both<const D: usize>(&self, x: Tensor<D>) -> [Tensor<D>; 2] {
        let rounded = x.cast(self.dtype);
        [rounded.clone().to_device(&self.device), rounded.cast(DType::F32)]
    }

    /// What rounding leaves of numbers near one: that of f32 sums, and of a result that is stored.
    fn rounding(&self) -> f64 {
        match self.dtype {
            DType::F16 => 1e-3,
            DType::BF16 => 8e-3,
            _ => ROUNDING,
        }
    }

    /// `found` is `expected`, up to the rounding of terms of this `size`.
    #[track_caller]
    fn assert_close<const D: usize>(&self, found: Tensor<D>, expected: Tensor<D>, size: f64) {
        assert_eq!((found.dims(), found.dtype()), (expected.dims(), self.dtype));
        self.assert_numbers(&numbers(found), &numbers(expected), size);
    }

    #[track_caller]
    fn assert_numbers(&self, found: &[f64], expected: &[f64], size: f64) {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let tolerance = ROUNDING * size + self.rounding() * expected.abs();
            assert!((found - expected).abs() <= tolerance, "{self:?}: number {i} is {found}, not {expected}");
        }
    }
}

/// Drawn on the GPU as by all tokens in order in f64, where the logits are those that the GPU has.
#[test]
fn draws_are_those_of_all_tokens_in_order() {
    for on in On::all() {
        for vocab in [1, 5, 255, 256, 257, 5003] {
            let [there, _] = on.both(draw::logits(12, vocab));
            HOW.into_iter().for_each(|how| draw::check(&there, how, GPU_ROUNDING));
            let flat = Tensor::<2>::zeros([10, vocab], (&on.device, on.dtype));
            for how in [PLAIN, Draw { top_k: 70, ..PLAIN }, Draw { top_p: 0.31, ..PLAIN }, Draw { min_p: 1.0, ..PLAIN }]
            {
                draw::check(&flat, how, GPU_ROUNDING);
            }
        }
    }
}

#[test]
fn settings_at_their_ends_draw_what_they_lead_to() {
    for on in On::all() {
        let [there, _] = on.both(Tensor::<2>::from_data([[0.0, 5.0, -5.0]], &Device::flex()));
        let id = |draw: Draw<'_>| ops::draw(&there, &[draw]).unwrap()[0].map(|drawn| drawn.id);
        for temperature in [f32::MIN_POSITIVE, 1e-40, 1e-30] {
            assert_eq!(id(Draw { temperature, uniform: 0.99, ..PLAIN }), Some(1), "{on:?}: {temperature:e}");
        }
        assert_eq!(id(Draw { temperature: 3e38, uniform: 0.9, ..PLAIN }), Some(2), "{on:?}");
        assert_eq!(id(Draw { top_p: 0.0, uniform: 0.9, ..PLAIN }), Some(1), "{on:?}");
    }
}

#[test]
fn a_product_that_stays_is_one_of_f32() {
    for on in On::all().filter(|on| on.dtype == DType::F32) {
        let [a, a_here] = on.both(random([70, 300]));
        let [b, b_here] = on.both(random([300, 90]));
        let exact = a_here.cast(DType::F64).matmul(b_here.cast(DType::F64));
        on.assert_numbers(&numbers(ops::exact_product(a, b)), &numbers(exact), 4.0 * 300_f64.sqrt());
    }
}

#[test]
fn tokens_are_scored_and_what_is_no_distribution_says_so() {
    for on in On::all() {
        let [there, here] = on.both(draw::logits(6, 3000));
        let ids = [0, 7, 2999, 256, 255, 1024];
        let greedy = [Draw { temperature: 0.0, ..PLAIN }; 6];
        let (found, expected) = (ops::draw(&there, &greedy).unwrap(), ops::draw(&here, &greedy).unwrap());
        let id = |drawn: &Option<Drawn>| drawn.map(|drawn| drawn.id);
        assert!(found.iter().map(id).eq(expected.iter().map(id)), "{found:?} {expected:?}");
        let [found, expected] = [&there, &here].map(|logits| ops::log_probabilities(logits, &ids).unwrap());
        let exact = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        on.assert_numbers(&exact(found), &exact(expected), 20.0);
        for (broken, at) in [(f32::NAN, 0), (f32::NAN, 2999), (f32::INFINITY, 300)] {
            let row = Tensor::<2>::full([1, 1], broken, &Device::flex());
            let [row, _] = on.both(here.clone().slice_assign([2..3, at..at + 1], row));
            let is_none: Vec<bool> = ops::draw(&row, &[PLAIN; 6]).unwrap().iter().map(Option::is_none).collect();
            assert_eq!(is_none, [false, false, true, false, false, false], "{on:?}: {broken} at {at}");
        }
        let [off, _] = on.both(Tensor::full([1, 300], f32::NEG_INFINITY, &Device::flex()));
        assert_eq!(ops::draw(&off, &[PLAIN]).unwrap(), [None]);
    }
}

#[track_caller]
fn check_products(on: &On, rows: usize, depth: usize, widths: [usize; 3], transposed: [bool; 3]) {
    let [x, x_there] = on.both(random([rows, depth]));
    let weights = [0, 1, 2].map(|i| match transposed[i] {
        false => on.both(random([depth, widths[i]])),
        true => on.both(random([widths[i], depth])).map(Tensor::transpose),
    });
    let biases = widths.map(|width| on.both(random([width])));
    let size = 4.0 * (depth as f64).sqrt();
    let w = weights.each_ref().map(|[w, _]| w);
    let b = biases.each_ref().map(|[b, _]| Some(b));
    let exact = weights.each_ref().map(|[_, w]| x_there.clone().matmul(w.clone()));
    let [first, ..] = &exact;
    on.assert_close(ops::product(x.clone(), w[0].clone()), first.clone(), size);
    let two = ops::products(&x, [w[0], w[1]], [None, None]).expect("few rows on a GPU");
    let three = ops::products(&x, w, [None; 3]).expect("few rows on a GPU");
    for (found, expected) in two.into_iter().chain(three).zip(exact.iter().take(2).chain(&exact)) {
        on.assert_close(found, expected.clone(), size);
    }
    let biased = ops::products(&x, w, b).expect("few rows on a GPU");
    for (found, (expected, [_, bias])) in biased.into_iter().zip(exact.into_iter().zip(&biases)) {
        on.assert_close(found, expected + bias.clone().unsqueeze(), size);
    }
}

#[test]
fn products_of_few_rows_are_those_in_main_memory() {
    for on in On::all() {
        check_products(&on, 1, 1, [1, 1, 1], [false; 3]);
        check_products(&on, 1, 576, [576, 192, 192], [false; 3]);
        check_products(&on, 3, 65, [7, 130, 1], [true; 3]);
        check_products(&on, 8, 33, [9, 20_000, 31], [false, false, true]);
        check_products(&on, 5, 300, [17, 24, 8], [true, false, true]);
        // As many columns as there are cubes along no side of a grid.
        let [x, x_there] = on.both(random([2, 3]));
        let [w, w_there] = on.both(random([530_000, 3])).map(Tensor::transpose);
        on.assert_close(ops::product(x, w), x_there.matmul(w_there), 16.0);
    }
}

#[test]
fn products_of_many_rows_and_other_biases_are_left_to_others() {
    let on = On::all().next().expect("f32");
    let [[x, _], [w, _], [b, _]] = [on.both(random([9, 4])), on.both(random([4, 6])), on.both(random([1, 6]))];
    let bias = b.reshape([6]);
    assert!(ops::products(&x, [&w, &w], [None; 2]).is_none());
    let few = x.slice_dim(0, 0..2);
    assert!(ops::products(&few, [&w, &w], [Some(&bias), None]).is_none());
    assert!(ops::products(&few, [&w, &w, &w], [Some(&bias), None, None]).is_none());
    assert!(ops::products(&few.autodiff(), [&w, &w], [None; 2]).is_none());
}

#[test]
fn norms_and_gates_are_those_of_burn() {
    for on in On::all() {
        for (rows, width) in [(1, 1), (3, 17), (5, 576), (70_000, 2)] {
            let ([x, x_there], gamma) = (on.both(random([rows, 1, width])), random([width]));
            let rms = (x_there.clone().square().mean_dim(2) + 1e-5).sqrt();
            let expected = x_there / rms * gamma.clone().unsqueeze();
            on.assert_close(ops::rms_norm(&x, &gamma.to_device(&on.device), 1e-5).unwrap(), expected, 16.0);
            let ([gate, gate_there], [up, up_there]) =
                (on.both(random([rows, width]) * 4.0), on.both(random([rows, width])));
            let expected = silu(gate_there.clone()) * up_there.clone();
            on.assert_close(ops::gated(&gate, &up, Gate::Silu).unwrap(), expected, 64.0);
            let expected = gelu_approximate(gate_there) * up_there;
            on.assert_close(ops::gated(&gate, &up, Gate::GeluTanh).unwrap(), expected, 64.0);
        }
        let [gate, _] = on.both(Tensor::<1>::from_floats([-6e4, -200.0, 0.0, 200.0, 6e4, f32::NAN], &Device::flex()));
        for f in [Gate::Silu, Gate::GeluTanh] {
            let found = numbers(ops::gated(&gate, &gate.ones_like(), f).unwrap());
            assert!(found[..3].iter().all(|x| x.abs() < 1e-9), "{f:?}: {found:?}");
            assert!((found[3] - 200.0).abs() < 1.0 && found[4].is_finite() && found[5].is_nan(), "{f:?}: {found:?}");
        }
    }
}

/// Tokens that go into a cache of five rows and twelve columns.
struct Tokens<'a> {
    /// Batch, query heads, key heads, width of a head.
    shape: [usize; 4],
    seq: usize,
    /// How many rows of angles, and how many numbers they turn.
    angles: Option<[usize; 2]>,
    /// For each row its row in the cache and its first new column.
    places: &'a [[usize; 2]],
}

#[track_caller]
fn check_placed(on: &On, tokens: &Tokens<'_>) {
    let (&Tokens { shape: [batch, heads, kv_heads, head_dim], seq, .. }, [slots, columns]) = (tokens, [5, 12]);
    let new = [heads, kv_heads, kv_heads].map(|heads| on.both(random([batch, seq, heads, head_dim])));
    let angles = tokens.angles.map(|[rows, rotated]| [(); 2].map(|()| random([rows, 1, seq, rotated])));
    let [[keys_held, keys_before], [values_held, values_before]] =
        [(); 2].map(|()| on.both(random([slots, kv_heads, columns, head_dim])));
    let starts = tokens.places.iter().map(|&[_, start]| 0..start + seq);
    let rows = Rows::new(starts.collect(), Some(tokens.places.iter().map(|&[slot, _]| slot).collect()));
    let there = angles.clone().map(|angles| angles.map(|x| x.to_device(&on.device)));
    let [queries, keys, values] = new.each_ref().map(|[x, _]| x.clone());
    // The keys have another owner, whose numbers stay as they are.
    let other = keys_held.clone();
    let placed = ops::placed(New {
        queries,
        keys,
        values,
        angles: there.as_ref().map(<[_; 2]>::each_ref),
        rows: &rows,
        held: [keys_held, values_held],
    });
    let turned = |x: &Tensor<4>| {
        let x = x.clone().swap_dims(1, 2);
        angles.as_ref().map_or(x.clone(), |[cos, sin]| ops::rotated(&x, cos, sin).expect("in main memory"))
    };
    let Placed { queries, held: found } = placed;
    on.assert_close(queries, turned(&new[0][1]), 16.0);
    let expected = [turned(&new[1][1]), new[2][1].clone().swap_dims(1, 2)];
    on.assert_close(other, keys_before.clone(), 1.0);
    for ((found, before), new) in found.into_iter().zip([keys_before, values_before]).zip(expected) {
        let all = tokens.places.iter().enumerate().fold(before, |all, (row, &[slot, start])| {
            let one = new.clone().slice_dim(0, row..row + 1);
            all.slice_assign([slot..slot + 1, 0..kv_heads, start..start + seq, 0..head_dim], one)
        });
        on.assert_close(found, all, 16.0);
    }
}

#[test]
fn tokens_go_where_their_rows_are() {
    for on in On::all() {
        let shape = [1, 2, 1, 4];
        check_placed(&on, &Tokens { shape, seq: 1, angles: Some([1, 4]), places: &[[0, 0]] });
        check_placed(&on, &Tokens { shape, seq: 1, angles: None, places: &[[4, 11]] });
        let shape = [3, 6, 2, 12];
        check_placed(&on, &Tokens { shape, seq: 5, angles: Some([3, 8]), places: &[[0, 7], [2, 0], [3, 3]] });
        check_placed(&on, &Tokens { shape, seq: 1, angles: Some([1, 12]), places: &[[1, 2], [2, 2], [4, 2]] });
        check_placed(&on, &Tokens { shape, seq: 12, angles: None, places: &[[1, 0], [0, 0], [4, 0]] });
    }
}

#[track_caller]
fn check_attention(on: &On, case: &Case<'_>) {
    let [batch, heads, _, head_dim] = case.shape;
    let [[q, q_there], [k, k_there], [v, v_there]] = case.tensors().map(|x| on.both(x));
    // As a decoder has them: queries with the heads of a token side by side.
    let q = q.swap_dims(1, 2).reshape([batch, case.seq, heads, head_dim]).swap_dims(1, 2);
    let scale = (head_dim as f32).powf(-0.5);
    let seen = Seen { rows: &Rows::new(case.ranges(), None), window: case.window, scale, cap: case.cap };
    let Some(found) = ops::attention(&q, &k, &v, &seen) else {
        assert!(case.seq > 8, "{} queries", case.seq);
        return;
    };
    assert_eq!(found.dims(), [batch, case.seq, heads * head_dim]);
    on.assert_numbers(&numbers(found), &case.reference([q_there, k_there, v_there], scale), 20.0);
}

#[test]
fn attention_is_what_each_query_sees_by_itself() {
    for on in On::all() {
        attention_cases().iter().for_each(|case| check_attention(&on, case));
    }
}

#[test]
fn rows_of_queries_read_the_rows_of_keys_that_they_are_told() {
    for on in On::all() {
        let case =
            Case { shape: [4, 6, 2, 16], seq: 2, columns: 30, keys: &[[0, 9], [0, 30], [0, 2]], ..Case::default() };
        let [q, k, v] = case.tensors().map(|x| on.both(x)[0].clone());
        let slots = [3, 0, 2];
        let picked = |x: &Tensor<4>| Tensor::cat(slots.map(|row| x.clone().slice_dim(0, row..row + 1)).to_vec(), 0);
        let q = q.slice_dim(0, 0..3);
        let told = Rows::new(case.ranges(), Some(slots.to_vec()));
        let told = Seen { rows: &told, window: None, scale: 0.25, cap: None };
        let own = Seen { rows: &Rows::new(case.ranges(), None), ..told };
        let found = numbers(ops::attention(&q, &k, &v, &told).unwrap());
        assert_eq!(found, numbers(ops::attention(&q, &picked(&k), &picked(&v), &own).unwrap()));
    }
}

#[test]
fn what_is_hidden_disturbs_nobody_and_what_is_no_number_is_not_lost() {
    for on in On::all() {
        let nan = |x: &Tensor<4>, columns| x.clone().slice_fill([0..1, 0..1, columns, 0..1], f32::NAN);
        for cap in [None, Some(4.0)] {
            let case = Case { shape: [1, 3, 1, 16], seq: 2, columns: 400, keys: &[[4, 390]], cap, ..Case::default() };
            let [q, k, v] = case.tensors().map(|x| on.both(x)[0].clone());
            let rows = Rows::new(case.ranges(), None);
            let seen = Seen { rows: &rows, window: None, scale: 0.25, cap };
            let found = |k: &Tensor<4>, v: &Tensor<4>| numbers(ops::attention(&q, k, v, &seen).unwrap());
            for hidden in [0..4, 390..400] {
                let found = found(&nan(&k, hidden.clone()), &nan(&v, hidden.clone()));
                assert!(found.iter().all(|x| x.is_finite()), "{on:?}, {hidden:?}");
            }
            for (k, v) in [(nan(&k, 300..301), v.clone()), (k.clone(), nan(&v, 300..301))] {
                let tokens = found(&k, &v).chunks(48).filter(|token| token.iter().any(|x| x.is_nan())).count();
                assert_eq!(tokens, 2, "{on:?}, {cap:?}");
            }
        }
        let w = on.both(random([64, 80]).slice_fill([10..11, 20..21], f32::NAN))[0].clone();
        let found = numbers(ops::product(on.both(random([4, 64]))[0].clone(), w));
        assert_eq!(found.iter().filter(|x| x.is_nan()).count(), 4, "{on:?}");
        let x = on.both(random([3, 8]).slice_fill([1..2, 2..3], f32::NAN))[0].clone();
        let found = numbers(ops::rms_norm(&x, &Tensor::ones([8], &on.device), 1e-5).unwrap());
        assert!(found[8..16].iter().all(|x| x.is_nan()) && found[16..].iter().all(|x| x.is_finite()), "{on:?}");
    }
}
