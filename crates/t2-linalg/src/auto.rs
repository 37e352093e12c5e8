//! The choice of a solver, by where matrices are.

use burn::prelude::*;

use crate::{Attempt, Demand, HostSvd, SvdError, SvdSolver};

/// cuSOLVER is asked where f32 is at most so many times as fast as f64: 2 on the GPUs of data centres, 32 or 64 on those
/// of consumers.
#[cfg(feature = "cusolver")]
const FAST_F64: usize = 4;

/// Decomposes matrices where it is fastest: those on a GPU there, if the crate was built with the feature `wgpu` or
/// `cuda`; all others on the CPU, with [`HostSvd`].
///
/// | matrices are on | solver |
/// | --- | --- |
/// | the CPU, or a GPU emulated in software, such as Mesa's llvmpipe | [`HostSvd`] |
/// | a GPU of NVIDIA's by CUDA, f32 at most 4 times as fast as f64, cuSOLVER found | `CusolverSvd` |
/// | any other GPU | `BlockJacobiSvd` |
///
/// docs/benchmarks.md has what was measured of them. If cuSOLVER fails, the batch is decomposed by `BlockJacobiSvd`, and
/// a warning is logged. Wherever it is computed, the decomposition is returned on the device of the matrices, and
/// [`Attempt::solver`] says who computed it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AutoSvd {
    /// Decomposes matrices that are not on a GPU.
    pub host: HostSvd,
    /// Decomposes matrices that are on a GPU, with the kernels of this crate.
    #[cfg(feature = "gpu")]
    pub gpu: crate::BlockJacobiSvd,
    /// Decomposes matrices that are on a GPU of NVIDIA's.
    #[cfg(feature = "cusolver")]
    pub cusolver: crate::CusolverSvd,
}

impl AutoSvd {
    /// The solver that is chosen for matrices on `device`.
    pub fn solver(&self, device: &Device) -> &dyn SvdSolver {
        #[cfg(feature = "cusolver")]
        if has_fast_cusolver(device) {
            return &self.cusolver;
        }
        #[cfg(feature = "gpu")]
        if crate::kernel::is_hardware(device) {
            return &self.gpu;
        }
        let _ = device;
        &self.host
    }

    /// What `work` makes of the solver for `a`; of the kernels if that is cuSOLVER and fails.
    fn ask<T>(&self, a: &Tensor<3>, work: impl Fn(&dyn SvdSolver) -> Result<T, SvdError>) -> Result<T, SvdError> {
        match work(self.solver(&a.device())) {
            #[cfg(feature = "cusolver")]
            Err(SvdError::Cusolver(error)) => {
                tracing::warn!(%error, shape = ?a.dims(), "cuSOLVER failed; BlockJacobiSvd decomposes these matrices");
                work(&self.gpu)
            }
            outcome => outcome,
        }
    }
}

/// Whether `device` computes in f64 fast enough for cuSOLVER, and has it. If only the libraries are missing, a warning
/// says so, once for each device.
#[cfg(feature = "cusolver")]
fn has_fast_cusolver(device: &Device) -> bool {
    use std::sync::{Mutex, PoisonError};

    // Asking takes as long as decomposing a small matrix, and the answer is always the same.
    static ASKED: Mutex<Vec<(Device, bool)>> = Mutex::new(Vec::new());
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = asked.iter().find(|(other, _)| other == device).map(|(_, is_fast)| *is_fast);
    known.unwrap_or_else(|| {
        let is_fast = crate::CusolverSvd::f32_over_f64(device).is_some_and(|ratio| ratio <= FAST_F64);
        let is_present = is_fast && crate::CusolverSvd::runs_on(device);
        if is_fast && !is_present {
            let error = crate::CusolverError::Absent;
            tracing::warn!(%error, "BlockJacobiSvd decomposes what cuSOLVER would in less time");
        }
        asked.push((device.clone(), is_present));
        is_present
    })
}

impl SvdSolver for AutoSvd {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        self.ask(&a, |solver| solver.svd_each(a.clone()))
    }

    fn demand(&self, dims: [usize; 2], device: &Device) -> Demand {
        self.solver(device).demand(dims, device)
    }

    fn singular_values(&self, a: Tensor<3>) -> Result<Tensor<2>, SvdError> {
        self.ask(&a, |solver| solver.singular_values(a.clone()))
    }
}
