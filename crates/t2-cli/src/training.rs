//! Training an expert with a live view on the terminal.

use std::path::Path;

use burn::module::Module;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use t2_model::decomposition::Targets;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_rl::metrics::StepMetrics;
use t2_task::Split;
use t2_rl::train::{Setting, TrainConfig, train};

use crate::adapt::decompose;
use crate::commands::generate::tokenizer;
use crate::grading::Problems;
use crate::interrupt;
use crate::model::LoadedModel;
use crate::output::Output;

/// How `z` enters a weight, as expert files say it.
const PARAMETRIZATION: &str = "scale";
/// Training problems drawn from a task without end.
const PROBLEMS: usize = 20_000;
/// Columns of the reward plot.
const PLOT_WIDTH: usize = 32;

/// A training pipeline: what `runs/*.toml` hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// MODEL, as on the command line.
    pub(crate) model: String,
    /// The task to learn.
    pub(crate) task: String,
    /// What the expert is called.
    pub(crate) name: String,
    /// The matrices it scales.
    #[serde(default = "all_targets")]
    pub(crate) targets: String,
    /// Held-out problems to grade base and expert on afterwards; 0 for none.
    #[serde(default)]
    pub(crate) eval_limit: usize,
    /// The training itself.
    #[serde(default)]
    pub(crate) train: TrainConfig,
}

fn all_targets() -> String {
    Targets::ALL.to_string()
}

/// Train the expert of `run` on `model`, resuming what `dir` holds. Returns it with the metrics of the steps made now.
pub(crate) fn train_expert(
    model: &LoadedModel,
    run: &Run,
    dir: &Path,
    out: &Output,
) -> anyhow::Result<(Expert, Vec<StepMetrics>)> {
    let targets: Targets = run.targets.parse()?;
    let Problems { task, examples, .. } = Problems::load(&run.task, Split::Train, PROBLEMS)?;
    let decomposition = decompose(model, targets, out)?;
    let device = model.device.clone().autodiff();
    let adapted = model.checkpoint.model.clone().train().to_device(&device).apply_reparameterization(&decomposition);
    let info = ExpertInfo {
        name: run.name.clone(),
        base_model: model.checkpoint.hash.to_string(),
        targets: targets.to_string(),
        parametrization: PARAMETRIZATION.to_owned(),
        training: format!("task {}, {} steps, seed {}", run.task, run.train.steps, run.train.seed),
    };
    let setting = Setting {
        tokenizer: tokenizer(model)?,
        task: &*task,
        problems: &examples,
        stop: &model.checkpoint.generation.eos,
        info: &info,
        dir,
    };
    let bar = out.progress(run.train.steps as u64, format!("training {}", run.name));
    let mut steps: Vec<StepMetrics> = Vec::new();
    let expert = train(adapted, &run.train, setting, |metrics| {
        steps.push(metrics.clone());
        show(&bar, &steps);
        interrupt::poll()
    });
    bar.finish_and_clear();
    Ok((expert?, steps))
}

/// The reward of late and its course.
fn show(bar: &ProgressBar, steps: &[StepMetrics]) {
    let Some(last) = steps.last() else { return };
    bar.set_position(last.step as u64);
    let rewards: Vec<f32> = steps.iter().map(|step| step.reward_mean).collect();
    bar.set_message(format!("reward {:+.2} {} entropy {:.2}", last.reward_mean, sparkline(&rewards), last.entropy));
}

/// `values` as bars of eighths, the latest at the right, from their smallest to their largest.
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
