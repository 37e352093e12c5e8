//! What is not decomposed, and what is not called a decomposition.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use burn::prelude::*;
use burn::tensor::{DType, TensorReadError};
use t2_linalg::cases::{self, Case};
use t2_linalg::quality::{Quality, THRESHOLD};
use t2_linalg::{Attempt, HostSvd, JacobiSvd, Svd, SvdError, SvdSolver};

/// A solver, and a device it runs on.
type OnDevice = (&'static dyn SvdSolver, fn() -> Device);

const SOLVERS: &[OnDevice] = &[
    (&HostSvd { parallel_from: 2048 }, Device::flex),
    (&JacobiSvd { max_sweeps: 60 }, Device::flex),
    #[cfg(feature = "wgpu")]
    (&t2_linalg::BlockJacobiSvd::DEFAULT, || first(burn::tensor::DeviceType::Wgpu)),
    #[cfg(feature = "cuda")]
    (&t2_linalg::BlockJacobiSvd::DEFAULT, || first(burn::tensor::DeviceType::Cuda)),
    #[cfg(feature = "cuda")]
    (&t2_linalg::CusolverSvd { alone_from: 2048 }, || first(burn::tensor::DeviceType::Cuda)),
];

#[cfg(feature = "gpu")]
fn first(kind: burn::tensor::DeviceType) -> Device {
    Device::enumerate(kind).into_iter().next().unwrap()
}

const SEED: u64 = 6252;

#[test]
fn a_value_that_is_not_finite_is_named() {
    for (solver, device) in SOLVERS {
        for case in cases::NOT_FINITE {
            let good = Case { batch: 3, fill: cases::FINITE[0].fill, ..*case };
            let a = Tensor::cat(vec![good.tensor(SEED, &device()), case.tensor(SEED, &device())], 0);
            let error = solver.svd(a).unwrap_err();
            let SvdError::NotFinite { index, row, column, value } = error else { panic!("{}: {error}", case.name) };
            assert_eq!((index, [row, column]), (3, cases::SPOILED_AT), "{}", case.name);
            assert!(!value.is_finite());
        }
    }
}

#[test]
fn the_other_matrices_of_a_batch_are_decomposed_all_the_same() {
    for (solver, device) in SOLVERS {
        let bad = cases::NOT_FINITE[0];
        let good = Case { batch: 2, fill: cases::FINITE[0].fill, ..bad };
        let [first, last] = [SEED, SEED + 1].map(|seed| good.tensor(seed, &device()));
        let a = Tensor::cat(vec![first.clone(), bad.tensor(SEED, &device()), last.clone()], 0);
        let Attempt { svd, failed, .. } = solver.svd_each(a).unwrap();
        assert!(matches!(failed[..], [SvdError::NotFinite { index: 2, .. }]), "{failed:?}");
        for (good, at) in [(first, 0), (last, 3)] {
            let part = |factor: &Tensor<3>| factor.clone().narrow(0, at, 2);
            let svd = Svd { u: part(&svd.u), s: svd.s.clone().narrow(0, at, 2), vt: part(&svd.vt) };
            assert!(Quality::of(&good, &svd).unwrap().iter().all(|quality| quality.is_within(THRESHOLD)));
        }
        let spoiled = [svd.u.flatten::<2>(1, 2), svd.s, svd.vt.flatten(1, 2)];
        for factor in spoiled.map(|factor| factor.narrow(0, 2, 1).try_into_vec_as::<f32>().unwrap()) {
            assert!(factor.iter().all(|value| value.is_nan()), "a matrix that failed has factors: {factor:?}");
        }
    }
}

#[test]
fn singular_values_beyond_f32_are_an_error() {
    for (solver, device) in SOLVERS {
        let a = Tensor::<3>::full([2, 4, 4], 3e38, &device()) * Tensor::from_data([[[1e-38]], [[1.0]]], &device());
        let error = solver.svd(a).unwrap_err();
        assert!(matches!(error, SvdError::Overflow { index: 1, sigma } if sigma > 1e39), "{error}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn kernels_refuse_a_device_that_has_none() {
    let a = cases::FINITE[0].tensor(SEED, &Device::flex());
    let error = t2_linalg::BlockJacobiSvd::default().svd(a).unwrap_err();
    assert!(error.to_string().starts_with("BlockJacobiSvd does not run on"), "{error}");
}

#[test]
fn a_spent_budget_is_an_error_that_names_it() {
    let a = cases::FINITE[0].tensor(SEED, &Device::flex());
    let error = JacobiSvd { max_sweeps: 1 }.svd(a).unwrap_err();
    assert!(error.to_string().starts_with("matrix 0 of the batch did not converge in 1 sweeps"), "{error}");
}

#[test]
fn empty_matrices_have_empty_factors() {
    for (solver, device) in SOLVERS {
        for [batch, m, n] in [[0, 4, 3], [2, 0, 3], [2, 4, 0], [0, 0, 0]] {
            let svd = solver.svd(Tensor::zeros([batch, m, n], &device())).unwrap();
            let k = m.min(n);
            assert_eq!((svd.u.dims(), svd.s.dims(), svd.vt.dims()), ([batch, m, k], [batch, k], [batch, k, n]));
            assert_eq!(solver.singular_values(Tensor::zeros([batch, m, n], &device())).unwrap().dims(), [batch, k]);
            assert!(solver.demand([m, n], &device()).batch > 0);
        }
    }
}

#[test]
fn an_error_says_its_source_once() {
    let error = SvdError::from(TensorReadError::InvalidShape { expected: 12, actual: 7 });
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("12") && source.contains('7'), "{source}");
    assert!(!error.to_string().contains(&source), "`{error}` repeats `{source}`");
}

#[test]
#[should_panic(expected = "a matrix of 4 x 24 has no entry at 7, 11 to spoil")]
fn a_case_too_small_to_be_spoiled_is_a_mistake_of_the_caller() {
    Case { m: 4, ..cases::NOT_FINITE[0] }.values(SEED);
}

#[test]
fn every_case_has_every_shape() {
    for case in cases::FINITE {
        for [m, n] in [[0, 2], [1, 1], [1, 5], [5, 1], [2, 9], [9, 2]] {
            let values = Case { m, n, ..*case }.values(SEED);
            let is_finite = values.iter().all(|value| value.is_finite());
            assert!(values.len() == case.batch * m * n && is_finite, "{} of {m} x {n}: {values:?}", case.name);
        }
    }
}

#[test]
fn the_ratios_reject_a_damaged_factor() {
    let (a, svd) = decomposed();
    let small = |tensor: &Tensor<3>| tensor.clone() + Tensor::zeros_like(tensor).slice_fill([0..1, 0..1, 0..1], 1e-3);
    check_rejected("u", &a, &Svd { u: small(&svd.u), ..svd.clone() }, |quality| quality.u_orthogonality);
    check_rejected("vt", &a, &Svd { vt: small(&svd.vt), ..svd.clone() }, |quality| quality.vt_orthogonality);
    check_rejected("s", &a, &Svd { s: svd.s.clone() * 1.001, ..svd.clone() }, |quality| quality.residual);
    check_rejected("sign of s", &a, &Svd { s: -svd.s.clone(), u: -svd.u.clone(), ..svd.clone() }, in_thresholds);
    let ascending = Svd { u: svd.u.clone().flip([2]), s: svd.s.clone().flip([1]), vt: svd.vt.clone().flip([1]) };
    check_rejected("order", &a, &ascending, in_thresholds);
    check_rejected("nan", &a, &Svd { s: svd.s.clone() * f32::NAN, ..svd.clone() }, |quality| quality.residual);
    check_rejected("another matrix", &(a.clone() * 1.001), &svd, |quality| quality.residual);
}

/// Both the ratio that is meant for the damage and the judgement over all must notice it.
#[track_caller]
fn check_rejected(damage: &str, a: &Tensor<3>, svd: &Svd, ratio: impl Fn(&Quality) -> f64) {
    let quality = Quality::of(a, svd).unwrap()[0];
    let noticed = ratio(&quality) > THRESHOLD || ratio(&quality).is_nan();
    assert!(noticed, "{damage} went unnoticed by its ratio: {quality:?}");
    assert!(!quality.is_within(THRESHOLD), "{damage} was accepted: {quality:?}");
}

/// Damage to the order is out of any threshold.
fn in_thresholds(quality: &Quality) -> f64 {
    quality.disorder * f64::INFINITY
}

#[test]
fn a_sound_decomposition_is_accepted() {
    let (a, svd) = decomposed();
    assert!(Quality::of(&a, &svd).unwrap()[0].is_within(THRESHOLD));
}

fn decomposed() -> (Tensor<3>, Svd) {
    let a = cases::FINITE[0].tensor(SEED, &Device::flex()).narrow(0, 0, 1);
    let svd = HostSvd::default().svd(a.clone()).unwrap();
    (a, svd)
}

#[test]
fn lower_precision_input_is_decomposed_in_f32() {
    let a = cases::FINITE[0].tensor(SEED, &Device::flex()).cast(DType::BF16);
    let svd = HostSvd::default().svd(a.clone()).unwrap();
    assert_eq!(svd.s.dtype(), DType::F32);
    assert!(Quality::of(&a, &svd).unwrap()[0].is_within(THRESHOLD));
}
