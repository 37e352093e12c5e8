#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod auto;
mod batch;
#[cfg(feature = "gpu")]
mod block_jacobi;
pub mod cases;
mod cpu;
#[cfg(feature = "cusolver")]
mod cusolver;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(not(feature = "gpu"))]
#[path = "gpu/absent.rs"]
mod gpu;
mod host;
mod jacobi;
#[cfg(feature = "gpu")]
mod kernel;
pub mod ops;
pub mod quality;
mod svd;
mod truncation;

pub use auto::AutoSvd;
#[cfg(feature = "gpu")]
pub use block_jacobi::{BlockJacobiSvd, Tuning};
/// Burn as this crate uses it. Take tensors and devices from here, and they are those of the version it was built with.
pub use burn;
#[cfg(feature = "cusolver")]
pub use cusolver::{CusolverError, CusolverSvd};
#[cfg(feature = "gpu")]
pub use gpu::launched;
pub use host::HostSvd;
pub use jacobi::JacobiSvd;
pub use quality::Quality;
pub use svd::{Attempt, Demand, Svd, SvdError, SvdSolver};
