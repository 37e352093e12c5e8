//! What a decoder computes, in one pass each and on all cores, for f32 tensors in main memory.
//!
//! Burn has these operations too, as chains of simple ones, each with a buffer of its own. What is here reads tensors
//! where they lie, vectorized by what the processor has ([pulp]): AVX-512, AVX2 or NEON, and plain code elsewhere.
//!
//! Every function is exact to rounding and says so in `tests/cpu.rs`, where Burn's chain is the reference. [`product`],
//! [`draw`] and [`log_probabilities`] take any tensors. [`attention`], [`rms_norm`], [`gated`] and [`rotated`] return `None` where they do not apply, on another device, in another type, or under
//! automatic differentiation, and the caller goes the general way.

mod attention;
mod draw;
mod exponential;
mod lanes;
mod memory;
mod multiply;
mod pointwise;
mod product;
mod team;

pub use attention::{Seen, attention};
pub use draw::{Draw, Drawn, draw, log_probabilities};
pub use pointwise::{Gate, gated, rms_norm, rotated};
pub use product::product;
pub use team::on_all_cores;
