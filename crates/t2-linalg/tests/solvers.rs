//! What every solver promises, checked on every case.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do, and print what they measured"
)]

use burn::prelude::*;
#[cfg(feature = "gpu")]
use burn::tensor::DeviceType;
use faer::{Mat, MatRef, Side};
#[cfg(feature = "gpu")]
use t2_linalg::BlockJacobiSvd;
use t2_linalg::cases::{self, Case};
use t2_linalg::quality::{self, Quality, THRESHOLD};
use t2_linalg::{HostSvd, JacobiSvd, Svd, SvdSolver};

/// A solver on a device, and what is asked of it there. A new one is an entry.
struct Tested {
    name: &'static str,
    solver: &'static dyn SvdSolver,
    device: fn() -> Device,
    /// The largest `‖A − U diag(s) Vᵀ‖ / ‖A‖` (Frobenius).
    residual: f64,
    /// The largest of `‖UᵀU − I‖ / √k` and `‖VᵀV − I‖ / √k` (Frobenius).
    skew: f64,
}

/// The kernels as they are by default, with half of the sweeps: no case comes near the end of those.
#[cfg(feature = "gpu")]
const KERNELS: BlockJacobiSvd = BlockJacobiSvd { max_sweeps: 30, ..BlockJacobiSvd::DEFAULT };

/// Every solver, the reference last.
const SOLVERS: &[Tested] = &[
    #[cfg(feature = "wgpu")]
    Tested {
        name: "block_jacobi on wgpu",
        solver: &KERNELS,
        device: || first(DeviceType::Wgpu),
        residual: 2e-6,
        skew: 1e-5,
    },
    #[cfg(feature = "cuda")]
    Tested {
        name: "block_jacobi on cuda",
        solver: &KERNELS,
        device: || first(DeviceType::Cuda),
        residual: 2e-6,
        skew: 1e-5,
    },
    #[cfg(feature = "cuda")]
    Tested {
        name: "cusolver on cuda",
        solver: &t2_linalg::CusolverSvd { alone_from: 2048 },
        device: || first(DeviceType::Cuda),
        residual: 1e-6,
        skew: 1e-6,
    },
    Tested { name: "host", solver: &HostSvd { parallel_from: 2048 }, device: Device::flex, residual: 1e-5, skew: 1e-5 },
    Tested { name: "jacobi", solver: &JacobiSvd { max_sweeps: 60 }, device: Device::flex, residual: 2e-6, skew: 1e-5 },
];

#[cfg(feature = "gpu")]
fn first(kind: DeviceType) -> Device {
    let name = format!("{kind:?}");
    let found = Device::enumerate(kind).into_iter().next();
    found.unwrap_or_else(|| panic!("these tests were built for {name} and this machine has no such device"))
}

const SEED: u64 = 2501;

/// How far a singular value may be from the same in f64, or from another solver's, over the largest.
///
/// No f32 solver promises more than `O(ε)` of the *largest* (Weyl): the small values of a graded spectrum are relatively
/// worse, and that is no bug.
const SIGMA_TOLERANCE: f64 = 1e-6;

/// How far [`quality::loss`] may be from [`Quality`]: on a GPU its products round.
const LOSS_TOLERANCE: f64 = 1e-6;

/// How far an entry of the product of the factors may be from that of the matrix, over its largest entry.
const PRODUCT_TOLERANCE: f32 = 2e-6;

#[test]
fn every_solver_meets_the_threshold_on_every_case() {
    for tested in SOLVERS {
        cases::FINITE.iter().for_each(|case| check_quality(tested, case));
    }
}

#[test]
fn large_matrices_meet_the_threshold() {
    for tested in &SOLVERS[..SOLVERS.len() - 1] {
        // A GPU made of software takes minutes over each thousand columns with the kernels.
        let slow = ["batch_of_256", "square_1024", "tall_1536x576"];
        let is_fast = !tested.name.starts_with("block_jacobi");
        let chosen = cases::LARGE.iter().filter(|case| is_fast || !slow.contains(&case.name));
        chosen.for_each(|case| check_quality(tested, case));
    }
}

#[test]
fn all_cores_on_one_matrix_meet_the_threshold() {
    let all_cores = Tested {
        name: "all cores",
        solver: &HostSvd { parallel_from: 1 },
        device: Device::flex,
        residual: 1e-5,
        skew: 1e-5,
    };
    cases::FINITE.iter().chain(&cases::LARGE[..1]).for_each(|case| check_quality(&all_cores, case));
}

