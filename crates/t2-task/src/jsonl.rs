//! Questions from a file, one JSON object a line.
//!
//! ```json
//! {"question": "Tom has 4 apples and buys 3 more. How many does he have?", "answer": "4 + 3 = 7. #### 7"}
//! {"question": "Write f(x) to add 3 to x.", "answer": "def f(x): return x + 3", "checks": ["assert f(1) == 4"]}
//! ```
//!
//! A question with `checks` is answered by a Python program that is run against them; any other is graded by its final
//! answer, see [`same_final_answer`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::task::{Example, Split, Task, TaskError};
use crate::tiny::code;
use crate::grade::same_final_answer;
use crate::task::reward;

/// The questions of one file, split by the hash of the question.
#[derive(Clone, Debug)]
pub struct JsonlTask {
    name: String,
    examples: Vec<Example>,
}

impl JsonlTask {
    /// Reads all questions of a file. Empty lines are passed over, and so are repeated questions.
    ///
    /// # Errors
    ///
    /// [`TaskError::Read`] for the file, [`TaskError::Line`] for the first broken line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TaskError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| TaskError::Read { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, TaskError> {
        let mut seen = HashSet::new();
        let mut examples = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let example = parse_line(line).map_err(|problem| TaskError::Line {
                path: PathBuf::from(path),
                line: at + 1,
                problem,
            })?;
            if seen.insert(example.question.clone()) {
                examples.push(example);
            }
        }
        Ok(Self { name: path.display().to_string(), examples })
    }
}

fn parse_line(line: &str) -> Result<Example, String> {
    let example: Example = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match (example.question.trim(), example.answer.trim()) {
        ("", _) => Err("the question is empty".into()),
        (_, "") => Err("the answer is empty".into()),
        _ => Ok(example),
    }
}

impl Task for JsonlTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        "questions and answers from a .jsonl file, graded by the final answer or by asserts"
    }

    fn load(&self, split: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        let of_split = self.examples.iter().filter(|example| split.holds(&example.question));
        Ok(of_split.take(limit).cloned().collect())
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        let programs: Vec<_> = graded.iter().copied().filter(|(example, _)| !example.checks.is_empty()).collect();
        let mut run = code::rewards(&programs)?.into_iter();
        let rewards = graded.iter().map(|(example, completion)| match example.checks.is_empty() {
            true => reward(same_final_answer(&example.answer, completion)),
            false => run.next().expect("every program got a reward"),
        });
        Ok(rewards.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::tests::python_is_missing;
    use crate::task::{RIGHT, WRONG};

    #[test]
    fn lines_are_split_and_graded() {
        let text: String =
            (0..400).map(|n| format!("{{\"question\": \"{n} + 1?\", \"answer\": \"{}\"}}\n", n + 1)).collect();
        let task = JsonlTask::parse(Path::new("sums.jsonl"), &text).unwrap();
        let sizes = [Split::Train, Split::Valid, Split::Test].map(|split| task.load(split, 1000).unwrap().len());
        assert_eq!(sizes.iter().sum::<usize>(), 400);
        assert!(sizes[0] > 300 && sizes[1] > 5 && sizes[2] > 20, "{sizes:?}");
        let examples = task.load(Split::Train, 2).unwrap();
        let rewards = task.rewards(&[(&examples[0], &examples[0].answer), (&examples[1], "no idea")]).unwrap();
        assert_eq!(rewards, [RIGHT, WRONG]);
    }

    #[test]
    fn lines_with_checks_are_run() {
        if python_is_missing() {
            return;
        }
        let line = r#"{"question": "f?", "answer": "def f(x): return x", "checks": ["assert f(2) == 2"]}"#;
        let task =
            JsonlTask::parse(Path::new("f.jsonl"), &format!("{line}\n{{\"question\": \"2?\", \"answer\": \"2\"}}"))
                .unwrap();
        let [program, number] = &task.examples[..] else { panic!("{:?}", task.examples) };
        let graded = [(number, "2"), (program, "def f(x): return x"), (number, "3"), (program, "def f(x): return 3")];
        assert_eq!(task.rewards(&graded).unwrap(), [RIGHT, RIGHT, WRONG, WRONG]);
    }

    #[test]
    fn a_broken_line_is_named() {
        #[track_caller]
        fn check(line: &str, problem: &str) {
            let text = format!("{{\"question\": \"1?\", \"answer\": \"1\"}}\n\n{line}\n");
            let error = JsonlTask::parse(Path::new("a/b.jsonl"), &text).unwrap_err().to_string();
            assert!(error.contains("a/b.jsonl:3: ") && error.contains(problem), "{error}");
        }
        for (line, problem) in [
            ("{\"question\": \"2?\"}", "missing field `answer`"),
            ("{\"question\": \"2?\", \"answer\": \" \"}", "the answer is empty"),
            ("{\"question\": \"\", \"answer\": \"2\"}", "the question is empty"),
            ("what is 2?", "expected value"),
            ("{\"question\": \"2?\", \"answer\": 2}", "invalid type"),
        ] {
            check(line, problem);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = JsonlTask::open("/nowhere/questions.jsonl").unwrap_err().to_string();
        assert!(error.contains("/nowhere/questions.jsonl"), "{error}");
    }
}
