//! Tasks whose questions are files: a data set is described by TOML, not by code.
//!
//! A [`DatasetSpec`] says where the rows are, how a row becomes an [`Example`], and how that is asked and graded. Opened
//! on a folder it is a [`DatasetTask`]. [`SPECS`] are the descriptions that ship with the crate; `docs/tasks.md` is the
//! guide to writing one.
//!
//! Nothing here downloads: [`Files::places`] names the files that whoever does should fetch.

mod error;
mod fields;
mod files;
mod graded_by;
mod prompt;
mod rows;
mod shipped;
mod spec;
mod template;
mod text;
mod topics;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use t2_chat::Message;

pub use error::{DatasetError, Place};
pub use files::{FileSet, Files};
pub use shipped::{SPECS, shipped};
pub use spec::{DatasetSpec, Layout, Shot, TestsSpec, Topic, Variant};

use crate::error::TaskError;
use crate::example::Example;
use crate::grade::Grade;
use crate::sandbox::Walls;
use crate::settings::Settings;
use crate::split::Split;
use crate::task::{AnswerBy, Answering, Task};
use fields::RowTemplates;
use files::{Share, Source};
use graded_by::GradedBy;
use prompt::{PLAIN, Prompter};

/// A data set that can be asked and graded.
pub struct DatasetTask {
    spec: DatasetSpec,
    variant_name: String,
    variant: Variant,
    prompter: Prompter,
    graded_by: GradedBy,
    walls: Walls,
    origin: Origin,
    /// The examples of the splits that were asked for.
    loaded: Mutex<HashMap<Split, Arc<[Example]>>>,
}

/// Tokens after which an answer is cut off where a description says nothing.
const MAX_NEW_TOKENS: usize = 512;

/// Where examples come from.
enum Origin {
    Files { folder: PathBuf, templates: Box<RowTemplates> },
    Topics(Vec<DatasetTask>),
}

impl DatasetSpec {
    /// The task of the files below `folder`. A task over other tasks looks for the files of each in the folder with its
    /// name below `folder`.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] says what is wrong with the description, which variant does not exist, and, where examples are
    /// shown before a question, what is wrong with their file. Other files are read when they are asked for.
    pub fn open(&self, folder: &Path, settings: &Settings) -> Result<DatasetTask, TaskError> {
        let is_self = |spec: &Self| spec.name == self.name;
        self.open_with(&|spec| Ok(if is_self(spec) { folder.into() } else { folder.join(&spec.name) }), settings)
    }

    /// As [`DatasetSpec::open`], where `locate` says which folder has the files of a description.
    ///
    /// # Errors
    ///
    /// As [`DatasetSpec::open`], and what `locate` returns.
    pub fn open_with(
        &self,
        locate: &dyn Fn(&Self) -> Result<PathBuf, TaskError>,
        settings: &Settings,
    ) -> Result<DatasetTask, TaskError> {
        let problem = |problem| DatasetError::Spec { name: self.name.clone(), problem };
        let (variant_name, variant) = self.variant(settings)?;
        let origin = match &self.topics[..] {
            [] => Origin::Files { folder: locate(self)?, templates: RowTemplates::new(self).map_err(problem)?.into() },
            topics => Origin::Topics(topics::open(&self.name, topics, locate)?),
        };
        let mut task = DatasetTask {
            prompter: Prompter::new(self, &variant).map_err(problem)?,
            graded_by: GradedBy::find(variant.grader.as_ref().unwrap_or(&self.grader)).map_err(problem)?,
            walls: settings.walls,
            spec: self.clone(),
            variant_name,
            variant,
            origin,
            loaded: Mutex::default(),
        };
        if task.variant.shots > 0 {
            let shots = task.shown()?;
            task.prompter.show(task.variant.shots, shots);
        }
        Ok(task)
    }

    /// The variants by name, those that every task has among them.
    pub fn variants(&self) -> Vec<(String, Variant)> {
        prompt::variants(self).into_iter().collect()
    }

