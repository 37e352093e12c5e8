//! What a decoder computes, in one pass each and on all cores, for f32 tensors in main memory.
//!
//! Burn has these operations too, as chains of simple ones, each with a buffer of its own. What is here reads tensors
//! where they lie, vectorized by what the processor has ([pulp]): AVX-512, AVX2 or NEON, and plain code elsewhere.
//!
//! Under automatic differentiation each has a way back of its own, to states and to the scales of [`factored`]. Where a
//! weight is to be trained, `None` is returned too.

mod attention;
mod backward;
mod draw;
mod exponential;
mod factored;
mod lanes;
mod likelihood;
mod memory;
mod multiply;
mod pointwise;
mod product;
mod team;

pub(crate) use attention::attention;
pub use draw::{Draw, Drawn};
pub(crate) use draw::{draw, log_probabilities};
pub(crate) use factored::factored;
pub use likelihood::Likelihood;
pub(crate) use likelihood::likelihood;
pub(crate) use pointwise::{gated, rms_norm, rotated};
pub(crate) use product::{product, products};
pub use team::on_all_cores;
