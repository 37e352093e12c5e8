//! Cores that stay awake between two operations.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use rayon::{Scope, Yield};

/// How often a core looks for work in vain before it lets other programs go first.
const PATIENCE: usize = 1 << 12;

/// Runs `work`, which computes on `device`. Where that is the CPU, it runs on a thread of rayon's pool, and the others look
/// out for what it shares until it is done: to wake a core takes as long as a small product. Work of several threads at once
/// shares the cores, and the one may end only when a piece of the other does that a core has begun.
pub fn on_all_cores<T: Send>(device: &Device, work: impl FnOnce() -> T + Send) -> T {
    if !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return work();
    }
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let Some(_part) = Part::take() else { return work() };
        watch(scope, &done);
        let _done = Done(&done);
        work()
    })
}

/// All other threads of the pool look out for work until it is `done`.
fn watch<'a>(scope: &Scope<'a>, done: &'a AtomicBool) {
    for _ in 1..rayon::current_num_threads() {
        scope.spawn(|_| {
            let Some(_part) = Part::take() else { return };
            let mut in_vain = 0;
            while !done.load(Ordering::Acquire) {
                if rayon::yield_now() == Some(Yield::Executed) {
                    in_vain = 0;
                    continue;
                }
                in_vain += 1;
                std::hint::spin_loop();
                if in_vain % PATIENCE == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }
}

thread_local! {
    static TAKES_PART: Cell<bool> = const { Cell::new(false) };
}

/// The part that a thread takes in one piece of work. It takes one at a time: a thread that waited for the end of other
/// work inside its own might wait for itself.
struct Part;

impl Part {
    fn take() -> Option<Self> {
        // Not `then_some`, whose value would exist and be dropped, and so end the part that the thread takes already.
        (!TAKES_PART.replace(true)).then(|| Self)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        TAKES_PART.set(false);
    }
}

/// Says that the work is done, also when it panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    fn sum_on_all_cores(of: u64) -> u64 {
        let device = Device::flex();
        on_all_cores(&device, || (0..of).map(|_| (0..of).into_par_iter().sum::<u64>()).sum())
    }

    #[test]
    fn work_of_several_threads_and_work_inside_work_comes_to_an_end() {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| sum_on_all_cores(300))).collect();
            threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 300 * 300 * 299 / 2));
        });
        let inside: u64 = on_all_cores(&Device::flex(), || (0..4).into_par_iter().map(|_| sum_on_all_cores(100)).sum());
        assert_eq!(inside, 4 * 100 * 100 * 99 / 2);
    }

    #[test]
    fn a_thread_takes_one_part_at_a_time() {
        let part = Part::take();
        assert!(part.is_some() && Part::take().is_none() && Part::take().is_none());
        drop(part);
        assert!(Part::take().is_some());
    }

    #[test]
    fn a_panic_lets_the_other_cores_go() {
        let panics = || on_all_cores(&Device::flex(), || assert_eq!(1, 2));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(sum_on_all_cores(10), 450);
    }
}
