//! Questions from a file, one JSON object a line.
//!
//! ```json
//! {"question": "Tom has 4 apples and buys 3 more. How many does he have?", "answer": "4 + 3 = 7. #### 7"}
//! {"question": "Write f(x) to add 3 to x.", "answer": "def f(x): return x + 3", "checks": ["assert f(1) == 4"]}
//! ```
//!
//! A question with `checks` is answered by a Python program that is run against them; any other is graded by its final
//! answer, see [`same_final_answer`].
//!
//! Files come from other tools, so a byte order mark, UTF-16, any line endings, blank lines, further keys, and one JSON
//! array in place of the lines are read as well.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use crate::error::TaskError;
use crate::example::Example;
use crate::grade::{fences, final_answer, program, same_final_answer};
use crate::sandbox::Tests;
use crate::split::Split;
use crate::task::{Task, reward};

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
        let bytes = std::fs::read(path).map_err(|source| TaskError::Read { path: path.into(), source })?;
        Self::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TaskError> {
        let questions = decode(bytes).and_then(|text| questions(&text));
        let questions =
            questions.map_err(|Broken { line, problem }| TaskError::Line { path: path.into(), line, problem })?;
        let mut seen = HashSet::new();
        let examples = questions.into_iter().map(|Question(example)| example);
        let examples = examples.filter(|example| seen.insert(example.question.clone()));
        let numbered = |(at, example): (usize, Example)| Example { id: at.to_string(), ..example };
        let examples = examples.enumerate().map(numbered).collect();
        Ok(Self { name: path.display().to_string(), examples })
    }
}

/// What is wrong with a line, counted from 1.
struct Broken {
    line: usize,
    problem: String,
}

/// The byte order mark, which UTF-16 cannot do without and Windows puts before UTF-8 too.
const MARK: char = '\u{feff}';

/// The text of a file in UTF-8 or UTF-16. UTF-16 without a mark is recognised by the zero byte beside its first
/// character, which is ASCII in JSON.
fn decode(bytes: &[u8]) -> Result<String, Broken> {
    let wide = |decode: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| decode([pair[0], pair.get(1).copied().unwrap_or_default()]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map_err(|_| Broken {
            line: 1,
            problem: "the file is UTF-16 with broken characters; save it as UTF-8".into(),
        })
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err(Broken { line: 1, problem: "the file is UTF-32; save it as UTF-8".into() })
        }
        [0xff, 0xfe, ..] | [(1..), 0, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, (1..), ..] => wide(u16::from_be_bytes),
        _ => std::str::from_utf8(bytes).map(Into::into).map_err(|error| {
            let (good, bad) = bytes.split_at(error.valid_up_to());
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Broken { line, problem: format!("the byte {:#04x} is not UTF-8; save the file as UTF-8", bad[0]) }
        }),
    }
}

/// The questions of a text: one object a line, or one array of objects.
fn questions(text: &str) -> Result<Vec<Question>, Broken> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace(MARK_AT_LINE, "\n");
    let text = text.trim_start_matches(MARK);
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| Broken { line: error.line(), problem: error.to_string() });
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| question(line).map_err(|problem| Broken { line: at + 1, problem })).collect()
}

/// A byte order mark at the start of a later line: what is left where a file was appended to another.
const MARK_AT_LINE: &str = "\n\u{feff}";

fn question(line: &str) -> Result<Question, String> {
    serde_json::from_str(line).map_err(|error| match (line.contains('\0'), error.is_eof()) {
        (true, _) => "the line holds zero bytes, so the file is damaged; write it again".into(),
        (false, true) => format!("{error}; put all of an object on one line (`jq -c .` does)"),
        (false, false) => error.to_string(),
    })
}

/// A question as files have it.
#[derive(Deserialize)]
struct Row {
    question: String,
    answer: String,
    /// Tools that write tables put `null` where a row has no value.
    checks: Option<Vec<String>>,
}

/// A question that can be asked and graded.
#[derive(Deserialize)]
#[serde(try_from = "Row")]
struct Question(Example);

impl TryFrom<Row> for Question {
    type Error = &'static str;

