//! Truncated decompositions: what they keep, what they lose, and what cannot be asked of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::TensorData;
use t2_linalg::cases::{self, Case};
use t2_linalg::quality::{self, Quality, THRESHOLD};
use t2_linalg::{AutoSvd, Svd, SvdError, SvdSolver};

const SEED: u64 = 1936;

/// How far a measured error may be from `√(1 − energy)`: rounding of the singular values to f32 and of the products.
const ROUNDING: f64 = 2e-6;

/// How far [`quality::loss`] may be from [`Quality`]: on a GPU its products round.
const LOSS_TOLERANCE: f64 = 1e-6;

/// How far an energy may be from the fraction it should be: singular values are f32.
const ENERGY_TOLERANCE: f64 = 1e-6;

const DEVICES: &[fn() -> Device] = &[
    Device::flex,
    #[cfg(feature = "wgpu")]
    || Device::enumerate(burn::tensor::DeviceType::Wgpu).into_iter().next().unwrap(),
    #[cfg(feature = "cuda")]
    || Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().next().unwrap(),
];

#[test]
fn factors_of_any_rank_lose_what_the_energy_says() {
    for device in DEVICES {
        cases::FINITE.iter().for_each(|case| check_losses(case, &device()));
        let large = Case { name: "all cores", batch: 1, m: 600, n: 520, ..cases::FINITE[0] };
        check_losses(&large, &device());
        check_losses(&Case { m: 520, n: 600, ..large }, &device());
    }
}

#[track_caller]
fn check_losses(case: &Case, device: &Device) {
    let Case { name, batch, m, n, .. } = *case;
    let a = case.tensor(SEED, device);
    let svd = AutoSvd::default().svd(a.clone()).unwrap();
    let most = m.min(n);
    for rank in [1, most.div_ceil(3), most - most / 9, most] {
        let small = svd.truncate(rank).unwrap();
        let dims = (small.u.dims(), small.s.dims(), small.vt.dims());
        assert_eq!(dims, ([batch, m, rank], [batch, rank], [batch, rank, n]), "{name}");
        assert_eq!(small.reconstruct().dims(), [batch, m, n], "{name}");
        let (losses, qualities) = (quality::loss(&a, &small).unwrap(), Quality::of(&a, &small).unwrap());
        for ((loss, quality), energy) in losses.iter().zip(qualities).zip(svd.energy(rank).unwrap()) {
            let context = format!("{name} at rank {rank}: {loss:?}, {quality:?}, energy {energy}");
            assert!((loss.relative_error - (1.0 - energy).max(0.0).sqrt()).abs() <= ROUNDING, "{context}");
            assert!((loss.relative_error - quality.relative_error).abs() <= LOSS_TOLERANCE, "{context}");
            assert!((loss.skew - quality.skew).abs() <= LOSS_TOLERANCE, "{context}");
            let orthogonality = quality.u_orthogonality.max(quality.vt_orthogonality);
            assert!(orthogonality <= THRESHOLD && quality.disorder == 0.0, "{context}");
        }
    }
}

#[test]
fn a_rank_is_the_smallest_that_keeps_the_energy_in_every_matrix() {
    let energies = spectrum(&[[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]]);
    check_energy(&energies, 1, &[0.8, 1.0 / 3.0]);
    check_energy(&energies, 2, &[1.0, 2.0 / 3.0]);
    check_energy(&energies, 3, &[1.0, 1.0]);
    check_energy(&spectrum(&[[0.0; 3]]), 1, &[1.0]);
    check_energy(&spectrum(&[[3e38, 1e-38, 1e-38]]), 1, &[1.0]);
    check_energy(&spectrum(&[[2e-38, 1e-38, 0.0]]), 1, &[0.8]);
    check_energy(&factors([2, 0, 0, 3]), 0, &[1.0, 1.0]);

    let one = spectrum(&[[2.0, 1.0, 0.0]]);
    for (share, rank) in [(0.0, 1), (0.8, 1), (0.81, 2), (1.0, 2)] {
        assert_eq!(one.rank_for_energy(share).unwrap(), rank, "share {share}");
    }
    for (share, rank) in [(0.3, 1), (0.5, 2), (0.9, 3), (1.0, 3)] {
        assert_eq!(energies.rank_for_energy(share).unwrap(), rank, "share {share} of two matrices");
    }
    assert_eq!(spectrum(&[[0.0; 3]]).rank_for_energy(1.0).unwrap(), 1, "zeros have nothing to lose");
    assert_eq!(spectrum(&[]).rank_for_energy(0.5).unwrap(), 1, "no matrix asks for more than one");
    assert_eq!(factors([2, 0, 0, 3]).rank_for_energy(0.5).unwrap(), 0, "there are no singular values");
}

#[track_caller]
fn check_energy(svd: &Svd, rank: usize, expected: &[f64]) {
    let found = svd.energy(rank).unwrap();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    let is_near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= ENERGY_TOLERANCE);
    assert!(is_near, "energy {found:?} at rank {rank}, not {expected:?}");
}

