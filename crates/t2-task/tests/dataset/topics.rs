//! The task over other tasks: to name the topic of a prompt.

use std::collections::BTreeMap;

use t2_task::dataset::{DatasetSpec, shipped};
use t2_task::{RIGHT, Settings, Split, Task, WRONG};

use crate::folder::folder;

/// The train splits of the tasks of `topic`, with as many rows as are given, and test splits that must not be asked.
fn files(counts: [usize; 4]) -> Vec<(&'static str, String)> {
    let lines = |count: usize, row: &dyn Fn(usize) -> String| (0..count).map(row).collect::<String>();
    let [math, code, reason, other] = counts;
    vec![
        ("gsm8k/train.jsonl", lines(math, &|n| format!("{{\"question\": \"sum {n}\", \"answer\": \"#### {n}\"}}\n"))),
        ("gsm8k/test.jsonl", "{\"question\": \"hidden sum\", \"answer\": \"#### 1\"}".into()),
        (
            "mbpp/mbpp.jsonl",
            lines(code, &|n| {
                let n = n + 601;
                format!(
                    "{{\"task_id\": {n}, \"text\": \"function {n}\", \"code\": \"x = 1\", \"test_list\": [\"assert x\"], \"test_setup_code\": \"\"}}\n"
                )
            }),
        ),
        (
            "arc-easy/ARC-Easy-Train.jsonl",
            lines(reason, &|n| {
                format!(
                    "{{\"id\": \"{n}\", \"question\": \"why {n}\", \"choices\": {{\"text\": [\"x\", \"y\"]}}, \"answerKey\": \"A\"}}\n"
                )
            }),
        ),
        (
            "boolq/train.jsonl",
            lines(other, &|n| format!("{{\"question\": \"is {n}\", \"passage\": \"text\", \"answer\": true}}\n")),
        ),
    ]
}

fn written(counts: [usize; 4]) -> tempfile::TempDir {
    let files = files(counts);
    folder(&files.iter().map(|(name, text)| (*name, text.as_str())).collect::<Vec<_>>())
}

#[test]
fn prompts_of_every_topic_come_in_turn() {
    let folder = written([300, 200, 250, 200]);
    let task = shipped("topic").unwrap().open(folder.path(), &Settings::default()).unwrap();
    let examples = task.load(Split::All, usize::MAX).unwrap();
    let topics: Vec<&str> = examples.iter().take(4).map(|example| example.reference.as_str()).collect();
    assert_eq!(topics, ["math", "code", "reason", "other"]);
    let mut counts = BTreeMap::new();
    examples.iter().for_each(|example| *counts.entry(example.reference.as_str()).or_insert(0) += 1);
    assert_eq!(counts, [("math", 200), ("code", 200), ("reason", 200), ("other", 200)].into());
    assert!(examples[0].question.starts_with("Which topic is this: code, math, reason, other?\n"), "{:?}", examples[0]);
    assert!(examples[0].question.ends_with("Question: sum 0\nAnswer:"), "{:?}", examples[0]);
    assert_eq!(examples[1].id, "mbpp/601");
    assert_eq!(task.prompt(&examples[0])[0].content, examples[0].question);
    assert_eq!(task.rewards(&[(&examples[0], "Math."), (&examples[0], "code")]).unwrap(), [RIGHT, WRONG]);
}

#[test]
fn no_prompt_is_of_a_test_split_or_in_two_splits() {
    let folder = written([300, 300, 300, 300]);
    let task = shipped("topic").unwrap().open(folder.path(), &Settings::default()).unwrap();
    let [train, valid, test, all] = Split::EVERY.map(|split| task.load(split, usize::MAX).unwrap());
    assert!(train.len() > test.len() && test.len() > 8 && valid.len() > 4, "{} {}", test.len(), valid.len());
    assert!(train.iter().all(|example| !test.contains(example) && !valid.contains(example)));
    assert!(all.iter().all(|example| !example.question.contains("hidden")));
}

#[test]
fn a_topic_names_a_task_with_questions() {
    #[track_caller]
    fn check(task: &str, expected: &str) {
        let text = format!("name = 'mine'\n[[topics]]\nname = 'x'\ntask = '{task}'");
        let spec = DatasetSpec::parse("mine.toml", &text).unwrap();
        let error = spec.open(folder(&[]).path(), &Settings::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check("gsm", "`gsm` is no shipped task; use one of gsm8k, math");
    check("topic", "`topic` names topics itself");
}
