//! Which rows a split has: as a data set says, and by hash only where it says nothing.

use std::collections::HashSet;

use t2_task::{Split, Task};

use crate::folder::{folder, load, open, questions, spec};

/// Rows of a table whose questions have this name and a number.
fn rows(name: &str, count: usize) -> String {
    let row = |n| format!("{name} {n}?,{n}\n");
    format!("q,a\n{}", (0..count).map(row).collect::<String>())
}

#[test]
fn official_splits_are_kept_as_they_are() {
    let files = [("train.csv", &*rows("learn", 30)), ("dev.csv", &rows("set", 20)), ("test.csv", &rows("learn", 10))];
    let spec = spec("[files]\ntrain = 'train.csv'\nvalid = 'dev.csv'\ntest = 'test.csv'");
    let folder = folder(&files);
    let sizes = Split::EVERY.map(|split| questions(&spec, &folder, split).len());
    // Rows of the test split that are in the train split too are where the data set has them.
    assert_eq!(sizes, [30, 20, 10, 60]);
    assert_eq!(questions(&spec, &folder, Split::Train)[29], "learn 29?");
}

#[test]
fn a_set_without_splits_is_split_by_hash() {
    let spec = spec("[files]\nall = 'all.csv'");
    let folder = folder(&[("all.csv", &rows("what", 400))]);
    let parts = [Split::Train, Split::Valid, Split::Test].map(|split| questions(&spec, &folder, split));
    assert!(parts.iter().all(|part| part.len() > 5), "{parts:?}");
    let distinct: HashSet<&String> = parts.iter().flatten().collect();
    assert_eq!((distinct.len(), parts.concat().len()), (400, 400));
    assert!(parts[2].iter().all(|question| Split::Test.holds(question)));
    assert_eq!(questions(&spec, &folder, Split::All).len(), 400);
}

#[test]
fn a_repeated_question_is_dropped_where_the_hash_decides() {
    let table = "q,a,c\n1?,A,x\n1?,A,x\n1?,A,y\n";
    let choices = "choices = '[c]'\n";
    let folder = folder(&[("a.csv", table)]);
    // With other choices it is another question.
    assert_eq!(questions(&spec(&format!("{choices}[files]\nall = 'a.csv'")), &folder, Split::All).len(), 2);
    assert_eq!(questions(&spec(&format!("{choices}[files]\ntest = 'a.csv'")), &folder, Split::Test).len(), 3);
}

#[test]
fn valid_is_cut_from_train_only_where_the_description_says_so() {
    let folder = folder(&[("train.csv", &rows("what", 400)), ("test.csv", &rows("report", 3))]);
    let files = "[files]\ntrain = 'train.csv'\ntest = 'test.csv'\n";
    let cut = spec(&format!("{files}valid_from_train = true"));
    let [train, valid, test, all] = Split::EVERY.map(|split| questions(&cut, &folder, split));
    assert_eq!((train.len() + valid.len(), test.len(), all.len()), (400, 3, 403));
    assert!((5..40).contains(&valid.len()), "{}", valid.len());
    assert!(train.iter().all(|question| !valid.contains(question)));

    let error = load(&spec(files), &folder, Split::Valid).unwrap_err().to_string();
    assert_eq!(error, "q has no valid split; it has train, test, and `all` takes every row of them");
}

#[test]
fn the_first_name_that_is_there_counts() {
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let spec = spec("[files]\ntest = ['main/test-*.csv', '*/deep/*.csv', 'test.csv']\nall = 'all.csv'");
        assert_eq!(questions(&spec, &folder(files), Split::Test), expected, "{files:?}");
    }
    let [one, two] = ["q,a\n1?,1", "q,a\n2?,2"];
    check(&[("test.csv", one), ("main/test-0.csv", two)], &["2?"]);
    check(&[("test.csv", one), ("main/train-0.csv", two)], &["1?"]);
    check(&[("main/test-1.csv", one), ("main/test-0.csv", two)], &["2?", "1?"]);
    check(&[("b/deep/x.csv", one), ("a/deep/y.csv", two), ("a/deep/er/z.csv", one)], &["2?", "1?"]);
    check(&[("test.csv", one), ("all.csv", two)], &["1?"]);
}

#[test]
fn rows_are_told_apart_by_an_expression() {
    let spec = spec("[files.test]\npaths = 'a.csv'\nwhere = 'a | int > 1 and a | int <= 3'");
    let folder = folder(&[("a.csv", &rows("what", 5))]);
    assert_eq!(questions(&spec, &folder, Split::Test), ["what 2?", "what 3?"]);
    let ids: Vec<String> = load(&spec, &folder, Split::Test).unwrap().into_iter().map(|example| example.id).collect();
    assert_eq!(ids, ["0", "1"], "the place is that in the split");
}

#[test]
fn files_that_are_not_there_are_named() {
    let spec = spec("[files]\ntrain = ['main/train-*.parquet', 'train.jsonl']\ntest = 'test.csv'");
    let folder = folder(&[("test.csv", "q,a\n1?,1")]);
    assert_eq!(questions(&spec, &folder, Split::All), ["1?"]);
    let error = load(&spec, &folder, Split::Train).unwrap_err().to_string();
    let place = folder.path().display().to_string();
    for part in ["no file for its train split", &place, "main/train-*.parquet or train.jsonl", "download the data set"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_folder_may_have_brackets_in_its_name() {
    let folder = folder(&[("a [1]*/test.csv", "q,a\n1?,1")]);
    let task = spec("[files]\ntest = 'test.csv'").open(&folder.path().join("a [1]*"), &Default::default()).unwrap();
    assert_eq!(task.load(Split::Test, 9).unwrap().len(), 1);
}

#[test]
fn the_files_to_download_are_named_with_every_place_where_they_may_be() {
    let places = |name: &str| t2_task::dataset::shipped(name).unwrap().files.places();
    let mbpp = places("mbpp");
    for (file, beside) in [("full/train-*.parquet", "mbpp.jsonl"), ("full/prompt-*.parquet", "mbpp.jsonl")] {
        assert!(mbpp.contains(&vec![file.to_owned(), beside.to_owned()]), "{mbpp:?}");
    }
    // Of a data set that the Hub has in splits, not what the authors publish as one file.
    let svamp = places("svamp");
    assert_eq!(svamp.concat(), ["data/test-*.parquet", "data/train-*.parquet"]);
}

#[test]
fn a_limit_takes_the_first_examples() {
    let (spec, folder) = (spec("[files]\ntest = 'a.csv'"), folder(&[("a.csv", &rows("what", 5))]));
    let task = open(&spec, &folder);
    let all = task.load(Split::Test, usize::MAX).unwrap();
    assert_eq!(task.load(Split::Test, 2).unwrap(), all[..2]);
    assert_eq!(task.load(Split::Test, 0).unwrap(), []);
}
