//! Criterion benches of the libraries live in `benches/`.