    fn variant(&self, settings: &Settings) -> Result<(String, Variant), DatasetError> {
        let mut variants = prompt::variants(self);
        let name = settings.variant.as_deref().unwrap_or(PLAIN);
        let Some(variant) = variants.remove(name) else {
            let known: Vec<&str> = variants.keys().map(String::as_str).collect();
            let (name, variant) = (self.name.clone(), name.into());
            return Err(DatasetError::NoVariant { name, variant, known: known.join(", ") });
        };
        let shots = settings.shots.unwrap_or(variant.shots);
        let seed = settings.seed.unwrap_or(variant.seed);
        Ok((name.into(), Variant { shots, seed, ..variant }))
    }
}

impl DatasetTask {
    /// What the task is described by.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// All examples of a split. They are read once.
    fn examples(&self, split: Split) -> Result<Arc<[Example]>, TaskError> {
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(&split).cloned();
        if let Some(examples) = known {
            return Ok(examples);
        }
        let examples: Arc<[Example]> = match &self.origin {
            Origin::Files { folder, templates } => self.read(folder, templates, split)?.into(),
            Origin::Topics(tasks) => topics::examples(&self.spec.topics, tasks, split)?.into(),
        };
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(split, examples.clone());
        Ok(examples)
    }

    fn read(&self, folder: &Path, templates: &RowTemplates, split: Split) -> Result<Vec<Example>, TaskError> {
        let files = &self.spec.files;
        // Files that are split by hash are read once, and may be gone when a split is asked for.
        if files.official().next().is_none() && split != Split::All {
            return self.hashed(split);
        }
        let sources = files.sources(&self.spec.name, split, folder)?;
        if split != Split::All && sources.iter().any(|source| source.share == Share::ByHash) {
            return self.hashed(split);
        }
        let examples = sources.iter().map(|source| self.read_source(source, templates, split));
        Ok(examples.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The part of all examples that belongs to `split` by the hash of the question.
    fn hashed(&self, split: Split) -> Result<Vec<Example>, TaskError> {
        let all = self.examples(Split::All)?;
        Ok(all.iter().filter(|example| split.holds(&example.question)).cloned().collect())
    }

    fn read_source(
        &self,
        source: &Source<'_>,
        templates: &RowTemplates,
        split: Split,
    ) -> Result<Vec<Example>, DatasetError> {
        let Source { files, paths, share } = source;
        let (mut examples, mut seen, mut place) = (Vec::new(), HashSet::new(), 0);
        for path in paths {
            for row in rows::read(path, files.rows.as_deref())? {
                let broken = |problem| DatasetError::Row { path: path.clone(), place: row.place, problem };
                let taken = files.filter.as_ref().map_or(Ok(true), |filter| templates.takes(filter, &row));
                if !taken.map_err(broken)? {
                    continue;
                }
                let example = templates.example(&row, place).map_err(broken)?;
                self.askable(&example).map_err(broken)?;
                place += 1;
                let repeated =
                    *share == Share::ByHash && !seen.insert((example.question.clone(), example.choices.clone()));
                if share.holds(split, &example.question) && !repeated {
                    examples.push(example);
                }
            }
        }
        Ok(examples)
    }

    /// Whether the example can be asked and graded.
    fn askable(&self, example: &Example) -> Result<(), String> {
        self.prompter.messages(example)?;
        self.prompter.continuations(example)?;
        self.graded_by.takes(example)
    }

    /// The same task, known to be one of programs alone, or of texts alone, where its rows are.
    pub(crate) fn sorted(mut self) -> Result<Self, TaskError> {
        let examples = self.examples(Split::All)?;
        match examples.iter().filter(|example| example.tests.is_some()).count() {
            0 => self.spec.tests = None,
            programs if programs == examples.len() => self.graded_by = GradedBy::Program,
            _ => {}
        }
        Ok(self)
    }

    /// What is shown before a question, and one example more, where there is one.
    fn shown(&self) -> Result<Vec<Example>, TaskError> {
        let asked = self.variant.shots;
        let written = |shot: &Shot| {
            let Shot { question, reference, choices } = shot.clone();
            Example { choices, ..Example::new(question, reference) }
        };
        let shots = match (&self.spec.files.shots, &self.origin) {
            _ if !self.spec.shots.is_empty() => self.spec.shots.iter().map(written).collect(),
            (Some(files), Origin::Files { folder, templates }) => self.set_apart(files, folder, templates)?,
            _ => match self.drawn(asked + 1) {
                Err(TaskError::Dataset(DatasetError::NoSplit { .. })) => vec![],
                drawn => drawn?,
            },
        };
        if shots.len() < asked {
            return Err(DatasetError::FewShots { name: self.spec.name.clone(), has: shots.len(), asked }.into());
        }
        Ok(shots.into_iter().take(asked + 1).collect())
    }

    /// What the data set sets apart to be shown, in its order.
    fn set_apart(
        &self,
        files: &FileSet,
        folder: &Path,
        templates: &RowTemplates,
    ) -> Result<Vec<Example>, DatasetError> {
        let source = Source { files, paths: files.found(folder), share: Share::Whole };
        if source.paths.is_empty() {
            let (name, split, wanted) = (self.spec.name.clone(), "shots".into(), files.paths.join(" or "));
            return Err(DatasetError::NoFile { name, split, folder: folder.into(), wanted });
        }
        self.read_source(&source, templates, Split::All)
    }

    /// Up to `count` examples of the train split, drawn by the seed: the same before every question, so that what a model
    /// computes for them can be kept.
    fn drawn(&self, count: usize) -> Result<Vec<Example>, TaskError> {
        let train = self.examples(Split::Train)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.variant.seed);
        let drawn = rand::seq::index::sample(&mut rng, train.len(), train.len().min(count));
        Ok(drawn.into_iter().map(|at| train[at].clone()).collect())
    }
}

impl Task for DatasetTask {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn about(&self) -> &str {
        &self.spec.about
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        Ok(self.examples(split)?.iter().take(limit).cloned().collect())
    }

