//! How questions are put: variants, and examples before a question.

use t2_task::dataset::DatasetTask;
use t2_task::{Message, Settings, Split, Task};
use tempfile::TempDir;

use crate::folder::{folder, spec};

const VARIANTS: &str = r#"
reply = "It is {{ reference }}."
[files]
train = "train.csv"
test = "test.csv"
[variants.teacher]
system = "You teach."
prompt = "{{ plain }} Be brief."
shots = 1
[variants.text]
layout = "text"
shots = 2
"#;

fn numbers() -> TempDir {
    let train: String = (0..40).map(|n| format!("{n}?,{n}\n")).collect();
    folder(&[("train.csv", &format!("q,a\n{train}")), ("test.csv", "q,a\nx?,1\n7?,7\n")])
}

fn opened(variant: Option<&str>, shots: Option<usize>, seed: Option<u64>) -> DatasetTask {
    let settings = Settings { variant: variant.map(Into::into), shots, seed, ..Settings::default() };
    spec(VARIANTS).open(numbers().path(), &settings).unwrap()
}

fn asked(variant: Option<&str>, shots: Option<usize>, seed: Option<u64>) -> Vec<(String, String)> {
    // The shots were read when the task was opened: the folder may be gone.
    let folder = numbers();
    let settings = Settings { variant: variant.map(Into::into), shots, seed, ..Settings::default() };
    let task = spec(VARIANTS).open(folder.path(), &settings).unwrap();
    let turn = |Message { role, content }| (role, content);
    task.prompt(&task.load(Split::Test, 1).unwrap()[0]).into_iter().map(turn).collect()
}

fn roles(turns: &[(String, String)]) -> Vec<&str> {
    turns.iter().map(|(role, _)| role.as_str()).collect()
}

#[test]
fn plain_is_the_question() {
    assert_eq!(asked(None, None, None), [("user".to_owned(), "x?".to_owned())]);
    assert_eq!(asked(Some("plain"), None, None), asked(None, None, None));
    assert_eq!(asked(Some("step-by-step"), None, None)[0].1, "x?\nLet's think step by step.");
}

#[test]
fn shots_are_earlier_turns() {
    let turns = asked(Some("few-shot"), None, None);
    let shown = [["user", "assistant"]; 5].concat();
    assert_eq!(roles(&turns), [&shown[..], &["user"]].concat());
    for pair in turns[..10].chunks(2) {
        assert_eq!(pair[1].1, format!("It is {}.", pair[0].1.trim_end_matches('?')));
    }
    assert_eq!(turns[10].1, "x?");
}

#[test]
fn shots_may_be_part_of_one_text() {
    let turns = asked(Some("text"), None, None);
    assert_eq!(roles(&turns), ["user"]);
    let parts: Vec<&str> = turns[0].1.split("\n\n").collect();
    assert_eq!((parts.len(), parts[2]), (3, "x?"));
    assert!(parts[..2].iter().all(|shot| shot.contains("? It is ")), "{parts:?}");
}

#[test]
fn a_variant_goes_around_shots_too() {
    let turns = asked(Some("teacher"), None, None);
    assert_eq!(roles(&turns), ["system", "user", "assistant", "user"]);
    assert_eq!((turns[0].1.as_str(), turns[3].1.as_str()), ("You teach.", "x? Be brief."));
    assert!(turns[1].1.ends_with("? Be brief."), "{turns:?}");
}

#[test]
fn the_seed_decides_the_shots() {
    let shots = |seed| asked(None, Some(3), Some(seed));
    assert_eq!(shots(1), shots(1));
    assert_ne!(shots(1), shots(2));
    assert_eq!(shots(1).len(), 7);
}

#[test]
fn a_question_is_not_shown_to_itself() {
    let folder = numbers();
    let task = spec(VARIANTS).open(folder.path(), &Settings { shots: Some(39), ..Settings::default() }).unwrap();
    for example in task.load(Split::Train, 40).unwrap() {
        let turns = task.prompt(&example);
        let times = turns.iter().filter(|turn| turn.content == example.question).count();
        assert_eq!((turns.len(), times), (79, 1), "{}", example.question);
    }
}

