//! Rows are the same whatever the file, and what is wrong with one is said with its place.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use t2_task::Split;

use crate::folder::{folder, load, spec, write};

/// A description whose rows are in one file, under `more` of its keys.
fn one_file(name: &str, more: &str) -> t2_task::dataset::DatasetSpec {
    spec(&format!("[files]\ntest = {{ paths = '{name}'{more} }}"))
}

#[test]
fn every_format_gives_the_same_rows() {
    #[track_caller]
    fn check(name: &str, bytes: &[u8]) {
        let folder = folder(&[]);
        write(folder.path(), name, bytes);
        let more = if name == "keyed.json" { ", rows = 'examples'" } else { "" };
        let read = load(&one_file(name, more), &folder, Split::Test).unwrap();
        let read: Vec<_> = read.iter().map(|row| (row.question.as_str(), row.reference.as_str())).collect();
        assert_eq!(read, [("1,5 é?", "a \"b\""), ("2?", "2")], "{name}");
    }
    let (first, second) = (r#"{"q": "1,5 é?", "a": "a \"b\""}"#, r#"{"q": "2?", "a": 2}"#);
    let packed = |text: &str| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let lines = format!("{first}\n{second}\n");
    for (name, bytes) in [
        ("a.jsonl", lines.clone().into()),
        ("a.ndjson", format!("\u{feff}{first}\r\n\r\n{second}").into()),
        ("lines.json", lines.clone().into()),
        ("a.json", format!("[{first},\n {second}]").into()),
        ("spread.json", "{\"q\": \"1,5 é?\",\n \"a\": \"a \\\"b\\\"\"\n}\n{\"q\": \"2?\",\n\"a\": 2}".into()),
        ("keyed.json", format!("{{\"canary\": \"x\", \"examples\": [{first}, {second}]}}").into()),
        ("a.csv", "q,a\n\"1,5 é?\",\"a \"\"b\"\"\"\n2?,2\n".as_bytes().into()),
        ("a.CSV", "\u{feff}q , a\r\n\"1,5 é?\",\"a \"\"b\"\"\"\r\n2?,2".as_bytes().into()),
        ("a.tsv", "q\ta\n1,5 é?\t\"a \"\"b\"\"\"\n2?\t2\n".as_bytes().into()),
        ("a.jsonl.gz", packed(&lines)),
        ("a.csv.gz", packed("q,a\n\"1,5 é?\",\"a \"\"b\"\"\"\n2?,2\n")),
    ] {
        check(name, &bytes);
    }
}

#[test]
fn a_damaged_file_is_an_error_or_is_read() {
    let whole = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dataset/data/arc-easy.parquet")).unwrap();
    let spec =
        t2_task::dataset::DatasetSpec::parse("arc", "like = 'arc-easy'\nfiles = { test = 'a.parquet' }").unwrap();
    let folder = folder(&[]);
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        write(folder.path(), "a.parquet", &damaged);
        if let Err(error) = load(&spec, &folder, Split::Test) {
            assert!(error.to_string().contains("a.parquet"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > whole.len() / 4, "{refused} of {}", whole.len());
}

#[test]
fn a_broken_row_is_named() {
    #[track_caller]
    fn check(name: &str, text: &str, expected: &[&str]) {
        let folder = folder(&[(name, text)]);
        let more = if name == "keyed.json" { ", rows = 'examples'" } else { "" };
        let error = load(&one_file(name, more), &folder, Split::Test).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
    let good = "{\"q\": \"1?\", \"a\": \"1\"}";
    for (name, text, expected) in [
        ("a.jsonl", format!("{good}\n\n{{\"q\": \"2?\"}}"), ["a.jsonl:3: `reference` uses `a`", "the fields are q"]),
        ("a.jsonl", format!("{good}\n{{\"q\": \"2?\", \"a\": null}}"), ["a.jsonl:2: ", "the value is null"]),
        ("a.jsonl", format!("{good}\n{{\"q\": \" \", \"a\": 2}}"), ["a.jsonl:2: ", "the question is empty"]),
        ("a.jsonl", format!("{good}\n17"), ["a.jsonl:2: ", "expected an object"]),
        ("a.json", format!("[{good},\n\n{{\"q\": \"2?\"}}]"), ["a.json:3: ", "uses `a`"]),
        ("a.json", format!("[{good},\n\n{{\"q\": "), ["a.json:3: ", "EOF"]),
        ("keyed.json", format!("{{\"rows\": [{good}]}}"), ["keyed.json:1: there is no key `examples`", "has rows"]),
        ("keyed.json", format!("{{\n\"examples\": [{good},\n{{}}]}}"), ["keyed.json:3: ", "uses `q`"]),
        ("a.csv", "q,a\n1?,1\n2?,\n".into(), ["a.csv:3: ", "the answer is empty"]),
        ("a.csv", "q,a\n1?,1\n2?\n".into(), ["a.csv:3: ", "1 field"]),
        ("a.txt", good.into(), ["a.txt:1: ", ".jsonl, .ndjson, .json, .csv, .tsv"]),
        ("a.parquet", good.into(), ["a.parquet (row 1): ", "Parquet"]),
        ("a.jsonl.gz", good.into(), ["a.jsonl.gz could not be read", ""]),
    ] {
        check(name, &text, &expected);
    }
}