#[test]
fn every_small_shape_meets_the_threshold() {
    for tested in &SOLVERS[..SOLVERS.len() - 1] {
        // Kernels cost a dozen launches whatever the shape, and software takes its time over each.
        let stride = if tested.name == "host" { 1 } else { 4 };
        for m in (1..=20).step_by(stride) {
            for n in (1..=20).step_by(stride) {
                check_quality(tested, &Case { name: "small", batch: 1, m, n, ..cases::FINITE[0] });
            }
        }
    }
}

#[track_caller]
fn check_quality(tested: &Tested, case: &Case) {
    let solver_name = tested.name;
    let a = case.tensor(SEED, &(tested.device)());
    let svd = tested.solver.svd(a.clone()).unwrap_or_else(|error| panic!("{solver_name} on {}: {error}", case.name));
    let sigma = sigma_difference(svd.s.clone(), &in_f64(&a));
    assert!(sigma <= SIGMA_TOLERANCE, "{solver_name} on {}: singular values {sigma:.1e} off", case.name);
    let losses = quality::loss(&a, &svd).unwrap();
    for (index, (quality, loss)) in Quality::of(&a, &svd).unwrap().iter().zip(losses).enumerate() {
        println!(
            "{solver_name:<20} {:<20} {:<9} residual {:.3}  u {:.3}  vt {:.3}  skew {:.1e}  relative {:.1e}  \
             sigma {sigma:.1e}",
            case.name,
            case.shape(),
            quality.residual,
            quality.u_orthogonality,
            quality.vt_orthogonality,
            quality.skew,
            quality.relative_error
        );
        let is_close = quality.relative_error <= tested.residual && quality.skew <= tested.skew;
        assert!(quality.is_within(THRESHOLD) && is_close, "{solver_name} on {} [{index}]: {quality:?}", case.name);
        let off = [loss.relative_error - quality.relative_error, loss.skew - quality.skew];
        let is_measured = off.iter().all(|off| off.abs() <= LOSS_TOLERANCE);
        assert!(is_measured, "{solver_name} on {} [{index}]: {loss:?} and not {quality:?}", case.name);
    }
}

/// The singular values in f64: the largest eigenvalues of `[0 Aᵀ; A 0]` (Jordan 1874), which squares nothing and is none
/// of the solvers. faer's own SVD in f64 is up to 6e-5 off where many columns are almost zero.
fn in_f64(a: &Tensor<3>) -> Vec<f64> {
    let [_, m, n] = a.dims();
    let values = a.clone().try_into_vec_as::<f64>().unwrap();
    let of_one = |values| {
        let matrix = MatRef::from_row_major_slice(values, m, n);
        // The lower triangle is all that is read.
        let both = Mat::from_fn(n + m, n + m, |i, j| if i >= n && j < n { matrix[(i - n, j)] } else { 0.0 });
        let eigenvalues = both.self_adjoint_eigenvalues(Side::Lower).unwrap();
        eigenvalues.into_iter().rev().take(m.min(n)).map(|value: f64| value.max(0.0))
    };
    values.chunks(m * n).flat_map(of_one).collect()
}

#[test]
fn every_solver_finds_the_singular_values_of_the_reference() {
    let reference = SOLVERS[SOLVERS.len() - 1].solver;
    for Tested { name, solver, device, .. } in SOLVERS {
        for case in cases::FINITE {
            let a = case.tensor(SEED, &device());
            let expected = reference.svd(a.clone()).unwrap().s.try_into_vec_as::<f64>().unwrap();
            let with_vectors = sigma_difference(solver.svd(a.clone()).unwrap().s, &expected);
            let alone = sigma_difference(solver.singular_values(a).unwrap(), &expected);
            println!("{name:<10} {:<20} sigma {with_vectors:.1e}, alone {alone:.1e}", case.name);
            let differences = [with_vectors, alone];
            assert!(differences.iter().all(|x| *x <= SIGMA_TOLERANCE), "{name} on {}: {differences:.2?}", case.name);
        }
    }
}

