//! `t2 eval` on several tasks: what it keeps, takes up again, compares and writes.

use serde_json::Value;

use crate::support::{WORDS, World, keys};

/// A data set in words that the test model can read, as a table and what describes it: what comes after a number, to be
/// written or to be chosen.
fn data_set(world: &World) {
    let row = |at: usize| format!("{},{},{},{}\n", at, WORDS[at], WORDS[at + 1], WORDS[at - 1]);
    let rows: String = (3..11).map(row).collect();
    world.write("numbers/next.csv", &format!("id,number,next,last\n{rows}"));
    let toml = "name = \"next\"\ngrader = \"choice\"\nquestion = \"what is {{ number }} plus one\"\n\
                choices = \"[next, last]\"\nreference = \"A\"\nmax_new_tokens = 2\nfiles = { test = \"next.csv\" }\n\
                [variants.weighed]\nanswer = \"likelihood\"\n";
    world.write("numbers/next.toml", toml);
    let line = |word: &&str| format!("{{\"question\": \"what is {word}\", \"answer\": \"two\"}}\n");
    world.write("words.jsonl", &WORDS[2..10].iter().map(line).collect::<String>());
}

const EVAL: &[&str] = &["eval", "model", "--task"];

fn lines(world: &World, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn several_tasks_are_listed_and_a_single_one_is_at_the_top() {
    let world = World::new();
    data_set(&world);
    let all = ["--split", "all", "--max-new-tokens", "2", "--results", "out/results.json"];
    let both = world.json(&[EVAL, &["numbers/next.toml,words.jsonl"], &all].concat());
    assert_eq!((&both["tasks"][0]["task"], &both["tasks"][1]["n"]), (&Value::from("next"), &Value::from(8)));
    assert_eq!(keys(&both["results"]), ["next", "words.jsonl"]);
    let written: Value = serde_json::from_slice(&std::fs::read(world.path("out/results.json")).unwrap()).unwrap();
    assert_eq!(written["results"], both["results"]);
    let one = world.json(&[EVAL, &["numbers/next.toml"], &all].concat());
    for (key, value) in [("task", "next"), ("variant", "plain"), ("grader", "choice@1")] {
        assert_eq!(one[key], value);
    }
    assert_eq!(one["results"]["next"], both["results"]["next"]);
    assert_eq!(one["metrics"]["letter"]["n"], 8);
}

#[test]
fn choices_are_weighed_where_the_variant_says_so() {
    let world = World::new();
    data_set(&world);
    let weighed = ["numbers/next.toml", "--variant", "weighed", "--samples", "s.jsonl"];
    let found = world.json(&[EVAL, &weighed].concat());
    assert_eq!((&found["grader"], &found["n"]), (&Value::from("likelihood@1"), &Value::from(8)));
    assert!(keys(&found["metrics"]).contains(&"acc_norm"), "{found}");
    for sample in lines(&world, "s.jsonl") {
        let weights: Vec<f64> = serde_json::from_value(sample["log_likelihoods"].clone()).unwrap();
        assert_eq!(sample["continuations"], sample["choices"]);
        assert_eq!(sample["metrics"]["acc"].as_bool(), Some(weights[0] >= weights[1]), "{sample}");
    }
    let unknown = world.run(&[EVAL, &["numbers/next.toml", "--variant", "shouted"]].concat());
    assert!(unknown.code == 1 && unknown.stderr.contains("weighed"), "{unknown:?}");
    let dispatched =
        world.run(&[EVAL, &["numbers/next.toml", "--variant", "weighed", "--strategy", "prompt"]].concat());
    assert_eq!(dispatched.code, 1, "{dispatched:?}");
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let world = World::new();
    data_set(&world);
    let eval = [EVAL, &["words.jsonl", "--split", "all", "--max-new-tokens", "2", "--samples", "s.jsonl"]].concat();
    let first = world.json(&eval);
    let text = std::fs::read_to_string(world.path("s.jsonl")).unwrap();
    let half: String = text.split_inclusive('\n').take(5).collect();
    world.write("s.jsonl", &half);
    let again = world.json(&eval);
    assert_eq!((&first["resumed"], &again["resumed"]), (&Value::from(0), &Value::from(5)));
    assert_eq!((&first["accuracy"], &first["cut"]), (&again["accuracy"], &again["cut"]));
    assert_eq!(std::fs::read_to_string(world.path("s.jsonl")).unwrap(), text);
    world.save_model("model", 2);
    let other = world.run(&eval);
    assert!(other.code == 1 && other.stderr.contains("of another model"), "{other:?}");
    assert_eq!(std::fs::read_to_string(world.path("s.jsonl")).unwrap(), text);
}

#[test]
fn a_run_is_compared_with_an_earlier_one() {
    let world = World::new();
    data_set(&world);
    world.save_expert("model", "half", 0.5);
    let eval = [EVAL, &["words.jsonl", "--split", "all", "--max-new-tokens", "2"]].concat();
    world.json(&[&eval[..], &["--samples", "base.jsonl"]].concat());
    let compare = ["--expert", "half.safetensors", "--compare", "base.jsonl"];
    let compared = world.json(&[&eval[..], &compare].concat());
    let comparison = &compared["comparison"];
    assert_eq!((&comparison["n"], &comparison["first"]), (&Value::from(8), &compared["accuracy"]));
    for key in ["difference", "low", "high", "mcnemar_p", "only_first", "only_second"] {
        assert!(comparison[key].is_number(), "{key}: {comparison}");
    }
    let said = world.run(&[&eval[..], &compare].concat()).stderr;
    assert!(said.contains("McNemar p = "), "{said}");
    let other = world.run(&[EVAL, &["numbers/next.toml", "--compare", "base.jsonl"]].concat());
    assert!(other.code == 1 && other.stderr.contains("same questions"), "{other:?}");
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    #[track_caller]
    fn check(world: &World, more: &[&str], part: &str) {
        let done = world.run(&[EVAL, &["words.jsonl", "--split", "all", "--max-new-tokens", "2"], more].concat());
        assert!(done.code != 0 && done.stderr.contains(part), "{more:?}: {done:?}");
    }
    let world = World::new();
    data_set(&world);
    check(&world, &["--repeats", "3"], "--temperature");
    check(&world, &["--top-p", "0.5"], "--temperature");
    check(&world, &["--recipe", "paper", "--variant", "plain"], "cannot be used with");
    let drawn = ["words.jsonl", "--split", "all", "--max-new-tokens", "2", "--repeats", "3", "--temperature", "1"];
    let found = world.json(&[EVAL, &drawn].concat());
    assert_eq!((&found["n"], &found["repeats"]), (&Value::from(8), &Value::from(3)));
}
