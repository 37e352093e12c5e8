//! What a task is: examples, how to ask them, how to reward an answer.
//!
//! A task is text only: it knows no tokens and no tensors. To add one, write a file and add a line to [`TASKS`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use t2_chat::Message;

use crate::dataset::{self, DatasetError, DatasetSpec, SPECS};
use crate::error::TaskError;
use crate::example::Example;
use crate::grade::{self, Grade};
use crate::jsonl;
use crate::sandbox::Walls;
use crate::settings::Settings;
use crate::split::Split;
use crate::tiny;

/// The reward of a right answer.
pub const RIGHT: f32 = 1.0;
/// The reward of a wrong answer.
pub const WRONG: f32 = -1.0;

/// Every task that ships with the crate, in the order in which help texts list them.
pub const TASKS: &[&dyn Task] = tiny::TASKS;

/// The reward of a verdict: [`RIGHT`] or [`WRONG`].
pub fn reward(right: bool) -> f32 {
    if right { RIGHT } else { WRONG }
}

/// The task called `name`: a generated one, a data set that ships with the crate, or the path of a `.toml` file that
/// describes one or of a `.jsonl` file of questions.
///
/// # Errors
///
/// [`TaskError::Unknown`] lists the known names; [`TaskError::Dataset`] says what is wrong with a description, a file or
/// a setting.
pub fn find(name: &str, settings: &Settings) -> Result<Box<dyn Task>, TaskError> {
    if name.ends_with(".jsonl") {
        return Ok(Box::new(jsonl::open(name, settings)?));
    }
    if let Some(task) = TASKS.iter().find(|task| task.name() == name) {
        return Ok(task.within(settings.walls).unwrap_or_else(|| Box::new(*task)));
    }
    let Some((spec, beside)) = described(name)? else {
        return Err(TaskError::Unknown { name: name.into(), known: known_names() });
    };
    let folder = settings
        .data
        .clone()
        .or(beside)
        .ok_or_else(|| DatasetError::NoFolder { name: name.into(), hub: spec.hub.clone().unwrap_or_default() })?;
    Ok(Box::new(spec.open(&folder, settings)?))
}

/// The description that `name` is the path or the shipped name of, and the folder that it is in.
fn described(name: &str) -> Result<Option<(DatasetSpec, Option<PathBuf>)>, TaskError> {
    if name.ends_with(".toml") {
        let beside = Path::new(name).parent().map(Path::to_path_buf);
        return Ok(Some((DatasetSpec::read(name)?, beside)));
    }
    Ok(dataset::shipped(name).map(|spec| (spec, None)))
}

fn known_names() -> String {
    let names = TASKS.iter().map(Task::name).chain(SPECS.iter().map(|(name, _)| *name));
    names.collect::<Vec<_>>().join(", ")
}

/// Questions with rewards for their answers.
pub trait Task: Send + Sync {
    /// The name on the command line.
    fn name(&self) -> &str;

    /// One line for `--help` and the docs; empty unless a task says something.
    fn about(&self) -> &str {
        ""
    }

    /// The first `limit` examples of a split, always in the same order; fewer when the split has fewer.
    ///
    /// # Errors
    ///
    /// Says which file or line could not be read.
    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError>;

    /// The conversation that asks `example`: one user turn with the question unless a task says otherwise.
    fn prompt(&self, example: &Example) -> Vec<Message> {
        vec![Message::user(&example.question)]
    }

    /// How an answer is got from a model: what ends it, and how long it may be.
    fn answering(&self) -> Answering {
        Answering::default()
    }

    /// How the questions are put, where a task knows several ways.
    fn variant(&self) -> &str {
        "plain"
    }

    /// Examples with their answers that go before every question.
    fn shots(&self) -> usize {
        0
    }

    /// The same task with other walls around the programs that it runs; `None` for a task that runs none.
    fn within(&self, walls: Walls) -> Option<Box<dyn Task>> {
        let _ = walls;
        None
    }

    /// The grader and its version, such as `gsm8k@1`: kept with every sample, so that verdicts of different rules are not
    /// taken for one another.
    fn grader(&self) -> String {
        "own@1".to_owned()
    }

    /// What the grader takes for the answer in `completion`; `None` when it finds none, or judges the whole text. It is
    /// kept with every sample, so that a verdict can be understood.
    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        let _ = (example, completion);
        None
    }

    /// One reward per completion: [`RIGHT`] or [`WRONG`].
    ///
    /// A batch, because programs are run many at a time.
    ///
    /// # Errors
    ///
    /// Where programs are graded, [`TaskError::Sandbox`] when they cannot be run as they should be.
    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError>;

    /// What the grader says of each completion: its rewards, with what led to them.
    ///
    /// # Errors
    ///
    /// As [`rewards`](Self::rewards).
    fn grade(&self, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        let extracted = |at| graded.get(at).and_then(|&(example, completion)| self.extract(example, completion));
        let grade = |(at, reward)| Grade { extracted: extracted(at), ..Grade::of_reward(reward) };
        Ok(self.rewards(graded)?.into_iter().enumerate().map(grade).collect())
    }

    /// What the grader says of a model that gives the continuations of `example` these log-likelihoods, in nats: whether it
    /// finds the right choice most likely, and most likely for its length.
    fn grade_weights(&self, example: &Example, weights: &[f32]) -> Grade {
        let weights: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
        grade::likelihood(&example.reference, &example.choices, &weights)
    }

    /// What a model weighs as the answer to `example`, where [`answering`](Self::answering) says so: the choices, each
    /// with the space that stands between a prompt and what follows it.
    fn continuations(&self, example: &Example) -> Vec<String> {
        example.choices.iter().map(|choice| format!(" {choice}")).collect()
    }
}

