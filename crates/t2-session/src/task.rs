//! Tasks, found by name with their data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use t2_task::dataset::{DatasetError, DatasetSpec, shipped};
use t2_task::sandbox::Walls;
use t2_task::{Settings, Task, TaskError};

use crate::error::SessionError;
use crate::session::Session;
use crate::source;

/// How a task is to be put; what is `None` is left to the task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskWishes {
    /// The way in which its questions are put.
    pub variant: Option<String>,
    /// Examples with their answers that go before every question.
    pub shots: Option<usize>,
    /// The folder with the files of data sets, itself or in a folder with the name of the task; from the Hub where there is
    /// none.
    pub data: Option<PathBuf>,
    /// What stands between generated programs and the machine. No file can take it away.
    #[serde(skip)]
    pub walls: Walls,
}

impl Session<'_> {
    /// The task called `name`: a generated one, a data set that ships with t2, or the path of a `.toml` file that describes
    /// one or of a `.jsonl` file of questions. The files of a data set are those in [`data`](TaskWishes::data), else those
    /// beside its description, else downloaded from the Hub.
    ///
    /// # Errors
    ///
    /// [`SessionError::Task`] when there is no such task, or its files are broken; [`SessionError::Source`] when they cannot
    /// be downloaded.
    pub fn task(&self, name: &str, wishes: &TaskWishes) -> Result<Box<dyn Task>, SessionError> {
        let TaskWishes { variant, shots, data, walls } = wishes.clone();
        let settings = Settings { variant, shots, seed: None, data: None, walls };
        let (spec, beside) = match shipped(name) {
            Some(spec) => (spec, None),
            None if name.ends_with(".toml") => {
                (DatasetSpec::read(name).map_err(TaskError::from)?, Path::new(name).parent())
            }
            None => {
                let task = t2_task::find(name, &settings)?;
                return refuse_others(&*task, wishes).map(|()| task);
            }
        };
        let locate = |spec: &DatasetSpec| {
            let found = self.data_of(spec, data.as_deref(), beside);
            found.map_err(|error| match error {
                SessionError::Task(error) => error,
                error => TaskError::Other(Box::new(error)),
            })
        };
        match spec.open_with(&locate, &settings) {
            Ok(task) => Ok(Box::new(task)),
            Err(TaskError::Other(error)) => Err(match error.downcast::<SessionError>() {
                Ok(error) => *error,
                Err(error) => TaskError::Other(error).into(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder that has the files of `spec`.
    fn data_of(&self, spec: &DatasetSpec, data: Option<&Path>, beside: Option<&Path>) -> Result<PathBuf, SessionError> {
        if let Some(data) = data {
            let own = data.join(&spec.name);
            if let Some(folder) = [own.as_path(), data].into_iter().find(|folder| spec.files.are_in(folder)) {
                return Ok(folder.to_owned());
            }
        }
        match (beside, &spec.hub) {
            (Some(beside), _) if spec.hub.is_none() || spec.files.are_in(beside) => Ok(beside.to_owned()),
            // Whoever names a folder means it: the error says what it lacks.
            (_, Some(_)) if data.is_some() => Ok(data.map(Path::to_owned).unwrap_or_default()),
            (_, Some(hub)) => {
                let id = spec.revision.as_ref().map_or_else(|| hub.clone(), |revision| format!("{hub}@{revision}"));
                Ok(source::dataset(&id, &spec.files.places(), &self.sources, self.watch)?)
            }
            (_, None) => Ok(data.or(beside).map(Path::to_owned).unwrap_or_default()),
        }
    }
}

/// Refuse a variant or examples for a task that is put in one way.
fn refuse_others(task: &dyn Task, wishes: &TaskWishes) -> Result<(), SessionError> {
    let variant = wishes.variant.as_deref().filter(|&variant| variant != task.variant());
    let shots = wishes.shots.filter(|&shots| shots != task.shots()).map(|shots| format!("{shots} examples first"));
    match variant.map(str::to_owned).or(shots) {
        None => Ok(()),
        Some(variant) => {
            let (name, known) = (task.name().to_owned(), task.variant().to_owned());
            Err(TaskError::from(DatasetError::NoVariant { name, variant, known }).into())
        }
    }
}
