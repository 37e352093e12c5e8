//! A task over other tasks: to name the topic of a prompt.
//!
//! What is asked is [`topic_question`], as the first pass asks it. Prompts come from the train splits of the other tasks
//! alone, so that nothing which is reported was seen; they are split by the hash of their question.

use std::path::PathBuf;

use t2_chat::topic_question;

use super::spec::{DatasetSpec, Topic};
use super::{DatasetError, DatasetTask, shipped};
use crate::error::TaskError;
use crate::example::Example;
use crate::settings::Settings;
use crate::split::Split;
use crate::task::Task;

/// The topic of what is about nothing else; [`topic_question`] offers it by itself.
const OTHER: &str = "other";

/// Opens the tasks of `topics`, each as it is plainly asked.
pub(super) fn open(
    name: &str,
    topics: &[Topic],
    locate: &dyn Fn(&DatasetSpec) -> Result<PathBuf, TaskError>,
) -> Result<Vec<DatasetTask>, TaskError> {
    let open = |topic: &Topic| {
        let problem = |problem| DatasetError::Spec { name: name.into(), problem };
        let known =
            || problem(format!("`{}` is no shipped task; use one of {}", topic.task, shipped::names().join(", ")));
        let spec = shipped(&topic.task).ok_or_else(known)?;
        if !spec.topics.is_empty() {
            return Err(problem(format!("`{}` names topics itself; use a task with questions", topic.task)).into());
        }
        spec.open_with(locate, &Settings::default())
    };
    topics.iter().map(open).collect()
}

/// Prompts of every topic in turn, as many of one as of another.
pub(super) fn examples(topics: &[Topic], tasks: &[DatasetTask], split: Split) -> Result<Vec<Example>, TaskError> {
    let mut names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).filter(|name| *name != OTHER).collect();
    names.sort_unstable();
    names.dedup();
    let example = |topic: &Topic, task: &DatasetTask, example: &Example| {
        let prompt = task.prompt(example).pop().map_or_else(String::new, |message| message.content);
        Example {
            id: format!("{}/{}", topic.task, example.id),
            ..Example::new(topic_question(&names, &prompt), &topic.name)
        }
    };
    let mut of_topics = Vec::new();
    for (topic, task) in topics.iter().zip(tasks) {
        let train = task.examples(Split::Train)?;
        let of_split = train.iter().filter(|example| split.holds(&example.question));
        of_topics.push(of_split.map(|asked| example(topic, task, asked)).collect::<Vec<_>>());
    }
    let shortest = of_topics.iter().map(Vec::len).min().unwrap_or(0);
    let in_turn = (0..shortest).flat_map(|at| of_topics.iter().map(move |examples| examples[at].clone()));
    Ok(in_turn.collect())
}
