//! Evaluations and training runs: what they keep, what they say, what they refuse.

use std::path::Path;

use serde_json::Value;

use crate::support::{WORDS, World, finish};

/// Twelve questions that the test model can read.
fn questions(world: &World, name: &str) {
    let line = |word: &&str| format!("{{\"question\": \"what is {word}\", \"answer\": \"two\"}}\n");
    world.write(name, &WORDS[2..14].iter().map(line).collect::<String>());
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_answer_is_kept_with_the_hash_of_its_expert() {
    let world = World::new();
    questions(&world, "task.jsonl");
    world.save_expert("model", "half", 0.5);
    let eval = ["eval", "model", "--task", "task.jsonl", "--split", "all", "--max-new-tokens", "3"];
    let result = world.json(&[&eval[..], &["--expert", "half.safetensors", "--samples", "out/s.jsonl"]].concat());
    let samples = lines(&world.path("out/s.jsonl"));
    assert_eq!((result["n"].as_u64(), samples.len()), (Some(12), 12));
    assert!(result["low"].as_f64() <= result["accuracy"].as_f64(), "{result}");
    let hash = world.json(&["expert", "inspect", "half.safetensors"])["expert_hash"].clone();
    assert_eq!(result["expert_hash"], hash);
    for sample in &samples {
        assert_eq!((&sample["expert_hash"], &sample["choice"]), (&hash, &Value::from("half")));
        assert_eq!(sample["prompt"][0]["role"], "user");
        let keys = ["text", "extracted", "reference", "reward", "cut"];
        assert!(keys.iter().all(|key| sample.get(key).is_some()), "{sample}");
    }
}

#[test]
fn a_split_without_questions_says_which_split_has_some() {
    let world = World::new();
    world.write("one.jsonl", "{\"question\": \"what is one\", \"answer\": \"one\"}\n");
    let refused = |split: &str| {
        let done = world.run(&["eval", "model", "--task", "one.jsonl", "--split", split, "--max-new-tokens", "2"]);
        (done.code != 0).then_some(done.stderr)
    };
    let said = ["train", "valid", "test"].into_iter().find_map(refused).unwrap();
    assert!(said.contains("1 questions") && said.contains("split `all`"), "{said}");
    assert_eq!(refused("all"), None);
    let none = world.run(&["eval", "model", "--task", "one.jsonl", "--split", "all", "--limit", "0"]);
    assert!(none.code == 1 && none.stderr.contains("limit of 0"), "{none:?}");
}

#[test]
fn a_seed_of_zero_overrides_the_run_file() {
    let world = World::new();
    questions(&world, "task.jsonl");
    let run = "model = \"model\"\ntask = \"task.jsonl\"\nname = \"own\"\n[train]\nsteps = 1\nprompts = 2\ngroup = 2\n\
               max_new_tokens = 4\nseed = 5\n";
    world.write("run.toml", run);
    let train = |out: &str, more: &[&str]| {
        let args = [&["train", "--config", "run.toml", "--out", out], more].concat();
        world.json(&args)["expert_hash"].clone()
    };
    let info = |out: &str| world.json(&["expert", "inspect", &format!("{out}/expert.safetensors")])["training"].clone();
    train("five", &[]);
    train("zero", &["--seed", "0"]);
    assert!(info("five").as_str().unwrap().contains("seed 5"));
    assert!(info("zero").as_str().unwrap().contains("seed 0"));
}

#[test]
fn a_run_file_in_another_folder_finds_what_lies_beside_it() {
    let world = World::new();
    questions(&world, "runs/task.jsonl");
    let run = "model = \"../model\"\ntask = \"task.jsonl\"\nname = \"own\"\neval_limit = 2\n\
               [train]\nsteps = 1\nprompts = 2\ngroup = 2\nmax_new_tokens = 4\n";
    world.write("runs/run.toml", run);
    let result = world.json(&["train", "--config", "runs/run.toml", "--out", "out"]);
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(world.path("out/eval.json")).unwrap()).unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["expert_hash"].is_null() && rows[1]["expert_hash"] == result["expert_hash"], "{rows:?}");
    // The folder of a run is a folder of one expert, whatever checkpoints it holds.
    let eval = [
        "eval",
        "model",
        "--task",
        "runs/task.jsonl",
        "--split",
        "all",
        "--max-new-tokens",
        "2",
        "--strategy",
        "prompt",
    ];
    let graded = world.json(&[&eval[..], &["--experts", "out"]].concat());
    assert_eq!(graded["expert_hashes"]["own"], result["expert_hash"]);
}

