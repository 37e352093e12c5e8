//! The choice between the host and the device.

use burn::prelude::*;

use crate::{Attempt, Demand, HostSvd, SvdError, SvdSolver};

/// Decomposes matrices where it is fastest: those on a GPU there, with `BlockJacobiSvd`, if the crate was built with
/// the feature `wgpu` or `cuda`; all others on the CPU, with [`HostSvd`].
///
/// Matrices on a GPU that is emulated in software, such as Mesa's llvmpipe, are decomposed by [`HostSvd`] too, which is
/// faster there. Wherever it is computed, the decomposition is returned on the device of the matrices.
#[derive(Clone, Copy, Debug, Default)]
pub struct AutoSvd {
    /// Decomposes matrices that are not on a GPU.
    pub host: HostSvd,
    /// Decomposes matrices that are on a GPU.
    #[cfg(feature = "gpu")]
    pub gpu: crate::BlockJacobiSvd,
}

impl AutoSvd {
    /// The solver that is chosen for matrices on `device`.
    pub fn solver(&self, device: &Device) -> &dyn SvdSolver {
        #[cfg(feature = "gpu")]
        if crate::kernel::is_hardware(device) {
            return &self.gpu;
        }
        let _ = device;
        &self.host
    }
}

impl SvdSolver for AutoSvd {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        self.solver(&a.device()).svd_each(a)
    }

    fn demand(&self, dims: [usize; 2], device: &Device) -> Demand {
        self.solver(device).demand(dims, device)
    }

    fn singular_values(&self, a: Tensor<3>) -> Result<Tensor<2>, SvdError> {
        self.solver(&a.device()).singular_values(a)
    }
}
