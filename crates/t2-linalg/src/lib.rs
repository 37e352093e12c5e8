#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod auto;
mod batch;
#[cfg(feature = "gpu")]
mod block_jacobi;
pub mod cases;
mod host;
mod jacobi;
#[cfg(feature = "gpu")]
mod kernel;
pub mod quality;
mod svd;

pub use auto::AutoSvd;
#[cfg(feature = "gpu")]
pub use block_jacobi::BlockJacobiSvd;
pub use host::HostSvd;
pub use jacobi::JacobiSvd;
pub use svd::{Attempt, Demand, Svd, SvdError, SvdSolver};
