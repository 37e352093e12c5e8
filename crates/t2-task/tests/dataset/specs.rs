//! What may be written in a description, and what is said of one that is wrong.

use t2_task::dataset::DatasetSpec;
use t2_task::{AnswerBy, Answering, Settings, Split, Task};

use crate::folder::{folder, load, open, spec};

#[test]
fn ten_lines_are_a_task() {
    let text = r#"
        name = "capitals"
        grader = "exact"
        question = "What is the capital of {{ country }}?"
        reference = "{{ capital }}"
        [files]
        all = "capitals.csv"
    "#;
    let folder = folder(&[("capitals.toml", text), ("capitals.csv", "country,capital\nFrance,Paris\nPeru,Lima\n")]);
    let spec = DatasetSpec::read(folder.path().join("capitals.toml")).unwrap();
    let read = load(&spec, &folder, Split::All).unwrap();
    let read: Vec<_> =
        read.iter().map(|row| (row.id.as_str(), row.question.as_str(), row.reference.as_str())).collect();
    assert_eq!(read, [("0", "What is the capital of France?", "Paris"), ("1", "What is the capital of Peru?", "Lima")]);
}

#[test]
fn what_the_guide_shows_can_be_written() {
    let guide = include_str!("../../../../docs/tasks.md");
    let shown: Vec<&str> = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(shown.len(), 4);
    for text in shown {
        DatasetSpec::parse("docs/tasks.md", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
    for (name, _) in t2_task::dataset::SPECS {
        assert!(guide.contains(&format!("`{name}`")), "docs/tasks.md does not list {name}");
    }
}

#[test]
fn every_part_of_an_example_is_read() {
    let rows = r#"{"q": "Which?", "a": "B", "right answer": 2, "options": ["x", "y"], "n": 7, "level": 3, "use": "f"}"#;
    let spec = spec(
        r#"
        choices = "options"
        id = "n{{ n }}"
        [meta]
        level = "{{ level }}"
        far = "{{ row['right answer'] }}"
        [tests]
        prelude = "import math"
        code = "assert {{ use }}() == 1"
        entry_points = "[use]"
        [files]
        test = "rows.jsonl"
        "#,
    );
    let example = load(&spec, &folder(&[("rows.jsonl", rows)]), Split::Test).unwrap().remove(0);
    assert_eq!((example.id.as_str(), &example.choices[..]), ("n7", &["x".to_owned(), "y".into()][..]));
    assert_eq!(example.meta, [("far", "2"), ("level", "3")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let tests = example.tests.unwrap();
    assert_eq!((tests.prelude.as_str(), tests.code.as_str()), ("import math", "assert f() == 1"));
    assert_eq!(tests.entry_points, ["f"]);
}

#[test]
fn a_row_keeps_its_own_id() {
    #[track_caller]
    fn check(row: &str, id: &str) {
        let folder = folder(&[("a.jsonl", &format!("{{\"q\": \"0?\", \"a\": 0, \"id\": \"zero\"}}\n{row}"))]);
        assert_eq!(load(&spec("[files]\ntest = 'a.jsonl'"), &folder, Split::Test).unwrap()[1].id, id, "{row}");
    }
    for (row, id) in [
        (r#"{"q": "1?", "a": 1}"#, "1"),
        (r#"{"q": "1?", "a": 1, "id": "x"}"#, "x"),
        (r#"{"q": "1?", "a": 1, "id": 17}"#, "17"),
        (r#"{"q": "1?", "a": 1, "id": null}"#, "1"),
        (r#"{"q": "1?", "a": 1, "id": 17, "task_id": "T/1"}"#, "T/1"),
    ] {
        check(row, id);
    }
}

#[test]
fn latex_and_methods_of_python_mean_what_they_say() {
    let spec = DatasetSpec::parse(
        "t.toml",
        r#"
        name = "t"
        grader = "math"
        question = "{{ q.strip().split(' ')[0] }} in \\boxed{}"
        reference = "\\boxed{{ '{' }}{{ a }}}"
        [files]
        test = "a.jsonl"
        "#,
    );
    let rows = folder(&[("a.jsonl", r#"{"q": " one two", "a": "\\frac{1}{2}"}"#)]);
    let example = load(&spec.unwrap(), &rows, Split::Test).unwrap().remove(0);
    assert_eq!((example.question.as_str(), example.reference.as_str()), (r"one in \boxed{}", r"\boxed{\frac{1}{2}}"));
}

#[test]
fn a_description_may_be_like_a_shipped_one() {
    let text = "like = 'arc-challenge'\nname = 'mine'\n[files]\ntest = 'mine.jsonl'";
    let spec = DatasetSpec::parse("mine.toml", text).unwrap();
    assert_eq!((spec.name.as_str(), spec.grader.as_str(), spec.files.train), ("mine", "choice", None));
    assert!(spec.variants.contains_key("paper"));
}

#[test]
fn what_is_wrong_with_a_description_is_named() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let row = r#"{"q": "1?", "a": "1", "many": [1], "none": null}"#;
        let opened = DatasetSpec::parse("my.toml", text).map_err(Into::into);
        let error = opened.and_then(|spec| load(&spec, &folder(&[("a.jsonl", row)]), Split::Test)).unwrap_err();
        let error = error.to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{text}\n{error}");
    }
    let with = |line: &str| {
        format!(
            "name = 'q'\ngrader = 'exact'\nquestion = '{{{{ q }}}}'\nreference = '{{{{ a }}}}'\n{line}\n[files]\ntest = 'a.jsonl'"
        )
    };
    for (text, expected) in [
        ("name = ".into(), ["my.toml", "TOML"]),
        ("grader = 'exact'".into(), ["my.toml: the key `name` is missing", "write for example `name = "]),
        ("name = 'q'".into(), ["the key `question` is missing", "{{ question }}"]),
        ("name = 'q'\nquestion = 'x'\nreference = 'y'".into(), ["the key `grader` is missing", "exact"]),
        (
            "name = 'q'\nquestion = 'x'\nreference = 'y'\ngrader = 'exact'".into(),
            ["the key `files` is missing", "train"],
        ),
        ("like = 'arc'".into(), ["like = \"arc\"", "arc-easy"]),
        (with("questions = 'x'"), ["unknown field `questions`", "`question`"]),
        (with("answer = 'guess'"), ["guess", "likelihood"]),
        (with("answer = 'likelihood'"), ["the key `choices` is missing", "[a, b, c, d]"]),
        (with("prompt = '{{ question'"), ["q: `prompt` is no template", "expected a text such as"]),
        (with("prompt = '{{ reference }}'"), ["`prompt` uses `reference`, which is not there", "question, choices"]),
        (with("id = '{{ nr }}'"), ["a.jsonl:1: `id` uses `nr`, which is not there; the fields are q, a, many", ""]),
        (with("id = '{{ q.nr }}'"), ["a.jsonl:1: `id` asks for a part", "the fields are q, a, many"]),
        (with("id = '{{ none }}'"), ["`id` failed", "the value is null"]),
        (with("choices = 'q +'"), ["`choices` is no expression", "`choices.text`"]),
        (with("choices = 'q'"), ["a.jsonl:1: `choices` is 1?; expected a list", "[a, b, c, d]"]),
        (with("choices = '[]'"), ["a.jsonl:1: `choices` is an empty list", "at least one"]),
        (with("choices = 'range(27)'"), ["a.jsonl:1: there are 27 choices", "at most 26"]),
        (with("choices = 'many'"), ["a.jsonl:1: `reference` is `1`", "the letter of one of the 1 choices"]),
        (with("").replace("'exact'", "'best'"), ["there is no grader `best`", "gsm8k"]),
        (with("").replace("'exact'", "'program'"), ["a.jsonl:1: there are no tests", "tests.code"]),
        (with("").replace("'a.jsonl'", "3"), ["the name of a file, a list of names, or a table", ""]),
        (
            with("").replace("'a.jsonl'", "{ paths = 'a.jsonl', where = 'n > 1' }"),
            ["`where` uses `n`", "the fields are"],
        ),
    ] {
        check(&text, &expected);
    }
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let spec = spec(
        "id = '{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}'\n[files]\ntest = 'a.csv'",
    );
    let error = load(&spec, &folder(&[("a.csv", "q,a\n1,1")]), Split::Test).unwrap_err().to_string();
    assert!(error.contains("a.csv:2: `id` failed") && error.contains("fuel"), "{error}");
}

#[test]
fn limits_are_those_of_the_variant_else_of_the_task() {
    let text = "stop = ['Q:']\nmax_new_tokens = 9\n[variants.long]\ngrader = 'final'\nmax_new_tokens = 99\nstop = []\n[files]\ntest = 'a.csv'";
    let (spec, folder) = (spec(text), folder(&[("a.csv", "q,a\n1,1")]));
    let settings = |name: &str| Settings { variant: Some(name.into()), ..Default::default() };
    let long = spec.open(folder.path(), &settings("long")).unwrap();
    let answering = |stop: &[&str], max_new_tokens| {
        let stop = stop.iter().map(|text| (*text).to_owned()).collect();
        Answering { by: AnswerBy::Text, stop, max_new_tokens }
    };
    assert_eq!(long.answering(), answering(&[], 99));
    assert_eq!(long.grader(), "final@1");
    assert_eq!(open(&spec, &folder).answering(), answering(&["Q:"], 9));
    assert_eq!(open(&spec, &folder).grader(), "exact@1");
}

#[test]
fn functions_that_the_tests_name_are_the_programs() {
    #[track_caller]
    fn check(reference: &str, prelude: &str, code: &str, entry_points: &[&str]) {
        let row = serde_json::json!({ "q": "?", "a": reference, "prelude": prelude, "code": code });
        let spec = spec("[tests]\nprelude = '{{ prelude }}'\ncode = '{{ code }}'\n[files]\ntest = 'a.jsonl'");
        let example = load(&spec, &folder(&[("a.jsonl", &row.to_string())]), Split::Test).unwrap().remove(0);
        assert_eq!(example.tests.unwrap().entry_points, entry_points, "{code:?}");
    }
    let sum = "import math\ndef helper(x): return x\ndef sum(x):\n    return helper(x)";
    for (reference, prelude, code, entry_points) in [
        (sum, "", "assert sum(1) == 1", &["sum"][..]),
        (sum, "", "assert sum_of(sum(1))", &["sum"]),
        (&format!("Here:\n```python\n{sum}\n```\n"), "", "assert sum(1) == 1", &["sum"]),
        (sum, "", "assert helper(1).sum and x.sum", &["helper"]),
        ("len = lambda x: 3", "", "assert len([]) == 3", &["len"]),
        ("class Box:\n    def open(self): pass", "", "assert Box().open() is None", &[]),
        ("from math import gcd as f", "", "assert f(1, 1) == 1", &[]),
        ("x, y = 1, 2", "", "assert x == 1", &[]),
        (sum, "def check(): assert sum(1) == 1", "check()", &[]),
    ] {
        check(reference, prelude, code, entry_points);
    }
}
