//! Which kernels a piece of work launches.

use std::sync::{Arc, Mutex, PoisonError};

use cubecl::logging::{LaunchObservation, LaunchObserver};

#[derive(Default)]
struct Names(Mutex<Vec<&'static str>>);

impl Names {
    fn with<T>(&self, use_them: impl FnOnce(&mut Vec<&'static str>) -> T) -> T {
        use_them(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LaunchObserver for Names {
    fn launched(&self, kernel: &'static str) {
        self.with(|names| names.push(kernel));
    }
}

/// What `work` returns, and the name of every kernel that was launched on any GPU while it ran, in order.
///
/// Burn launches late: `work` has to read what it computes. Kernels that other threads launch meanwhile are among them,
/// and so are those that Burn tries out for a shape that it meets for the first time.
pub fn launched<T>(work: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    let names = Arc::new(Names::default());
    let watching = LaunchObservation::new(names.clone());
    let result = work();
    drop(watching);
    (result, names.with(std::mem::take))
}
