//! What is computed in one pass beside what is obvious: Burn's chain of operations, or loops in f64.

#[cfg(test)]
mod backward;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod cpu;
#[cfg(test)]
mod draw;
#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod gpu;
