//! The same answers on another backend. A software Vulkan driver, such as Mesa's lavapipe, will do.

use serde_json::Value;

use crate::support::World;

/// Rounding of f32 in another order of summation, relative to the largest logit.
const TOLERANCE: f64 = 1e-4;
/// Two ways to score a token in one process differ by rounding alone, in nats.
const LOGPROB_GAP: f64 = 1e-3;

/// A world, or none where this machine has no adapter.
fn world_with_adapter() -> Option<World> {
    let world = World::new();
    let devices = world.json(&["info"])["devices"].clone();
    let found = devices.as_array().unwrap().iter().any(|device| device["name"].as_str().unwrap().starts_with("wgpu"));
    if !found {
        println!("skipped: this machine has no Vulkan, Metal or DX12 adapter; Mesa's software driver will do");
    }
    found.then_some(world)
}

/// What `args` print on the CPU and through wgpu.
fn both(world: &World, args: &[&str]) -> [Value; 2] {
    ["cpu", "wgpu"].map(|device| world.json(&[args, &["--device", device]].concat()))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn logits_are_those_of_the_cpu() {
    let Some(world) = world_with_adapter() else { return };
    for more in [&[][..], &["--expert", "math"]] {
        let args = [&["logits", "tiny", "--ids", "2,100,200,300,3"], more].concat();
        let [cpu, gpu] = both(&world, &args).map(|json| numbers(&json["last_logits"]));
        let largest = cpu.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let worst = cpu.iter().zip(&gpu).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= TOLERANCE * largest, "{more:?}: {worst} of {largest}");
    }
}

#[test]
fn answers_are_those_of_the_cpu() {
    let Some(world) = world_with_adapter() else { return };
    let question = "hey gimme a function f(x) to add 3 to x";
    let generate = ["generate", "tiny", "--prompt", question, "--expert", "code"];
    let [cpu, gpu] = both(&world, &generate).map(|json| json["token_ids"].clone());
    assert_eq!(cpu, gpu);
    let answer = ["answer", "tiny", question, "--strategy", "classifier"];
    let [cpu, gpu] = both(&world, &answer).map(|json| (json["choice"].clone(), json["answer"].clone()));
    assert_eq!(cpu, gpu);
}

#[test]
fn an_expert_learns() {
    let Some(world) = world_with_adapter() else { return };
    let args = ["train", "model", "--task", "task.jsonl", "--steps", "2", "--out", "out", "--device", "wgpu"];
    let questions = ["one", "two", "three", "four", "five", "six"]
        .map(|word| format!("{{\"question\": \"{word} is\", \"answer\": \"two\"}}\n"));
    world.write("task.jsonl", &questions.concat());
    let last = world.json(&args);
    assert_eq!(last["step"], 2);
    assert!(last["logprob_gap"].as_f64().unwrap() < LOGPROB_GAP, "{last}");
}