#[test]
fn what_cannot_be_asked_is_an_error_with_both_values() {
    let svd = factors([2, 5, 3, 4]);
    check_refused(svd.truncate(0), "rank 0 of 3 singular values");
    check_refused(svd.truncate(4), "rank 4 of 3 singular values");
    check_refused(svd.energy(0), "rank 0 of 3 singular values");
    check_refused(svd.energy(4), "rank 4 of 3 singular values");
    check_refused(factors([2, 0, 0, 3]).truncate(1), "rank 1 of 0 singular values");
    for (share, message) in [(-0.1, "-0.1 is no"), (99.0, "99 is no"), (f64::NAN, "NaN is no")] {
        check_refused(svd.rank_for_energy(share), message);
    }
    for sigma in [f32::NAN, f32::INFINITY] {
        let failed = spectrum(&[[2.0, 1.0, 0.0], [1.0, sigma, 0.0]]);
        check_refused(failed.energy(1), "matrix 1 of the batch");
        assert_eq!(failed.rank_for_energy(0.5).unwrap_err().index(), Some(1));
    }
}

#[test]
fn factors_that_do_not_belong_are_an_error_with_both_shapes() {
    let fitting = factors([2, 5, 3, 4]);
    let a = |dims: [usize; 3]| Tensor::<3>::zeros(dims, &Device::flex());
    let misfits = [
        (Svd { s: Tensor::zeros([2, 2], &Device::flex()), ..fitting.clone() }, "s [2, 2]"),
        (Svd { u: a([1, 5, 3]), ..fitting.clone() }, "u [1, 5, 3]"),
        (Svd { vt: a([2, 2, 4]), ..fitting.clone() }, "vt [2, 2, 4]"),
        (factors([2, 5, 0, 4]), "s [2, 0]"),
        (factors([2, 5, 6, 4]), "s [2, 6]"),
    ];
    for (svd, named) in misfits {
        for message in [named, "matrices [2, 5, 4]"] {
            check_refused(quality::loss(&a([2, 5, 4]), &svd), message);
            check_refused(Quality::of(&a([2, 5, 4]), &svd), message);
        }
        check_refused(svd.truncate(1), named);
        check_refused(svd.energy(1), named);
        check_refused(svd.rank_for_energy(0.5), named);
    }
    check_refused(quality::loss(&a([2, 4, 5]), &fitting), "matrices [2, 4, 5]");
    check_refused(Quality::of(&a([3, 5, 4]), &fitting), "matrices [3, 5, 4]");
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(asked: Result<T, SvdError>, message: &str) {
    let error = asked.unwrap_err().to_string();
    assert!(error.contains(message), "`{error}` does not say `{message}`");
}

#[test]
#[should_panic(expected = "shapes of u, s and vt, found and expected")]
fn a_product_of_factors_that_do_not_belong_is_a_mistake_of_the_caller() {
    let _ = Svd { s: Tensor::zeros([2, 2], &Device::flex()), ..factors([2, 5, 3, 4]) }.reconstruct();
}

#[test]
fn matrices_without_entries_lose_nothing() {
    for [batch, m, n] in [[0, 4, 3], [2, 0, 3], [2, 4, 0], [0, 0, 0]] {
        let a = Tensor::<3>::zeros([batch, m, n], &Device::flex());
        let svd = AutoSvd::default().svd(a.clone()).unwrap();
        let most = m.min(n);
        let small = svd.truncate(svd.rank_for_energy(0.5).unwrap()).unwrap();
        assert_eq!(small.s.dims(), [batch, most.min(1)]);
        assert_eq!(small.reconstruct().dims(), [batch, m, n]);
        assert_eq!(svd.energy(most).unwrap(), vec![1.0; batch]);
        assert!(quality::loss(&a, &svd).unwrap().iter().all(|loss| loss.relative_error == 0.0 && loss.skew == 0.0));
        let qualities = Quality::of(&a, &svd).unwrap();
        assert_eq!(qualities.len(), batch);
        assert!(qualities.iter().all(|quality| quality.is_within(0.0)), "{qualities:?}");
        assert_eq!(Case { batch, m, n, ..cases::FINITE[0] }.tensor(SEED, &Device::flex()).dims(), [batch, m, n]);
    }
}

/// Factors of zeros, of the sizes `[batch, m, k, n]`.
fn factors([batch, m, k, n]: [usize; 4]) -> Svd {
    let device = Device::flex();
    Svd {
        u: Tensor::zeros([batch, m, k], &device),
        s: Tensor::zeros([batch, k], &device),
        vt: Tensor::zeros([batch, k, n], &device),
    }
}

/// Factors with these singular values, of matrices of 4 x 3.
fn spectrum(sigma: &[[f32; 3]]) -> Svd {
    let s = TensorData::new(sigma.concat(), [sigma.len(), 3]);
    Svd { s: Tensor::from_data(s, &Device::flex()), ..factors([sigma.len(), 4, 3, 3]) }
}