#[test]
fn shots_that_are_set_apart_come_in_order() {
    let folder = folder(&[("a.csv", "q,a\n1?,1\n2?,2\n3?,3\n")]);
    let apart =
        "[files]\ntest = { paths = 'a.csv', where = 'a == \"3\"' }\nshots = { paths = 'a.csv', where = 'a != \"3\"' }";
    let task = spec(apart).open(folder.path(), &Settings { shots: Some(2), ..Settings::default() }).unwrap();
    let asked = task.prompt(&task.load(Split::Test, 1).unwrap()[0]);
    let texts: Vec<&str> = asked.iter().map(|turn| turn.content.as_str()).collect();
    assert_eq!(texts, ["1?", "1", "2?", "2", "3?"]);
}

#[test]
fn shots_that_are_written_out_come_first() {
    let folder = folder(&[("a.csv", "q,a,x,y\nWhich?,A,sun,moon\n")]);
    let text = "choices = '[x, y]'\nprompt = '{{ question }} {{ letters | join }}'\nfiles = { test = 'a.csv' }\n\
                [[shots]]\nquestion = 'One?'\nreference = 'B'\nchoices = ['1', '2']";
    let task = spec(text).open(folder.path(), &Settings { shots: Some(1), ..Settings::default() }).unwrap();
    let asked = task.prompt(&task.load(Split::Test, 1).unwrap()[0]);
    let texts: Vec<&str> = asked.iter().map(|turn| turn.content.as_str()).collect();
    assert_eq!(texts, ["One? AB", "B", "Which? AB"]);
}

#[test]
fn choices_have_letters_and_continuations() {
    let folder = folder(&[("a.csv", "q,a,x,y\nWhich?,B,sun,moon\n")]);
    let task = spec("choices = '[x, y]'\n[files]\ntest = 'a.csv'").open(folder.path(), &Settings::default()).unwrap();
    let example = &task.load(Split::Test, 1).unwrap()[0];
    assert_eq!(task.prompt(example)[0].content, "Which?\nA. sun\nB. moon\nAnswer with the letter of the right choice.");
    assert_eq!(task.continuations(example), [" sun", " moon"]);
    let letters = spec("choices = '[x, y]'\ncontinuation = '{{ letter }}'\n[files]\ntest = 'a.csv'");
    let task = letters.open(folder.path(), &Settings::default()).unwrap();
    assert_eq!(task.continuations(example), ["A", "B"]);
}

#[test]
fn what_cannot_be_shown_is_named() {
    #[track_caller]
    fn check(variant: Option<&str>, shots: Option<usize>, expected: &str) {
        let settings = Settings { variant: variant.map(Into::into), shots, ..Settings::default() };
        let error = spec(VARIANTS).open(numbers().path(), &settings).unwrap_err().to_string();
        assert_eq!(error, expected);
    }
    check(Some("cot"), None, "q has no variant `cot`; use one of few-shot, plain, step-by-step, teacher, text");
    check(
        None,
        Some(41),
        "q has 40 examples to show before a question, and 41 were asked for; ask for fewer shots, or write some as `[[shots]]`",
    );
}

#[test]
fn a_task_without_a_train_split_has_no_shots_of_its_own() {
    let (folder, files) = (folder(&[("a.csv", "q,a\n1?,1\n")]), "files = { test = 'a.csv' }");
    let few_shot = Settings { variant: Some("few-shot".into()), ..Settings::default() };
    let error = spec(files).open(folder.path(), &few_shot).unwrap_err().to_string();
    assert!(error.contains("q has 0 examples to show") && error.contains("[[shots]]"), "{error}");
    let shots = "[[shots]]\nquestion = '0?'\nreference = '0'";
    let one = Settings { shots: Some(1), ..few_shot };
    let task = spec(&format!("{files}\n{shots}")).open(folder.path(), &one).unwrap();
    assert_eq!(task.prompt(&task.load(Split::Test, 1).unwrap()[0]).len(), 3);
}

#[test]
fn an_example_of_another_task_is_asked_as_it_is() {
    let task = opened(Some("teacher"), None, None);
    let foreign = t2_task::Example::new("y?", "2");
    assert_eq!(task.prompt(&foreign).last().unwrap().content, "y? Be brief.");
}