#[test]
fn training_that_learns_nothing_says_so() {
    let world = World::new();
    // No answer of a random model is this word, so that every reward is the same.
    let line = |word: &&str| format!("{{\"question\": \"what is {word}\", \"answer\": \"elephants\"}}\n");
    world.write("task.jsonl", &WORDS[2..14].iter().map(line).collect::<String>());
    let run = "model = \"model\"\ntask = \"task.jsonl\"\nname = \"own\"\n[train]\nsteps = 6\nprompts = 1\ngroup = 2\n\
               max_new_tokens = 4\n";
    world.write("run.toml", run);
    let done = world.run(&["train", "--config", "run.toml", "--out", "out"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("same reward") && done.stderr.contains("no step had a gradient"), "{done:?}");
}

#[test]
fn an_unknown_task_or_strategy_lists_the_known_ones() {
    let world = World::new();
    let task = world.run(&["eval", "model", "--task", "gsm9k"]);
    assert!(task.stderr.contains("tiny-math") && task.stderr.contains(".jsonl"), "{task:?}");
    let strategy = world.run(&["eval", "model", "--task", "tiny-math", "--strategy", "oracle"]);
    assert_eq!(strategy.code, 2);
    for known in ["none", "prompt", "classifier", "few-shot"] {
        assert!(strategy.stderr.contains(known), "{strategy:?}");
    }
    let help = world.run(&["eval", "--help"]);
    assert!(help.stdout.contains("tiny-reason-hard") && help.stdout.contains("few-shot"), "{}", help.stdout);
}

#[test]
fn a_prompt_may_come_from_standard_input_and_begin_with_a_minus() {
    let world = World::new();
    let generate = |prompt: &str, stdin: &str| {
        let args = ["generate", "model", "--prompt", prompt, "--max-new-tokens", "2", "--json", "-q"];
        let done = finish(&mut world.command(&args), stdin);
        assert_eq!(done.code, 0, "{done:?}");
        serde_json::from_str::<Value>(&done.stdout).unwrap()["prompt_ids"].clone()
    };
    assert_eq!(generate("-", "one plus two\n"), generate("one plus two", ""));
    assert_eq!(generate("- one", "").as_array().unwrap().len(), 2);
}

#[test]
fn ids_have_no_template_to_leave_out() {
    let world = World::new();
    let generate = |more: &[&str]| {
        let args = ["generate", "model", "--prompt-ids", "3,13,4", "--max-new-tokens", "2"];
        world.json(&[&args[..], more].concat())["token_ids"].clone()
    };
    assert_eq!(generate(&["--raw"]), generate(&[]));
}

#[test]
fn a_system_message_reaches_the_template() {
    let world = World::new();
    world.write("model/chat_template.jinja", "{% for m in messages %}{{ m.content }} {% endfor %}is");
    let ids = |more: &[&str]| {
        let args = ["generate", "model", "--prompt", "one", "--max-new-tokens", "1"];
        world.json(&[&args[..], more].concat())["prompt_ids"].clone()
    };
    assert_eq!(ids(&[]), serde_json::json!([3, 14]));
    assert_eq!(ids(&["--system", "what"]), serde_json::json!([15, 3, 14]));
}
