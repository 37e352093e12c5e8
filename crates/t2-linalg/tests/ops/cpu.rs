//! f32 tensors in main memory.

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::DType;
use t2_linalg::burn::tensor::activation::{gelu_approximate, silu};
use t2_linalg::ops::{self, Gate, Rows, Seen};

use crate::cases::{Case, ROUNDING, assert_close, attention_cases, numbers, random};

/// `[m, k]` by `[k, n]`, by rows and by columns, against f64.
#[track_caller]
fn check_product([m, n, k]: [usize; 3]) {
    let (x, w) = (random([m, k]), random([k, n]));
    let exact = x.clone().cast(DType::F64).matmul(w.clone().cast(DType::F64));
    let size = (k as f64).sqrt() * 4.0;
    assert_close(ops::product(x.clone(), w.clone()).cast(DType::F64), exact.clone(), size);
    // The same weights, with their columns as runs of memory.
    let turned = random([n, k]).slice_assign([0..n, 0..k], w.transpose());
    assert_close(ops::product(x, turned.transpose()).cast(DType::F64), exact, size);
}

#[test]
fn products_of_every_shape_are_those_of_f64() {
    for shape in [
        [1, 1, 1],
        [1, 7, 5],
        [2, 17, 9],
        [1, 576, 576],
        [1, 1000, 333],
        [3, 192, 579],
        [6, 300, 1536],
        [7, 40, 64],
        [8, 576, 200],
        [31, 129, 577],
        [33, 65, 96],
        [129, 193, 67],
        [300, 320, 96],
    ] {
        check_product(shape);
    }
}

/// Bit for bit: who shares a pass over the cores with whom changes nothing.
#[test]
fn several_products_at_once_are_those_one_by_one() {
    for rows in [1, 2, 6] {
        let x = random([rows, 576]);
        let weights = [576, 192, 700].map(|width| random([576, width]));
        let bias = random([192]);
        let [q, k, v] = ops::products(&x, weights.each_ref(), [None, Some(&bias), None]).expect("few rows");
        let alone = weights.map(|w| ops::product(x.clone(), w));
        assert_eq!(numbers(q), numbers(alone[0].clone()));
        assert_eq!(numbers(k), numbers(alone[1].clone() + bias.unsqueeze()));
        assert_eq!(numbers(v), numbers(alone[2].clone()));
    }
    let (many, few) = (random([40, 576]), random([576, 600]));
    assert!(ops::products(&many, [&few, &few], [None, None]).is_none());
}

#[test]
fn parts_of_larger_tensors_are_read_where_they_lie() {
    let (x, w) = (random([9, 80]).slice([2..7, 11..75]), random([100, 90]).slice([5..69, 3..80]));
    let exact = x.clone().cast(DType::F64).matmul(w.clone().cast(DType::F64));
    assert_close(ops::product(x.clone(), w.clone()).cast(DType::F64), exact.clone(), 32.0);
    let repeated = random([1, 64]).expand([40, 64]);
    let exact = repeated.clone().cast(DType::F64).matmul(w.clone().cast(DType::F64));
    assert_close(ops::product(repeated, w).cast(DType::F64), exact, 32.0);
}

#[test]
fn a_row_has_the_product_that_it_has_alone() {
    let w = random([576, 600]);
    for rows in [2, 6, 8, 40, 200] {
        let x = random([rows, 576]);
        let all = ops::product(x.clone(), w.clone());
        for row in [0, rows - 1] {
            let alone = ops::product(x.clone().slice_dim(0, row..row + 1), w.clone());
            assert_close(all.clone().slice_dim(0, row..row + 1), alone, 96.0);
        }
    }
}

#[test]
fn what_is_no_number_is_not_lost_in_a_product() {
    for rows in [1, 4, 8, 70] {
        for value in [f32::NAN, f32::INFINITY] {
            let w = random([64, 80]).slice_fill([10..11, 20..21], value);
            let found = numbers(ops::product(random([rows, 64]), w));
            assert!((0..rows).all(|row| !found[row * 80 + 20].is_finite()), "{rows} rows, {value}");
            assert_eq!(found.iter().filter(|value| !value.is_finite()).count(), rows);
        }
    }
}

