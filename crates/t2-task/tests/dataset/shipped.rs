//! The descriptions that ship: each is right, and asks in every variant what is found in any layout of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::Value;
use t2_task::dataset::{DatasetSpec, DatasetTask, SPECS, shipped};
use t2_task::{AnswerBy, RIGHT, Settings, Split, Task, WRONG};
use tempfile::TempDir;

use crate::folder::{rewards, write};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dataset/data")
}

/// Our own rows of every data set, by its name; with ` of its authors`, where these have other fields than the Hub.
fn rows() -> BTreeMap<String, Vec<Value>> {
    serde_json::from_slice(&std::fs::read(data().join("rows.json")).unwrap()).unwrap()
}

/// The descriptions with files of their own.
fn specs() -> impl Iterator<Item = DatasetSpec> {
    SPECS.iter().map(|(name, text)| DatasetSpec::parse(name, text).unwrap()).filter(|spec| spec.topics.is_empty())
}

/// What our rows of a data set are called: both ARC sets have the same fields.
fn rows_of(spec: &DatasetSpec) -> &str {
    if spec.name == "arc-challenge" { "arc-easy" } else { &spec.name }
}

/// A folder that has each split of `spec` under the name that is `at` in its list, or the last name of that list.
fn laid_out(spec: &DatasetSpec, at: usize) -> TempDir {
    use std::io::Write;
    let (rows, of, folder) = (rows(), rows_of(spec), tempfile::tempdir().unwrap());
    let files = [&spec.files.train, &spec.files.valid, &spec.files.test, &spec.files.all, &spec.files.shots];
    for path in files.into_iter().flatten().map(|files| files.paths.get(at).or(files.paths.last()).unwrap()) {
        let name = path.replace('*', "0");
        let authors = rows.get(&format!("{of} of its authors")).unwrap_or(&rows[of]);
        let lines: String = authors.iter().map(|row| format!("{row}\n")).collect();
        let bytes = match name.rsplit('.').next().unwrap() {
            "parquet" => std::fs::read(data().join(of).with_extension("parquet")).unwrap(),
            "gz" => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::default());
                packed.write_all(lines.as_bytes()).unwrap();
                packed.finish().unwrap()
            }
            "json" => serde_json::to_vec(authors).unwrap(),
            _ => lines.into_bytes(),
        };
        write(folder.path(), &name, &bytes);
    }
    folder
}

fn layouts(spec: &DatasetSpec) -> usize {
    let files = [&spec.files.train, &spec.files.valid, &spec.files.test, &spec.files.all];
    files.into_iter().flatten().map(|files| files.paths.len()).max().unwrap()
}

fn opened(spec: &DatasetSpec, folder: &TempDir, variant: &str) -> DatasetTask {
    let shots = (variant == "few-shot" && spec.name != "humaneval" && spec.name != "math-500").then_some(1);
    let settings = Settings { variant: Some(variant.into()), shots: shots.or(Some(0)), ..Settings::default() };
    spec.open(folder.path(), &settings).unwrap()
}

#[test]
fn every_description_is_right_and_named_as_it_is_listed() {
    for (name, text) in SPECS {
        let spec = DatasetSpec::parse(name, text).unwrap();
        assert_eq!(spec.name, *name);
        assert!(!spec.about.is_empty() && spec.max_new_tokens.is_some(), "{name}");
        assert!(
            spec.topics.is_empty() != spec.licence.is_empty() && spec.topics.is_empty() == spec.hub.is_some(),
            "{name}"
        );
        assert_eq!(shipped(name), Some(spec));
    }
    assert_eq!(shipped("gsm"), None);
}

#[test]
fn every_layout_gives_the_same_examples() {
    for spec in specs() {
        let load = |at| {
            let folder = laid_out(&spec, at);
            opened(&spec, &folder, "plain").load(Split::All, usize::MAX).unwrap()
        };
        let first = load(0);
        assert!(first.len() >= 2, "{}", spec.name);
        for at in 1..layouts(&spec) {
            let sorted = |mut examples: Vec<t2_task::Example>| {
                examples.sort_by(|a, b| a.question.cmp(&b.question));
                examples.dedup_by(|a, b| a.question == b.question);
                examples
            };
            assert_eq!(sorted(load(at)), sorted(first.clone()), "{} as {at}", spec.name);
        }
    }
}

