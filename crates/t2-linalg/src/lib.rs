#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod batch;
pub mod cases;
mod host;
mod jacobi;
pub mod quality;
mod svd;

pub use host::HostSvd;
pub use jacobi::JacobiSvd;
pub use svd::{Svd, SvdError, SvdSolver};