#[test]
fn a_product_is_differentiable_and_takes_other_types() {
    let (x, w) = (random([3, 4]).autodiff().require_grad(), random([4, 5]));
    let gradients = ops::product(x.clone(), w.clone()).sum().backward();
    let expected = w.sum_dim(1).transpose().expand([3, 4]);
    assert_close(x.grad(&gradients).unwrap(), expected, 8.0);
    let half = |shape| random(shape).cast(DType::F16);
    assert_eq!(ops::product(half([2, 3]), half([3, 4])).dtype(), DType::F16);
}

#[track_caller]
fn check_attention(case: &Case<'_>) {
    let [batch, heads, _, head_dim] = case.shape;
    let tensors @ [q, k, v] = &case.tensors();
    let scale = (head_dim as f32).powf(-0.5);
    let seen = Seen { rows: &Rows::new(case.ranges(), None), window: case.window, scale, cap: case.cap };
    let found = ops::attention(q, k, v, &seen).expect("tensors of f32 on the CPU");
    assert_eq!(found.dims(), [batch, case.seq, heads * head_dim]);
    let expected = case.reference(tensors.clone(), scale);
    for (i, (found, expected)) in numbers(found).into_iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 10.0 * ROUNDING, "number {i} is {found}, not {expected}");
    }
}

#[test]
fn attention_is_what_each_query_sees_by_itself() {
    attention_cases().iter().for_each(check_attention);
}

#[test]
fn rows_of_queries_read_the_rows_of_keys_that_they_are_told() {
    let case = Case { shape: [4, 6, 2, 16], seq: 2, columns: 30, keys: &[[0, 9], [0, 30], [0, 2]], ..Case::default() };
    let [q, k, v] = case.tensors();
    let rows = [3, 0, 2];
    let picked = |x: &Tensor<4>| Tensor::cat(rows.map(|row| x.clone().slice_dim(0, row..row + 1)).to_vec(), 0);
    let q = q.slice_dim(0, 0..3);
    let told = Seen { rows: &Rows::new(case.ranges(), Some(rows.to_vec())), window: None, scale: 0.25, cap: None };
    let found = numbers(ops::attention(&q, &k, &v, &told).unwrap());
    let own = Seen { rows: &Rows::new(case.ranges(), None), ..told };
    assert_eq!(found, numbers(ops::attention(&q, &picked(&k), &picked(&v), &own).unwrap()));
}

/// The score of a key that is no finite number is capped like any other.
#[test]
fn a_score_without_bounds_is_kept_within_the_cap() {
    let case = Case { keys: &[[0, 2]], columns: 2, ..Case::default() };
    let [q, k, v] = case.tensors();
    let endless = |x: Tensor<4>, row: usize| x.slice_fill([0..1, 0..1, row..row + 1, 0..1], f32::NEG_INFINITY);
    let q = q.ones_like();
    let seen = Seen { rows: &Rows::new(case.ranges(), None), window: None, scale: 0.25, cap: Some(4.0) };
    for k in [endless(k.clone(), 0), endless(endless(k, 0), 1)] {
        let found = numbers(ops::attention(&q, &k, &v, &seen).unwrap());
        assert!(found.iter().all(|x| x.is_finite()), "{found:?}");
    }
}

#[test]
fn a_query_of_padding_gets_zeros_and_disturbs_nobody() {
    let case = Case { shape: [2, 2, 1, 8], seq: 6, columns: 6, keys: &[[4, 6], [0, 6]], ..Case::default() };
    let [q, k, v] = case.tensors();
    let hidden = |x: Tensor<4>| x.slice_fill([0..1, 0..1, 0..4], f32::NAN);
    let seen = Seen { rows: &Rows::new(case.ranges(), None), window: None, scale: 0.3, cap: None };
    let found = numbers(ops::attention(&q, &hidden(k), &hidden(v), &seen).unwrap());
    assert!(found[..4 * 16].iter().all(|x| *x == 0.0) && found.iter().all(|x| x.is_finite()), "{found:?}");
}

