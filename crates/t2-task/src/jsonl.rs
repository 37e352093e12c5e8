//! Questions from a file, one JSON object a line.
//!
//! ```json
//! {"question": "Tom has 4 apples and buys 3 more. How many does he have?", "answer": "4 + 3 = 7. #### 7"}
//! {"question": "Write f(x) to add 3 to x.", "answer": "def f(x): return x + 3", "checks": ["assert f(1) == 4"]}
//! ```
//!
//! A question with `checks` is answered by a Python program that is run against them; any other is graded by its final
//! answer, see [`same_final_answer`](crate::grade::same_final_answer).
//!
//! Files come from other tools, so a byte order mark, UTF-16, any line endings, blank lines, further keys, and one JSON
//! array in place of the lines are read as well.

use std::path::Path;

use glob::Pattern;

use crate::dataset::{DatasetError, DatasetSpec, DatasetTask, FileSet};
use crate::error::TaskError;
use crate::settings::Settings;

/// What files of questions have in common.
const SPEC: &str = r#"
name = "questions"
about = "questions and answers from a .jsonl file, graded by the final answer or by asserts"
grader = "final"
max_new_tokens = 80
question = "{{ question }}"
reference = "{{ answer }}"

[files]
all = "questions.jsonl"

[tests]
code = "{{ checks | join('\n') if checks is defined and checks is not none else '' }}"
"#;

/// The questions of one file, split by the hash of the question. Empty lines are passed over, and so are repeated
/// questions.
///
/// # Errors
///
/// [`DatasetError::Read`] for the file, [`DatasetError::Row`] for the first broken line.
pub fn open(path: impl AsRef<Path>, settings: &Settings) -> Result<DatasetTask, TaskError> {
    let path = path.as_ref();
    let mut spec = DatasetSpec::parse("questions", SPEC)?;
    spec.name = path.display().to_string();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    spec.files.all = Some(FileSet { paths: vec![Pattern::escape(&name)], ..FileSet::default() });
    let read =
        |source| DatasetError::Read { path: path.into(), expected: "a file with one JSON object a line", source };
    std::fs::metadata(path).map_err(read)?;
    // A broken line is said now, not when a split is asked for.
    spec.open(path.parent().unwrap_or(Path::new("")), settings)?.sorted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Example;
    use crate::sandbox::tests::python_is_missing;
    use crate::split::Split;
    use crate::task::{RIGHT, Task, WRONG};

    /// The task of a file of this name, below a folder of its own.
    fn parse(name: &str, bytes: &[u8]) -> Result<DatasetTask, TaskError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        open(path, &Settings::default())
    }

    fn examples(task: &DatasetTask) -> Vec<Example> {
        task.load(Split::All, usize::MAX).unwrap()
    }

    #[test]
    fn lines_are_split_and_graded() {
        let text: String =
            (0..400).map(|n| format!("{{\"question\": \"{n} + 1?\", \"answer\": \"{}\"}}\n", n + 1)).collect();
        let task = parse("sums.jsonl", text.as_bytes()).unwrap();
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
        let task = parse("f.jsonl", text.as_bytes()).unwrap();
        let examples = examples(&task);
        let [program, number] = &examples[..] else { panic!("{examples:?}") };
        let graded = [(number, "2"), (program, "def f(x): return x"), (number, "3"), (program, "def f(x): return 3")];
        assert_eq!(task.rewards(&graded).unwrap(), [RIGHT, RIGHT, WRONG, WRONG]);
    }

    #[test]
    fn an_empty_program_passes_no_checks() {
        if python_is_missing() {
            return;
        }
        let task = parse(
            "sum.jsonl",
            br#"{"question": "Write sum.", "answer": "def sum(x): return x[0] + x[1]", "checks": ["assert sum([1, 2]) == 3"]}"#,
        );
        let (task, right) = (task.unwrap(), "def sum(x):\n    return x[0] + x[1]");
        let example = &examples(&task)[0];
        assert_eq!(
            task.rewards(&[(example, ""), (example, "x = 1"), (example, right)]).unwrap(),
            [WRONG, WRONG, RIGHT]
        );
    }

    #[test]
    fn the_grader_is_that_of_the_lines() {
        #[track_caller]
        fn check(lines: &[&str], grader: &str) {
            assert_eq!(parse("a.jsonl", lines.join("\n").as_bytes()).unwrap().grader(), grader, "{lines:?}");
        }
        let text = r#"{"question": "2?", "answer": "2"}"#;
        let program = r#"{"question": "f?", "answer": "def f(): return 1", "checks": ["assert f() == 1"]}"#;
        check(&[text], "final@1");
        check(&[program], "program@1");
        check(&[program, text], "final@1+program@1");
        check(&[], "final@1");
    }

    #[test]
    fn a_broken_line_is_named() {
        #[track_caller]
        fn check(line: &str, problem: &str) {
            let text = format!("{{\"question\": \"1?\", \"answer\": \"1\"}}\n\n{line}\n");
            let error = parse("a/b.jsonl", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("a/b.jsonl:3: ") && error.contains(problem), "{error}");
        }
        for (line, problem) in [
            ("{\"question\": \"2?\"}", "uses `answer`, which is not there"),
            ("{\"question\": \"2?\", \"answer\": \" \"}", "the answer is empty"),
            (
                "{\"question\": \"2?\", \"answer\": \"It is 2.\\n####\"}",
                "the final answer of `It is 2.\n####` is empty",
            ),
            (
                "{\"question\": \"f?\", \"answer\": \"def f(): pass\", \"checks\": [\"assert sum([1]) == 1\"]}",
                "the tests name nothing that the right answer defines (f)",
            ),
            (
                "{\"question\": \"f?\", \"answer\": \"def f(x=1): pass\\nassert f() == 1\", \"checks\": [\"x = [1]; assert x\"]}",
                "the tests name nothing that the right answer defines (f)",
            ),
            ("{\"question\": \"\", \"answer\": \"2\"}", "the question is empty"),
            ("what is 2?", "expected value"),
            ("{\"question\": \"2?\", \"answer\": null}", "the value is null"),
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
            let task = parse("a.jsonl", bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let examples = examples(&task);
            let read: Vec<_> = examples.iter().map(|e| (e.question.as_str(), e.reference.as_str())).collect();
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
            let error = parse("a.jsonl", bytes).unwrap_err().to_string();
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
        let error = open("/nowhere/questions.jsonl", &Settings::default()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/questions.jsonl"), "{error}");
    }
}
