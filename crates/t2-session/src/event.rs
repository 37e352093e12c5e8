//! What goes on while a session works, for whoever shows it.

use std::ops::ControlFlow;

use t2_model::checkpoint::Loading;
use t2_model::decomposition::Progress;
use t2_rl::metrics::Step;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Worth telling people in a sentence.
    Note(&'a str),
    /// A file comes in from the Hub. The last event of a file has `done` equal to `total`.
    Downloading {
        /// The file.
        file: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 while unknown.
        total: u64,
    },
    /// Weights go to the device. The last event has `done` equal to `total`.
    Loading(Loading),
    /// Weights are decomposed.
    Decomposing(Progress),
    /// A model is written for other programs. The last event has `done` equal to `total`.
    Exporting {
        /// Tensors written.
        done: usize,
        /// Tensors in all.
        total: usize,
    },
    /// Examples are answered. The last event has `done` equal to `total`.
    Answering {
        /// Who answers what.
        what: &'a str,
        /// Examples answered.
        done: usize,
        /// Examples in all.
        total: usize,
    },
    /// A step of a training run is done.
    Training {
        /// What the expert is called.
        name: &'a str,
        /// The step with its completions.
        step: Step<'a>,
        /// Steps in all.
        steps: usize,
    },
    /// Work goes on: a chance to break off.
    Tick,
}

/// Sees what goes on, and may break off long work, which then returns an error. What was decomposed, learned, downloaded,
/// or answered and kept by then is on disk.
pub trait Watch {
    /// Something happened.
    fn see(&self, event: Event<'_>) -> ControlFlow<()>;
}

/// Sees nothing and lets everything run to its end.
impl Watch for () {
    fn see(&self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: Fn(Event<'_>) -> ControlFlow<()>> Watch for F {
    fn see(&self, event: Event<'_>) -> ControlFlow<()> {
        self(event)
    }
}
