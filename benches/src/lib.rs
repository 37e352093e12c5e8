//! What the benches in `benches/` and the measurements in `examples/` share.

pub mod devices;
pub mod mixtures;
pub mod random;