/// The largest `|Δσ_i| / σ_1` in the batch.
fn sigma_difference(found: Tensor<2>, expected: &[f64]) -> f64 {
    let [_, k] = found.dims();
    let found = found.try_into_vec_as::<f64>().unwrap();
    assert!(found.iter().all(|sigma| sigma.is_finite()), "{found:?}");
    let one = |(found, expected): (&[f64], &[f64])| {
        let largest = expected[0].max(f64::MIN_POSITIVE);
        found.iter().zip(expected).map(|(x, y)| (x - y).abs() / largest).fold(0.0, f64::max)
    };
    found.chunks(k).zip(expected.chunks(k)).map(one).fold(0.0, f64::max)
}

#[test]
fn a_known_spectrum_is_found() {
    let case = named("graded_to_1e-6");
    for Tested { name, solver, device, .. } in SOLVERS {
        let svd = solver.svd(case.tensor(SEED, &device())).unwrap();
        for (i, sigma) in svd.s.try_into_vec_as::<f64>().unwrap().iter().take(case.n).enumerate() {
            let expected = 10_f64.powf(-6.0 * i as f64 / (case.n - 1) as f64);
            assert!((sigma - expected).abs() <= SIGMA_TOLERANCE, "{name}: sigma {i} is {sigma}, not {expected}");
        }
    }
}

#[test]
fn a_batch_of_five_equals_five_batches_of_one() {
    for Tested { name, solver, device, .. } in SOLVERS {
        let a = named("square").tensor(SEED, &device());
        let together = solver.svd(a.clone()).unwrap();
        for index in 0..5 {
            let alone = solver.svd(a.clone().narrow(0, index, 1)).unwrap();
            let [expected, found] = [&bits(&together, index), &bits(&alone, 0)];
            assert!(expected == found, "{name}: matrix {index} depends on its batch");
        }
    }
}

#[test]
fn permuted_batches_give_permuted_results() {
    for Tested { name, solver, device, .. } in SOLVERS {
        let a = named("mixed_scales").tensor(SEED, &device());
        let straight = solver.svd(a.clone()).unwrap();
        let flipped = solver.svd(a.clone().flip([0])).unwrap();
        for index in 0..4 {
            assert!(bits(&straight, index) == bits(&flipped, 3 - index), "{name}: matrix {index} depends on its place");
        }
    }
}

#[test]
fn the_largest_entry_of_each_left_vector_is_positive() {
    for Tested { name, solver, device, .. } in SOLVERS {
        for case in cases::FINITE {
            let svd = solver.svd(case.tensor(SEED, &device())).unwrap();
            let columns = svd.u.swap_dims(1, 2).try_into_vec_as::<f32>().unwrap();
            for column in columns.chunks(case.m) {
                let magnitude = column.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                let first = column.iter().find(|value| value.abs() == magnitude);
                assert_eq!(first, Some(&magnitude), "{name} on {}", case.name);
            }
        }
    }
}

#[test]
fn factors_stay_on_the_device_and_carry_no_gradient() {
    for Tested { name, solver, device, .. } in SOLVERS {
        let a = named("tall").tensor(SEED, &device().autodiff()).require_grad();
        let svd = solver.svd(a.clone()).unwrap();
        assert_eq!([svd.u.device(), svd.s.device(), svd.vt.device()], [(); 3].map(|()| a.device()), "{name}");
        assert!(!svd.u.is_tracked() && !svd.s.is_tracked() && !svd.vt.is_tracked(), "{name} is not detached");
    }
}

#[test]
fn the_factors_multiply_back_to_the_matrix() {
    let a = named("wide").tensor(SEED, &Device::flex());
    let difference = HostSvd::default().svd(a.clone()).unwrap().reconstruct() - a.clone();
    let relative = (difference.abs().max() / a.abs().max()).into_scalar::<f32>();
    assert!(relative <= PRODUCT_TOLERANCE, "{relative:.1e}");
}

#[track_caller]
fn named(name: &str) -> &'static Case {
    cases::FINITE.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case is called {name}"))
}

/// The factors of one matrix, bit for bit.
fn bits(svd: &Svd, index: usize) -> Vec<u32> {
    let u = svd.u.clone().narrow(0, index, 1).try_into_vec_as::<f32>().unwrap();
    let s = svd.s.clone().narrow(0, index, 1).try_into_vec_as::<f32>().unwrap();
    let vt = svd.vt.clone().narrow(0, index, 1).try_into_vec_as::<f32>().unwrap();
    [u, s, vt].concat().into_iter().map(f32::to_bits).collect()
}
