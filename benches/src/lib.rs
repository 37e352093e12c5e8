//! What the benches in `benches/` and the measurements in `examples/` share.

pub mod decoding;
pub mod devices;
pub mod random;

/// The allocator of `t2`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
