//! Training an expert: what a run file says, from the model to the graded expert.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use t2_model::adapter::{Active, Expert, ExpertInfo};
use t2_model::decoder::CausalLm;
use t2_model::decomposition::Targets;
use t2_model::files::write_atomically;
use t2_rl::metrics::{JsonLines, Step, StepMetrics};
use t2_rl::policy::Reinforce;
use t2_rl::train::{TrainConfig, TrainError, TrainInputs, train};
use t2_task::{AnswerBy, Split, TASKS, Task};

use crate::error::SessionError;
use crate::evaluate::{Examples, Graded, Samples, Subject, as_asked};
use crate::event::Event;
use crate::model::Model;
use crate::session::Session;
use crate::task::TaskWishes;

/// Training examples taken of a generated task, which has as many as one wants. Of a file all are taken.
const EXAMPLES: usize = 20_000;
/// Name of the finished expert in its run's folder.
const EXPERT: &str = "expert.safetensors";
/// Name of the accuracies of base and expert in a run's folder.
const EVAL: &str = "eval.json";

/// A training pipeline: what `runs/*.toml` hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The model: `tiny`, a folder, or an id of the Hub.
    pub model: String,
    /// The task to learn.
    pub task: String,
    /// How it is put.
    #[serde(default)]
    pub asked: TaskWishes,
    /// What the expert is called.
    pub name: String,
    /// The matrices it scales.
    #[serde(default = "all_targets")]
    pub targets: Targets,
    /// Examples of the test split to grade base and expert on afterwards; 0 for none.
    #[serde(default)]
    pub eval_limit: usize,
    /// The training itself.
    #[serde(default)]
    pub train: TrainConfig,
    /// The policy gradient.
    #[serde(default)]
    pub reinforce: Reinforce,
}

fn all_targets() -> Targets {
    Targets::ALL
}

impl Run {
    /// A run of `task` on `model` with the settings that everybody starts from, named after the task.
    pub fn new(model: impl Into<String>, task: impl Into<String>) -> Self {
        let task = task.into();
        // A file lends its name, not its path.
        let stem = Path::new(&task).file_stem().filter(|_| is_file(&task));
        let name = stem.map_or_else(|| task.clone(), |stem| stem.to_string_lossy().into_owned());
        Self {
            model: model.into(),
            task,
            asked: TaskWishes::default(),
            name,
            targets: Targets::ALL,
            eval_limit: 0,
            train: TrainConfig::default(),
            reinforce: Reinforce::default(),
        }
    }

    /// Read a run file. A model's folder and a file of questions are looked for beside it.
    ///
    /// # Errors
    ///
    /// [`SessionError::Read`] and [`SessionError::RunFile`].
    pub fn read(path: &Path) -> Result<Self, SessionError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| SessionError::Read { path: path.to_owned(), source })?;
        let mut run: Self = toml::from_str(&text)
            .map_err(|source| SessionError::RunFile { path: path.to_owned(), source: Box::new(source) })?;
        let beside = |name: &str| path.parent().unwrap_or(Path::new("")).join(name);
        let model = beside(&run.model);
        if Path::new(&run.model).is_relative() && model.is_dir() {
            run.model = model.to_string_lossy().into_owned();
        }
        if is_file(&run.task) {
            run.task = beside(&run.task).to_string_lossy().into_owned();
        }
        run.asked.data = run.asked.data.map(|data| beside(&data.to_string_lossy()));
        Ok(run)
    }
}

/// What a run made.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The expert.
    pub expert: Expert,
    /// Its file.
    pub path: PathBuf,
    /// The steps that were made now; those of an earlier, interrupted run are in `metrics.jsonl`.
    pub steps: Vec<StepMetrics>,
}

/// Whether a task is called by the path of its file.
fn is_file(task: &str) -> bool {
    task.ends_with(".jsonl") || task.ends_with(".toml")
}

impl Session<'_> {
    /// The first `limit` examples of a split of the task of `run`.
    fn examples(&self, run: &Run, split: Split, limit: usize) -> Result<Examples, SessionError> {
        Examples::load(self.task(&run.task, &run.asked)?, split, limit)
    }

    /// Train the expert of `run` on `model`, resuming what `dir` holds, and write it there.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for a task, a configuration or a folder that does not fit, and when the watcher broke off.
    pub fn train(&self, model: &Model, run: &Run, dir: &Path) -> Result<Trained, SessionError> {
        let is_generated = TASKS.iter().any(|task| task.name() == run.task);
        let limit = if is_generated { EXAMPLES } else { usize::MAX };
        let Examples { task, examples, .. } = self.examples(run, Split::Train, limit)?;
        let task = as_asked(&*task, model.tokenizer()?);
        if task.answering().by == AnswerBy::Likelihood {
            // Better said before the decomposition.
            return Err(TrainError::Weighed { task: task.name().to_owned() }.into());
        }
        if run.eval_limit > 0 {
            // Better refused now than when everything is learned.
            self.examples(run, Split::Test, 1)?;
        }
        run.reinforce.check()?;
        let decomposition = self.decompose(model, run.targets)?;
        let trainable = model.checkpoint.model.clone().trainable(&decomposition)?;
        let info = ExpertInfo {
            targets: run.targets,
            training: format!("task {}, {} steps, seed {}", run.task, run.train.steps, run.train.seed),
            ..ExpertInfo::for_model(&run.name, &trainable)
        };
        let inputs = TrainInputs {
            tokenizer: model.tokenizer()?,
            task: &*task,
            examples: &examples,
            stop: model.stop(),
            policy: &run.reinforce,
            info: &info,
            dir,
            keep_going: &|| self.keep_going(),
        };
        let mut steps: Vec<StepMetrics> = Vec::new();
        let show = |step: Step<'_>| {
            steps.push(step.metrics.clone());
            self.watch.see(Event::Training { name: &run.name, step, steps: run.train.steps })
        };
        let mut monitor = (JsonLines::new(dir.join("metrics.jsonl")), show);
        let expert = train(trainable, &run.train, inputs, &mut monitor)?;
        let path = dir.join(EXPERT);
        expert.save(&path)?;
        Ok(Trained { expert, path, steps })
    }

    /// Accuracy of base and expert on the held-out examples of `run`, into `eval.json` of `dir`.
    ///
    /// # Errors
    ///
    /// [`SessionError`] when the task cannot be read or graded, and when the watcher broke off.
    pub fn grade_run(
        &self,
        model: &Model,
        run: &Run,
        expert: &Expert,
        dir: &Path,
    ) -> Result<Vec<Graded>, SessionError> {
        let examples = self.examples(run, Split::Test, run.eval_limit)?;
        let adapted = expert.apply_to(self.attached(model, run.targets)?)?;
        let generate = model.greedy(run.train.max_new_tokens);
        let mut rows = Vec::new();
        for (name, active, hash) in [("base", Active::Base, None), (&run.name, Active::Own, Some(expert.hash()))] {
            let tokenizer = model.tokenizer()?;
            let subject = Subject { model: &adapted, tokenizer, active, name, hash, generate: &generate, repeats: 1 };
            let graded = self.plain(subject, &examples, name, &mut Samples::default())?;
            rows.push(Graded { expert: Some(name.to_owned()), ..graded });
        }
        let text = serde_json::to_string_pretty(&rows)?;
        write_atomically(&dir.join(EVAL), text.as_bytes())?;
        Ok(rows)
    }
}
