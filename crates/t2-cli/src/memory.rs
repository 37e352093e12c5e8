//! The allocator, and how long it keeps what is not used.

use libmimalloc_sys::mi_option_set;
use mimalloc::MiMalloc;

use crate::environment;

/// Keeps the buffers of one operation for the next: the allocators of most systems give large ones back to the kernel, which
/// then clears every page anew.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`, which the bindings do not name: the order of options is part of mimalloc's interface.
const PURGE_DELAY: i32 = 15;

/// Milliseconds after which memory that is not used goes back to the kernel; ten times as long for large pieces. By itself
/// mimalloc waits for a hundredth of it, less than a step of learning takes.
const DELAY: i64 = 1000;

/// Keep memory from one step of learning or decoding to the next, unless `MIMALLOC_PURGE_DELAY` says for how long. To be
/// called before there are other threads.
pub(crate) fn keep() {
    if environment::says_how_long_memory_is_kept() {
        return;
    }
    #[expect(unsafe_code, reason = "a function of C that stores a number")]
    // SAFETY: the option is one of every version of mimalloc from 2 on, and no other thread reads it yet.
    unsafe {
        mi_option_set(PURGE_DELAY, DELAY);
    }
}
