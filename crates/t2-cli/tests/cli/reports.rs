//! Reports of runs.

use crate::support::World;

const METRICS: &str = concat!(
    r#"{"step": 0, "reward_mean": -0.5, "kl": 0.0, "my<metric": 3, "expert_hash": "aa", "note": null}"#,
    "\n",
    r#"{"step": 1, "reward_mean": 0.25, "kl": 0.01, "my<metric": 4, "expert_hash": "a<b"}"#,
    "\n",
);
const EVAL: &str = r#"[
    {"task": "tiny-math", "split": "test", "n": 1000, "accuracy": 0.5, "stderr": 0.0158},
    {"task": "tiny-math", "split": "test", "n": 1000, "accuracy": 0.7, "stderr": 0.0145, "expert": "math"},
    {"task": "tiny-code", "split": "test", "n": 10, "accuracy": 0.4, "strategy": "few-shot"}
]"#;

/// Every element that is opened is closed, in order; nothing is loaded from elsewhere.
#[track_caller]
fn check_page(html: &str) {
    assert!(html.starts_with("<!DOCTYPE html>\n<html"));
    let mut open = vec![];
    let body = html.trim_start_matches("<!DOCTYPE html>");
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for outside in ["src=", "href=", "url(", "@import", "<script"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_run_becomes_one_page() {
    let world = World::new();
    world.write("run/metrics.jsonl", METRICS);
    world.write("run/eval.json", EVAL);
    let json = world.json(&["report", "run"]);
    assert_eq!(json, serde_json::json!({ "report": "run/report.html", "steps": 2, "evaluations": 3 }));
    let html = std::fs::read_to_string(world.path("run/report.html")).unwrap();
    check_page(&html);
    for part in ["Reward, mean", "my&lt;metric", "a&lt;b", "70.0 %", "few-shot", "viewport", "prefers-color-scheme"] {
        assert!(html.contains(part), "{part}");
    }
    let done = world.run(&["report", "run", "--out", "page.html"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "page.html\n"));
}

#[test]
fn a_line_that_is_still_being_written_is_left_out() {
    let world = World::new();
    world.write("run/metrics.jsonl", &format!("{METRICS}{{\"step\": 2, \"rew"));
    assert_eq!(world.json(&["report", "run"])["steps"], 2);
}

#[test]
fn broken_files_are_named() {
    let world = World::new();
    let check = |parts: &[&str]| {
        let done = world.run(&["report", "run"]);
        assert_eq!(done.code, 1, "{done:?}");
        parts.iter().for_each(|part| assert!(done.stderr.contains(part), "{part}: {}", done.stderr));
        assert!(!world.path("run/report.html").exists());
    };
    check(&["run has neither metrics.jsonl nor eval.json"]);
    world.write("run/metrics.jsonl", "{\"step\": 0}\nnonsense\n{\"step\": 1}\n");
    check(&["line 2 of run/metrics.jsonl"]);
    world.write("run/metrics.jsonl", METRICS);
    world.write("run/eval.json", "[{\"task\": 1}]");
    check(&["run/eval.json is broken"]);
}
