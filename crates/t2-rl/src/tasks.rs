//! The tasks that ship with the crate: one file each, listed in [`TASKS`](crate::task::TASKS).
//!
//! The tiny tasks are generated: a problem is a pure function of a seed, and the bundled model is pretrained on the
//! train splits of `math`, `code` and `reason` (see [`corpus`](crate::corpus)). Their `-hard` siblings ask for the
//! same skills in sentences that the corpus never contains.

pub mod classify;
pub mod code;
pub mod code_hard;
pub mod grade;
pub mod jsonl;
pub mod math;
pub mod math_hard;
pub mod problem;
pub mod reason;
pub mod reason_hard;

mod operations;
mod program;
mod sums;
pub(crate) mod words;