    /// The conversation of the variant. An example of another task, which its templates do not fit, is asked as it is.
    fn prompt(&self, example: &Example) -> Vec<Message> {
        self.prompter.messages(example).unwrap_or_else(|_| vec![Message::user(&example.question)])
    }

    fn answering(&self) -> Answering {
        let Self { spec, variant, .. } = self;
        Answering {
            by: variant.answer.or(spec.answer).unwrap_or(AnswerBy::Text),
            stop: variant.stop.as_ref().unwrap_or(&spec.stop).clone(),
            max_new_tokens: variant.max_new_tokens.or(spec.max_new_tokens).unwrap_or(MAX_NEW_TOKENS),
        }
    }

    fn grader(&self) -> String {
        self.graded_by.versioned(self.answering().by == AnswerBy::Likelihood, self.spec.tests.is_some())
    }

    /// As the description says; a template that asks for more than there is makes of each choice what every task does.
    fn continuations(&self, example: &Example) -> Vec<String> {
        let plain = |_| example.choices.iter().map(|choice| format!(" {choice}")).collect();
        self.prompter.continuations(example).unwrap_or_else(plain)
    }

    fn variant(&self) -> &str {
        &self.variant_name
    }

    fn shots(&self) -> usize {
        self.variant.shots
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok(self.grade(graded)?.iter().map(|grade| grade.reward).collect())
    }

    fn grade(&self, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        self.graded_by.grade(self.walls, graded)
    }
}

impl fmt::Debug for DatasetTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetTask")
            .field("spec", &self.spec)
            .field("variant", &self.variant_name)
            .finish_non_exhaustive()
    }
}