#[test]
fn what_is_no_number_is_not_lost_in_attention() {
    for (seq, columns) in [(1, 9), (1, 400), (80, 400)] {
        for cap in [None, Some(4.0)] {
            let case = Case { shape: [1, 3, 1, 16], seq, columns, keys: &[[0, columns]], ..Case::default() };
            let seen = Seen { rows: &Rows::new(case.ranges(), None), window: None, scale: 0.25, cap };
            let [q, k, v] = case.tensors();
            let spoilt = |x: &Tensor<4>| x.clone().slice_fill([0..1, 0..1, 3..4, 5..6], f32::NAN);
            for (k, v) in [(spoilt(&k), v.clone()), (k, spoilt(&v))] {
                let found = numbers(ops::attention(&q, &k, &v, &seen).unwrap());
                let tokens = found.chunks(48).filter(|token| token.iter().any(|x| x.is_nan())).count();
                assert_eq!(tokens, seq, "{columns} columns, {cap:?}");
            }
        }
    }
}

#[test]
fn norms_gates_and_rotations_are_those_of_burn() {
    for (rows, width) in [(1, 1), (3, 17), (5, 576), (200, 100)] {
        let (x, gamma) = (random([rows, 2, width]), random([width]));
        let rms = (x.clone().square().mean_dim(2) + 1e-5).sqrt();
        let expected = x.clone() / rms * gamma.clone().unsqueeze();
        assert_close(ops::rms_norm(&x, &gamma, 1e-5).unwrap(), expected, 16.0);
        let (gate, up) = (random([rows, width]) * 4.0, random([rows, width]));
        let expected = silu(gate.clone()) * up.clone();
        assert_close(ops::gated(&gate, &up, Gate::Silu).unwrap(), expected, 64.0);
        let expected = gelu_approximate(gate.clone()) * up.clone();
        assert_close(ops::gated(&gate, &up, Gate::GeluTanh).unwrap(), expected, 64.0);
    }
    for ([batch, heads, seq, head_dim], angles, rotated) in
        [([1, 1, 1, 4], 1, 4), ([2, 3, 5, 12], 2, 8), ([3, 2, 70, 64], 1, 64)]
    {
        let x = random([batch, seq, heads, head_dim]).swap_dims(1, 2);
        let [cos, sin] = [random([angles, 1, seq, rotated]), random([angles, 1, seq, rotated])];
        let turned = x.clone().slice_dim(3, 0..rotated);
        let [first, second] = [0..rotated / 2, rotated / 2..rotated].map(|half| turned.clone().slice_dim(3, half));
        let turned = turned * cos.clone() + Tensor::cat(vec![second, first], 3) * sin.clone();
        let expected = Tensor::cat(vec![turned, x.clone().slice_dim(3, rotated..head_dim)], 3);
        assert_close(ops::rotated(&x, &cos, &sin).unwrap(), expected, 16.0);
    }
}

#[test]
fn gates_of_any_size_stay_numbers_and_what_is_none_stays_none() {
    let x = |values: [f32; 6]| Tensor::<1>::from_floats(values, &Device::flex());
    let gate = x([-1e30, -200.0, 0.0, 200.0, 1e30, f32::NAN]);
    for f in [Gate::Silu, Gate::GeluTanh] {
        let found = numbers(ops::gated(&gate, &x([1.0; 6]), f).unwrap());
        assert!(found[0].abs() < 1e-9 && found[1].abs() < 1e-9 && found[2] == 0.0, "{f:?}: {found:?}");
        assert!((found[3] - 200.0).abs() < 1e-4 && found[4].is_finite() && found[5].is_nan(), "{f:?}: {found:?}");
    }
}

#[test]
fn half_precision_goes_the_general_way() {
    let gamma = Tensor::<1>::ones([8], &Device::flex());
    let half = random([2, 8]).cast(DType::F16);
    for x in [half.clone(), half.autodiff()] {
        assert!(ops::rms_norm(&x, &gamma, 1e-5).is_none());
        assert!(ops::gated(&x, &x, Gate::Silu).is_none());
    }
}
