//! Accuracy on tasks, plain or in two passes, with progress on the terminal.

use serde::Serialize;
use std::collections::BTreeMap;
use t2_dispatch::{Answer, ExpertPool, Labelled, ModelOracle, Query, Shot, Strategy, two_pass};
use t2_model::decoder::Decoder;
use t2_model::generate::GenerateConfig;
use t2_model::adapter::Active;
use t2_model::generate::Sampling;
use t2_model::text::Tokenizer;
use t2_rl::evaluate::{Accuracy, evaluate};
use t2_task::{Example, Split, Task};

use crate::interrupt;
use crate::output::Output;

/// Problems completed in one batch.
const BATCH: usize = 128;
/// Labelled examples for strategies that learn from them.
const SHOTS: usize = 64;

/// A model with what it takes to grade it.
#[derive(Clone, Copy)]
pub(crate) struct Grading<'a> {
    pub(crate) model: &'a Decoder,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) generate: &'a GenerateConfig,
    pub(crate) out: &'a Output,
}

/// A task and the problems of it to grade.
pub(crate) struct Problems {
    pub(crate) task: Box<dyn Task>,
    pub(crate) split: Split,
    pub(crate) examples: Vec<Example>,
}

/// Accuracy in two passes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dispatched {
    pub(crate) task: String,
    pub(crate) split: Split,
    #[serde(flatten)]
    pub(crate) accuracy: Accuracy,
    pub(crate) strategy: String,
    pub(crate) first_pass_secs: f64,
    pub(crate) second_pass_secs: f64,
    /// How often each expert, `base` or a mixture was chosen.
    pub(crate) choices: BTreeMap<String, usize>,
    /// Mean coefficients of the experts, by name.
    pub(crate) mixture: BTreeMap<String, f32>,
}

/// Greedy completions that end at `stop`, as accuracies are reported.
pub(crate) fn greedy(stop: &[u32], max_new_tokens: usize) -> GenerateConfig {
    GenerateConfig { max_new_tokens, sampling: Sampling::GREEDY, stop: stop.to_vec() }
}

impl Problems {
    pub(crate) fn load(task: &str, split: Split, limit: usize) -> anyhow::Result<Self> {
        let task = t2_task::find(task)?;
        let examples = task.load(split, limit)?;
        if examples.is_empty() {
            anyhow::bail!("task {} has no problems in its {split} split; choose another split", task.name());
        }
        Ok(Self { task, split, examples })
    }
}

impl Grading<'_> {
    /// Accuracy under `mix`.
    pub(crate) fn plain(&self, problems: &Problems, active: Active<'_>, what: &str) -> anyhow::Result<Accuracy> {
        let bar = self.out.progress(problems.examples.len() as u64, what.to_owned());
        let progress = |done| {
            bar.set_position(done as u64);
            interrupt::poll()
        };
        let subject = (&*problems.task, problems.examples.as_slice());
        let done = evaluate(self.model, self.tokenizer, subject, (active, self.generate, BATCH), progress);
        bar.finish_and_clear();
        let done = done?;
        if done.rewards.len() < problems.examples.len() {
            anyhow::bail!("interrupted after {} of {} problems", done.rewards.len(), problems.examples.len());
        }
        Ok(done.accuracy())
    }

    /// Accuracy with a first pass that chooses among the experts of `pool`.
    pub(crate) fn dispatched(
        &self,
        problems: &Problems,
        pool: &ExpertPool,
        strategy: &mut dyn Strategy,
    ) -> anyhow::Result<Dispatched> {
        let Problems { task, examples, .. } = problems;
        let shots = task.load(Split::Train, SHOTS)?;
        let labelled: Vec<Shot> =
            shots.iter().map(|shot| Shot { prompt: task.prompt(shot), answer: shot.answer.clone() }).collect();
        let grade = |graded: &[(usize, &str)]| {
            let graded: Vec<(&Example, &str)> = graded.iter().map(|&(i, text)| (&shots[i], text)).collect();
            Ok(task.rewards(&graded)?)
        };
        let mut oracle = self.oracle(pool, Some(Labelled { shots: &labelled, grade: &grade }));
        let queries: Vec<Query> =
            examples.iter().map(|example| Query { prompt: task.prompt(example), seed: 0 }).collect();
        let bar = self.out.progress(0, format!("{}: {}", strategy.name(), task.name()));
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        let passes = two_pass(strategy, &queries, &mut oracle, |_, _| interrupt::poll());
        bar.finish_and_clear();
        let passes = passes?;
        if interrupt::requested() {
            anyhow::bail!("interrupted while answering {}", task.name());
        }
        let graded: Vec<(&Example, &str)> =
            examples.iter().zip(passes.answers.iter().map(|a| a.text.as_str())).collect();
        Ok(Dispatched {
            task: task.name().to_owned(),
            split: problems.split,
            accuracy: Accuracy::of(&task.rewards(&graded)?),
            strategy: strategy.name().to_owned(),
            first_pass_secs: passes.first_pass_secs,
            second_pass_secs: passes.second_pass_secs,
            choices: count_choices(&passes.answers),
            mixture: mean_mixture(&passes.answers, pool),
        })
    }

    /// The oracle of this model over `pool`.
    pub(crate) fn oracle<'a>(
        &'a self,
        pool: &'a ExpertPool,
        labelled: Option<Labelled<'a>>,
    ) -> ModelOracle<'a, Decoder> {
        ModelOracle {
            model: self.model,
            tokenizer: self.tokenizer,
            pool,
            generate: self.generate.clone(),
            max_rows: BATCH,
            labelled,
        }
    }
}

fn count_choices(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.choice.label.clone()).or_default() += 1;
    }
    counts
}

fn mean_mixture(answers: &[Answer], pool: &ExpertPool) -> BTreeMap<String, f32> {
    let share = |index: usize| {
        let sum: f32 = answers.iter().map(|answer| answer.choice.mixture.mean()[index]).sum();
        sum / answers.len().max(1) as f32
    };
    pool.names().iter().enumerate().map(|(index, name)| ((*name).to_owned(), share(index))).collect()
}

/// `71.4 ± 1.4`, in percent.
pub(crate) fn percent(accuracy: &Accuracy) -> String {
    format!("{:.1} ± {:.1}", 100.0 * accuracy.accuracy, 100.0 * accuracy.stderr)
}
