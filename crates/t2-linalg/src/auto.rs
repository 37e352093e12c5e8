//! The choice between the host and the device.

use burn::prelude::*;

use crate::{Attempt, Demand, HostSvd, SvdError, SvdSolver};

/// Decomposes where it is fastest: on a GPU with `BlockJacobiSvd`, if the crate was built with its kernels, and on the CPU with [`HostSvd`] everywhere else.
///
/// A GPU made of software, such as Mesa's llvmpipe, counts as the CPU it runs on: faer is faster there.
#[derive(Clone, Copy, Debug, Default)]
pub struct AutoSvd {
    /// The solver for the CPU.
    pub host: HostSvd,
    /// The solver for GPUs.
    #[cfg(feature = "gpu")]
    pub gpu: crate::BlockJacobiSvd,
}

impl AutoSvd {
    /// The solver for matrices that are on `device`.
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
