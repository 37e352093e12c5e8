//! What goes on, on the terminal: progress bars and notes on stderr, and Ctrl-C.

use std::cell::RefCell;
use std::ops::ControlFlow;

use indicatif::{HumanDuration, ProgressBar};
use t2_model::checkpoint::Loading;
use t2_model::decomposition::Progress;
use t2_rl::metrics::Step;
use t2_session::{Event, Session, Watch};

use crate::cli::Global;
use crate::output::Output;
use crate::{device, environment, interrupt};

/// Columns of the plot of rewards.
const PLOT_WIDTH: usize = 32;
/// Steps in a row that teach nothing before it is said beside the bar.
const IDLE_STEPS: usize = 3;

/// Watches a session for the user: shows what goes on, one progress bar at a time, and breaks off after Ctrl-C.
pub(crate) struct Terminal<'a> {
    out: &'a Output,
    shown: RefCell<Option<Shown>>,
}

/// The bar on the screen.
struct Shown {
    about: String,
    bar: ProgressBar,
    /// Mean rewards of a training run so far.
    rewards: Vec<f32>,
    /// Steps in a row that taught nothing.
    idle: usize,
}

impl<'a> Terminal<'a> {
    pub(crate) fn new(out: &'a Output) -> Self {
        Self { out, shown: RefCell::new(None) }
    }

    /// A session on the device and with the types that the global options name, shown here.
    pub(crate) fn session<'t>(&'t self, global: &Global) -> anyhow::Result<Session<'t>> {
        let (device, dtype) = device::of(global)?;
        let in_f32 = !dtype.is_none_or(|dtype| device::computes_in(&device, dtype));
        if let Some(dtype) = dtype.filter(|_| in_f32) {
            self.out.note(&format!(
                "the CPU does not compute in {0}: weights are rounded to it and kept in f32; --dtype f16 takes half of that",
                dtype.name()
            ));
        }
        let (sources, seed) = (environment::sources(), global.seed.unwrap_or(0));
        Ok(Session { device, dtype, in_f32, sources, seed, memory: None, watch: self })
    }

    /// Let `update` move the bar for `about`. If another bar is shown, or none, `make` makes this one first.
    fn show(&self, about: &str, make: impl FnOnce() -> ProgressBar, update: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown.borrow_mut();
        if shown.as_ref().is_none_or(|shown| shown.about != about) {
            if let Some(before) = shown.take() {
                before.bar.finish_and_clear();
            }
            *shown = Some(Shown { about: about.to_owned(), bar: make(), rewards: vec![], idle: 0 });
        }
        if let Some(shown) = shown.as_mut() {
            update(shown);
        }
    }

    fn done(&self) {
        if let Some(shown) = self.shown.borrow_mut().take() {
            shown.bar.finish_and_clear();
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.done();
    }
}

impl Watch for Terminal<'_> {
    fn see(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Note(text) => self.out.note(text),
            Event::Downloading { file, done, total } => {
                let make = || self.out.progress_bytes(total, file.to_owned());
                self.show(file, make, |shown| shown.bar.set_position(done));
            }
            Event::Loading(Loading { done, total }) => {
                let make = || self.out.progress_bytes(total as u64, "loading".to_owned());
                self.show("loading", make, |shown| shown.bar.set_position(done as u64));
                if done == total {
                    self.done();
                }
            }
            Event::Decomposing(progress) => self.decomposing(progress),
            Event::Exporting { done, total } => {
                self.show(
                    "writing",
                    || self.out.progress(total as u64, "writing"),
                    |shown| {
                        shown.bar.set_position(done as u64);
                    },
                );
                if done == total {
                    self.done();
                }
            }
            Event::Answering { what, done, total } => {
                let make = || {
                    let bar = self.out.progress(total as u64, what.to_owned());
                    // What an earlier run has answered says nothing about how long the rest takes.
                    bar.set_position(done as u64);
                    bar.reset_eta();
                    bar
                };
                self.show(what, make, |shown| shown.bar.set_position(done as u64));
                if done == total {
                    self.done();
                }
            }
            Event::Training { name, step, steps } => self.training(name, step, steps),
            _ => {}
        }
        interrupt::poll()
    }
}

impl Terminal<'_> {
    fn decomposing(&self, Progress { done, total, remaining }: Progress) {
        let make = || self.out.progress_without_estimate(total as u64, "decomposing");
        self.show("decomposing", make, |shown| {
            shown.bar.set_position(done as u64);
            shown.bar.set_prefix(remaining.map_or_else(String::new, |left| format!("{} left", HumanDuration(left))));
        });
        if done == total {
            self.done();
        }
    }

    /// Show the reward of the latest step and a small plot of all so far.
    fn training(&self, name: &str, step: Step<'_>, steps: usize) {
        let about = format!("training {name}");
        self.show(
            &about,
            || self.out.progress(steps as u64, about.clone()),
            |shown| {
                let metrics = step.metrics;
                shown.rewards.push(metrics.reward_mean);
                shown.idle = if metrics.grad_norm == 0.0 { shown.idle + 1 } else { 0 };
                let idle = if shown.idle >= IDLE_STEPS { ", learning nothing" } else { "" };
                shown.bar.set_position(metrics.step as u64);
                let entropy = metrics.entropy.map_or_else(String::new, |entropy| format!(" entropy {entropy:.2}"));
                let sparkline = sparkline(&shown.rewards);
                shown.bar.set_message(format!("reward {:+.2} {sparkline}{entropy}{idle}", metrics.reward_mean));
            },
        );
        if step.metrics.step == steps {
            self.done();
        }
    }
}

/// `values` as a row of block characters, the latest at the right; heights span the smallest to the largest value.
pub(crate) fn sparkline(values: &[f32]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let chunk = values.len().div_ceil(PLOT_WIDTH).max(1);
    let means: Vec<f32> = values.chunks(chunk).map(|chunk| chunk.iter().sum::<f32>() / chunk.len() as f32).collect();
    let low = means.iter().copied().fold(f32::INFINITY, f32::min);
    let high = means.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let height = |value: f32| if high > low { ((value - low) / (high - low) * 7.0).round() as usize } else { 0 };
    means.iter().map(|&mean| BARS[height(mean).min(7)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_spans_its_values() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[0.3, 0.3]), "▁▁");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[1.0; 320]).chars().count(), PLOT_WIDTH);
    }
}