/// A task whose conversations are laid out as one text, for models that only continue texts: the system message, then each
/// question with its answer behind a space, an empty line between them, as the lm-evaluation-harness lays examples out.
#[derive(Clone, Copy)]
pub struct AsText<'a>(pub &'a dyn Task);

impl Task for AsText<'_> {
    fn prompt(&self, example: &Example) -> Vec<Message> {
        let messages = self.0.prompt(example);
        let mut text = String::new();
        for (at, Message { role, content }) in messages.iter().enumerate() {
            if role == "assistant" {
                text.push(' ');
            } else if at > 0 && !text.ends_with("\n\n") {
                text.push_str("\n\n");
            }
            text.push_str(content);
        }
        vec![Message::user(text)]
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn about(&self) -> &str {
        self.0.about()
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        self.0.load(split, limit)
    }

    fn answering(&self) -> Answering {
        self.0.answering()
    }

    fn variant(&self) -> &str {
        self.0.variant()
    }

    fn shots(&self) -> usize {
        self.0.shots()
    }

    fn grader(&self) -> String {
        self.0.grader()
    }

    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        self.0.extract(example, completion)
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        self.0.rewards(graded)
    }

    fn grade(&self, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        self.0.grade(graded)
    }

    fn grade_weights(&self, example: &Example, weights: &[f32]) -> Grade {
        self.0.grade_weights(example, weights)
    }

    fn continuations(&self, example: &Example) -> Vec<String> {
        self.0.continuations(example)
    }
}

/// How an answer is got from a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    /// What the model does.
    pub by: AnswerBy,
    /// Strings that end an answer; they are no part of it.
    pub stop: Vec<String>,
    /// Most tokens of an answer, unless who asks says otherwise.
    pub max_new_tokens: usize,
}

impl Default for Answering {
    /// The model writes at most 80 tokens, as many as the bundled tasks take.
    fn default() -> Self {
        Self { by: AnswerBy::Text, stop: vec![], max_new_tokens: 80 }
    }
}

/// What a model does to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerBy {
    /// It writes a text, which is graded.
    Text,
    /// It weighs [continuations](Task::continuations) by their likelihood after the prompt.
    Likelihood,
}

impl Task for &dyn Task {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn about(&self) -> &str {
        (**self).about()
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        (**self).load(split, limit)
    }

    fn prompt(&self, example: &Example) -> Vec<Message> {
        (**self).prompt(example)
    }

    fn answering(&self) -> Answering {
        (**self).answering()
    }

    fn variant(&self) -> &str {
        (**self).variant()
    }

    fn shots(&self) -> usize {
        (**self).shots()
    }

    fn within(&self, walls: Walls) -> Option<Box<dyn Task>> {
        (**self).within(walls)
    }

    fn grader(&self) -> String {
        (**self).grader()
    }

    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        (**self).extract(example, completion)
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        (**self).rewards(graded)
    }

    fn grade(&self, graded: &[(&Example, &str)]) -> Result<Vec<Grade>, TaskError> {
        (**self).grade(graded)
    }

    fn grade_weights(&self, example: &Example, weights: &[f32]) -> Grade {
        (**self).grade_weights(example, weights)
    }

    fn continuations(&self, example: &Example) -> Vec<String> {
        (**self).continuations(example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question after two that are answered.
    struct Shown;

    impl Task for Shown {
        fn name(&self) -> &str {
            "shown"
        }

        fn load(&self, _: Split, _: usize) -> Result<Vec<Example>, TaskError> {
            Ok(vec![])
        }

        fn prompt(&self, example: &Example) -> Vec<Message> {
            let turn = |question: &str, answer: &str| [Message::user(question), Message::assistant(answer)];
            let mut prompt = vec![Message::system("Be brief.\n\n")];
            prompt.extend(turn("1 + 1?", "2").into_iter().chain(turn("1 + 2?", "3")));
            prompt.push(Message::user(&example.question));
            prompt
        }

        fn rewards(&self, _: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
            Ok(vec![])
        }
    }

    #[test]
    fn a_conversation_as_one_text_holds_every_turn() {
        let prompt = AsText(&Shown).prompt(&Example::new("2 + 2?", "4"));
        assert_eq!(prompt, [Message::user("Be brief.\n\n1 + 1? 2\n\n1 + 2? 3\n\n2 + 2?")]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = find("gsm", &Settings::default()).err().unwrap().to_string();
        assert!(error.contains("`gsm`"), "{error}");
        for task in TASKS {
            assert!(error.contains(task.name()), "{error}");
            assert_eq!(find(task.name(), &Settings::default()).unwrap().name(), task.name());
        }
        assert!(SPECS.iter().all(|(name, _)| error.contains(name)), "{error}");
    }

    #[test]
    fn a_data_set_is_found_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [rows, toml] = ["test.jsonl", "mine.toml"].map(|name| folder.path().join(name));
        std::fs::write(&rows, "{\"question\": \"2 + 2?\", \"answer\": \"#### 4\"}").unwrap();
        std::fs::write(&toml, "like = 'gsm8k'\nname = 'mine'\n[files]\ntest = 'test.jsonl'").unwrap();
        let data = Settings { data: Some(folder.path().into()), ..Settings::default() };
        let [toml, rows] = [&toml, &rows].map(|path| path.to_str().unwrap());
        for (name, settings) in [("gsm8k", data), (toml, Settings::default()), (rows, Settings::default())] {
            let task = find(name, &settings).unwrap();
            assert_eq!(task.load(Split::All, 9).unwrap()[0].question, "2 + 2?", "{name}");
        }
        let error = find("gsm8k", &Settings::default()).err().unwrap().to_string();
        assert!(error.contains("openai/gsm8k") && error.contains("folder"), "{error}");
    }
}