#[test]
fn every_variant_asks_every_row() {
    for spec in specs() {
        let folder = laid_out(&spec, 0);
        for (variant, _) in spec.variants() {
            let task = opened(&spec, &folder, &variant);
            for example in task.load(Split::All, usize::MAX).unwrap() {
                let prompt = task.prompt(&example);
                let asked = &prompt.last().unwrap().content;
                assert_eq!(prompt.last().unwrap().role, "user", "{} {variant}", spec.name);
                let asks =
                    [&example.question, example.question.trim()].iter().any(|question| asked.contains(*question));
                assert!(asks, "{} {variant}: {asked}", spec.name);
                let texts = if task.answering().by == AnswerBy::Likelihood { 0 } else { example.choices.len() };
                assert!(example.choices[..texts].iter().all(|choice| asked.contains(choice)), "{asked}");
            }
        }
    }
}

#[test]
fn the_right_answer_of_every_row_is_graded_right() {
    for spec in specs() {
        let folder = laid_out(&spec, 0);
        let task = opened(&spec, &folder, "plain");
        let examples = task.load(Split::All, usize::MAX).unwrap();
        let graded: Vec<_> = examples.iter().map(|example| (example, example.reference.as_str())).collect();
        if let Some(rewards) = rewards(&task, &graded) {
            assert!(rewards.iter().all(|reward| *reward == RIGHT), "{} {rewards:?}", spec.name);
        }
    }
}

#[test]
fn an_empty_program_is_wrong_for_every_row() {
    for spec in specs().filter(|spec| spec.tests.is_some()) {
        let folder = laid_out(&spec, 0);
        let task = opened(&spec, &folder, "plain");
        assert_eq!(task.grader(), "program@1", "{}", spec.name);
        let examples = task.load(Split::All, usize::MAX).unwrap();
        let graded: Vec<_> = examples.iter().flat_map(|example| [(example, ""), (example, "x = 1")]).collect();
        if let Some(rewards) = rewards(&task, &graded) {
            assert!(rewards.iter().all(|reward| *reward == WRONG), "{} {rewards:?}", spec.name);
        }
    }
}

#[test]
fn a_function_with_the_name_of_one_of_pythons_is_the_programs() {
    let spec = shipped("mbpp-sanitized").unwrap();
    let folder = laid_out(&spec, 1);
    let task = opened(&spec, &folder, "plain");
    let example = &task.load(Split::Test, 1).unwrap()[0];
    assert_eq!(example.tests.as_ref().unwrap().entry_points, ["sum"], "and not the helper, which no test calls");
    let lambda = "import math\nsum = lambda x: x / 2";
    if let Some(rewards) = rewards(&task, &[(example, lambda), (example, "def other(x):\n  return x / 2")]) {
        assert_eq!(rewards, [RIGHT, WRONG]);
    }
}

#[test]
fn a_function_may_be_continued_or_written_whole() {
    let spec = shipped("humaneval").unwrap();
    let folder = laid_out(&spec, 0);
    let task = opened(&spec, &folder, "plain");
    let example = &task.load(Split::Test, 1).unwrap()[0];
    let whole = format!("Here it is:\n```python\n{}```\n", example.reference);
    if let Some(rewards) =
        rewards(&task, &[(example, "    return max(numbers)\n"), (example, &whole), (example, "    return 0\n")])
    {
        assert_eq!(rewards, [RIGHT, RIGHT, WRONG]);
    }
}

#[test]
fn prompts_are_those_of_lm_evaluation_harness() {
    #[derive(Deserialize)]
    struct Golden {
        prompts: Vec<Asked>,
    }
    #[derive(Deserialize)]
    struct Asked {
        task: String,
        variant: String,
        file: String,
        texts: Vec<String>,
    }
    let golden: Golden = serde_json::from_slice(&std::fs::read(data().join("lm_eval_prompts.json")).unwrap()).unwrap();
    for Asked { task: name, variant, file, texts } in golden.prompts {
        let spec = shipped(&name).unwrap();
        let folder = laid_out(&spec, 0);
        let task = opened(&spec, &folder, &variant);
        let asked: Vec<String> = task
            .load(Split::All, usize::MAX)
            .unwrap()
            .iter()
            .map(|example| task.prompt(example).pop().unwrap().content)
            .collect();
        // It asks for one of four letters even where there are three choices.
        let compared = if file == "arc/arc_challenge_chat.yaml" { 1 } else { texts.len() };
        for text in &texts[..compared] {
            let in_no_split = name == "mbpp" && is_shown_only(text);
            assert!(asked.contains(text) || in_no_split, "{name} {variant}, {file}: {text:?}\n{asked:#?}");
        }
    }
}

/// Whether a prompt is that of a task of MBPP that is only shown before others, and in no split.
fn is_shown_only(prompt: &str) -> bool {
    prompt.contains("add three") || prompt.contains("double a list")
}
