//! Ctrl-C: the first asks long loops to stop cleanly, the second ends the process.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::Context;

/// Exit code after Ctrl-C, as shells expect it: 128 + SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WAITING: AtomicBool = AtomicBool::new(false);

/// Listen for Ctrl-C (and SIGTERM).
pub(crate) fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if WAITING.load(SeqCst) || REQUESTED.swap(true, SeqCst) {
            crate::error::end(EXIT_CODE.into());
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// True after the first Ctrl-C.
pub(crate) fn requested() -> bool {
    REQUESTED.load(SeqCst)
}

/// `Break` after the first Ctrl-C: what the callbacks of long loops return.
pub(crate) fn poll() -> ControlFlow<()> {
    if requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Forget the first Ctrl-C: it stopped one answer of a chat.
pub(crate) fn reset() {
    REQUESTED.store(false, SeqCst);
}

/// Run `wait`, which waits for input. Ctrl-C ends the process meanwhile; so does one that came just before and was not
/// heeded.
pub(crate) fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    WAITING.store(true, SeqCst);
    if requested() {
        crate::error::end(EXIT_CODE.into());
    }
    let result = wait();
    WAITING.store(false, SeqCst);
    result
}