    fn try_from(Row { question, answer, checks }: Row) -> Result<Self, Self::Error> {
        match (question.trim(), answer.trim()) {
            ("", _) => Err("the question is empty"),
            (_, "") => Err("the answer is empty"),
            _ => {
                let tests = checks.filter(|checks| !checks.is_empty()).map(Tests::asserts);
                Ok(Self(Example { tests, ..Example::new(question, answer) }))
            }
        }
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

    fn extract(&self, example: &Example, completion: &str) -> Option<String> {
        match example.tests.is_none() {
            true => final_answer(&example.reference, completion),
            false => Some(fences::program(completion).into_owned()),
        }
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        let programs: Vec<_> = graded.iter().copied().filter(|(example, _)| example.tests.is_some()).collect();
        let mut run = program::rewards(&programs)?.into_iter();
        let rewards = graded.iter().map(|(example, completion)| match example.tests.is_none() {
            true => reward(same_final_answer(&example.reference, completion)),
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
        let task = JsonlTask::parse(Path::new("sums.jsonl"), text.as_bytes()).unwrap();
        let sizes = [Split::Train, Split::Valid, Split::Test].map(|split| task.load(split, 1000).unwrap().len());
        assert_eq!(sizes.iter().sum::<usize>(), 400);
        assert!(sizes[0] > 300 && sizes[1] > 5 && sizes[2] > 20, "{sizes:?}");
        let examples = task.load(Split::Train, 2).unwrap();
        let rewards = task.rewards(&[(&examples[0], &examples[0].reference), (&examples[1], "no idea")]).unwrap();
        assert_eq!(rewards, [RIGHT, WRONG]);
    }

    #[test]
    fn lines_with_checks_are_run() {
        if python_is_missing() {
            return;
        }
        let line = r#"{"question": "f?", "answer": "def f(x): return x", "checks": ["assert f(2) == 2"]}"#;
        let text = format!("{line}\n{{\"question\": \"2?\", \"answer\": \"2\"}}");
        let task = JsonlTask::parse(Path::new("f.jsonl"), text.as_bytes()).unwrap();
        let [program, number] = &task.examples[..] else { panic!("{:?}", task.examples) };
        let graded = [(number, "2"), (program, "def f(x): return x"), (number, "3"), (program, "def f(x): return 3")];
        assert_eq!(task.rewards(&graded).unwrap(), [RIGHT, RIGHT, WRONG, WRONG]);
    }

    #[test]
    fn a_broken_line_is_named() {
        #[track_caller]
        fn check(line: &str, problem: &str) {
            let text = format!("{{\"question\": \"1?\", \"answer\": \"1\"}}\n\n{line}\n");
            let error = JsonlTask::parse(Path::new("a/b.jsonl"), text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("a/b.jsonl:3: ") && error.contains(problem), "{error}");
        }
        for (line, problem) in [
            ("{\"question\": \"2?\"}", "missing field `answer`"),
            ("{\"question\": \"2?\", \"answer\": \" \"}", "the answer is empty"),
            ("{\"question\": \"\", \"answer\": \"2\"}", "the question is empty"),
            ("what is 2?", "expected value"),
            ("{\"question\": \"2?\", \"answer\": 2}", "invalid type"),
            ("{\"question\": \"2?\",", "put all of an object on one line"),
            ("\0\0\0\0", "zero bytes"),
        ] {
            check(line, problem);
        }
    }

    #[test]
    fn files_are_read_as_other_tools_write_them() {
        #[track_caller]
        fn check(name: &str, bytes: &[u8]) {
            let task = JsonlTask::parse(Path::new("a.jsonl"), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let read: Vec<_> = task.examples.iter().map(|e| (e.question.as_str(), e.reference.as_str())).collect();
            assert_eq!(read, [("é?", "1\u{2028}"), ("2?", "2")], "{name}");
        }
        let lines = [
            "{\"question\": \"é?\", \"answer\": \"1\u{2028}\"}",
            "{\"question\": \"2?\", \"answer\": \"2\", \"id\": null}",
        ];
        let text = lines.join("\n");
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for (name, bytes) in [
            ("plain", text.clone().into_bytes()),
            ("a newline at the end", format!("{text}\n").into()),
            ("blank lines and repeats", format!("\n{text}\n \t\n\n{text}\n\n").into()),
            ("CRLF", format!("{}\r\n", lines.join("\r\n")).into()),
            ("CR", format!("{}\r", lines.join("\r")).into()),
            ("a mark", format!("\u{feff}{text}").into()),
            ("a mark and CRLF", format!("\u{feff}{}\r\n", lines.join("\r\n")).into()),
            ("two files with marks", format!("\u{feff}{}\n\u{feff}{}\n", lines[0], lines[1]).into()),
            ("UTF-16, little end first", utf16(&format!("\u{feff}{text}\r\n"), u16::to_le_bytes)),
            ("UTF-16, big end first", utf16(&format!("\u{feff}{text}\r\n"), u16::to_be_bytes)),
            ("UTF-16 without a mark", utf16(&text, u16::to_le_bytes)),
            ("big UTF-16 without a mark", utf16(&text, u16::to_be_bytes)),
            ("no checks", text.replace("\"id\"", "\"checks\"").into()),
            ("an array", format!("\u{feff}[{}]\n", lines.join(",")).into()),
            ("an array over lines", format!("[\n  {}\n]\n", lines.join(",\r\n  ")).into()),
        ] {
            check(name, &bytes);
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        #[track_caller]
        fn check(bytes: &[u8], problem: &str) {
            let error = JsonlTask::parse(Path::new("a.jsonl"), bytes).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        let line = "{\"question\": \"2?\", \"answer\": \"2\"}";
        check(&[line.as_bytes(), b"\n{\"question\": \"caf\xe9\""].concat(), "a.jsonl:2: the byte 0xe9 is not UTF-8");
        check(b"\xff\xfe\0\0{\0\0\0", "a.jsonl:1: the file is UTF-32");
        check(b"\xff\xfe\0\xd8", "a.jsonl:1: the file is UTF-16 with broken characters");
        check(
            format!("[{line},\n{{\"question\": \" \", \"answer\": \"2\"}}]").as_bytes(),
            "a.jsonl:2: the question is empty",
        );
        check(format!("[{line},\n{line}").as_bytes(), "a.jsonl:2: EOF");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = JsonlTask::open("/nowhere/questions.jsonl").unwrap_err().to_string();
        assert!(error.contains("/nowhere/questions.jsonl"), "{error}");
    }
}
