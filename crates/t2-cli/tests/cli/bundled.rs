//! The bundled model and its experts: that they belong together, help, and answer in two passes; training resumes.

use serde_json::Value;

use crate::support::{World, finish, keys};

/// Enough problems to tell 12 points apart: the standard error of a difference is below 7.
const PROBLEMS: &str = "120";
/// What an expert must add to the accuracy of the base model on its own family.
const GAIN: f64 = 0.12;
/// The experts as files.
const EXPERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tiny/experts");

fn accuracy(world: &World, task: &str, more: &[&str]) -> f64 {
    let args = [&["eval", "tiny", "--task", task, "--limit", PROBLEMS], more].concat();
    world.json(&args)["accuracy"].as_f64().unwrap()
}

#[test]
fn the_math_expert_raises_the_accuracy_of_the_base() {
    let world = World::new();
    let base = accuracy(&world, "tiny-math", &[]);
    let expert = accuracy(&world, "tiny-math", &["--expert", "math"]);
    assert!(expert >= base + GAIN, "{expert} is not {GAIN} above {base}");
}

#[test]
fn the_classifier_finds_the_expert_of_a_question() {
    let world = World::new();
    let question = "hey gimme a function f(x) to add 3 to x";
    let answer = world.json(&["answer", "tiny", question, "--strategy", "classifier"]);
    assert_eq!(answer["choice"], "code", "{answer}");
    assert_eq!(answer["mixture"]["code"], 1.0);
    assert!(answer["answer"].as_str().unwrap().contains("return x + 3"), "{answer}");
}

#[test]
fn a_chat_in_two_passes_chooses_at_every_turn() {
    let world = World::new();
    let mut chat = world.command(&["chat", "tiny", "--experts", EXPERTS]);
    let lines =
        "hey gimme a function f(x) to add 3 to x\n/reset\nso tom got 4 cups, then gives 2 to sara, how many now?\n";
    let done = finish(&mut chat, lines);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let [code, math] = ["(code)", "(math)"].map(|label| done.stderr.find(label));
    assert!(code.is_some() && code < math, "{}", done.stderr);
    assert!(done.stdout.contains("return x + 3") && done.stdout.contains("####"), "{}", done.stdout);
}

#[test]
fn an_evaluation_in_two_passes_says_what_it_chose() {
    let world = World::new();
    let args = ["eval", "tiny", "--task", "tiny-math-hard", "--limit", "20", "--strategy", "classifier"];
    let result = world.json(&args);
    let wanted =
        ["task", "split", "n", "accuracy", "stderr", "strategy", "first_pass_secs", "second_pass_secs", "choices"];
    let found = keys(&result);
    assert!(wanted.iter().all(|key| found.contains(key)), "{found:?}");
    let chosen: i64 = result["choices"].as_object().unwrap().values().filter_map(Value::as_i64).sum();
    assert_eq!(chosen, 20);
}

#[test]
fn a_training_run_goes_on_where_a_shorter_one_ended() {
    let world = World::new();
    let train = |dir: &str, steps: &str| {
        let dir = world.path(dir);
        let args = ["train", "tiny", "--task", "tiny-math", "--steps", steps, "--out", dir.to_str().unwrap()];
        world.json(&args)["expert_hash"].as_str().unwrap().to_owned()
    };
    let (whole, half) = (train("whole", "2"), train("parts", "1"));
    assert_ne!(whole, half);
    assert_eq!(whole, train("parts", "2"));
}
