//! Expert files, and running under them.

use crate::support::{World, keys};

const PROMPT: [&str; 4] = ["logits", "model", "--ids", "15,14,3"];

/// Largest difference of the last logits of two runs.
fn distance(world: &World, a: &[&str], b: &[&str]) -> f64 {
    let logits = |expert: &[&str]| {
        let json = world.json(&[&PROMPT[..], expert].concat());
        json["last_logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>()
    };
    logits(a).iter().zip(logits(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Logits of order one, through factors instead of dense weights.
const SAME: f64 = 1e-5;

#[test]
fn an_expert_changes_the_model_as_far_as_it_says() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    world.save_expert("model", "ones", 1.0);
    world.save_expert("model", "three", 0.75);
    assert!(distance(&world, &["--expert", "ones.safetensors"], &[]) < SAME);
    assert!(distance(&world, &["--expert", "half.safetensors=0"], &[]) < SAME);
    assert!(distance(&world, &["--expert", "half.safetensors"], &[]) > 100.0 * SAME);
    assert!(distance(&world, &["--expert", "half.safetensors=0.5"], &["--expert", "three.safetensors"]) < SAME);
    let both = ["--expert", "half.safetensors=0.5", "--expert", "ones.safetensors=0.5"];
    assert!(distance(&world, &both, &["--expert", "three.safetensors"]) < SAME);
}

#[test]
fn a_result_names_the_expert_by_its_hash() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    let generate = ["generate", "model", "--prompt", "one", "--max-new-tokens", "2", "--expert"];
    let hash = world.json(&[&generate[..], &["half.safetensors"]].concat())["expert_hash"].clone();
    let inspected = world.json(&["expert", "inspect", "half.safetensors"]);
    assert_eq!(inspected["expert_hash"], hash);
    assert_eq!(inspected["targets"], "mlp");
    assert_eq!(inspected["matrices"].as_array().unwrap().len(), 6);
    assert_eq!(inspected["matrices"][0]["rms_change"], 0.5);

    std::fs::create_dir(world.path("model/experts")).unwrap();
    std::fs::rename(world.path("half.safetensors"), world.path("model/experts/half.safetensors")).unwrap();
    let by_name = world.json(&[&generate[..], &["half"]].concat());
    assert_eq!(by_name["expert_hash"], hash);
}

#[test]
fn a_mixture_written_acts_like_the_same_mixture_at_once() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    world.save_expert("model", "double", 2.0);
    let mixed = world.json(&[
        "expert",
        "mix",
        "half.safetensors=0.3",
        "double.safetensors=0.6",
        "--out",
        "deep/mixed.safetensors",
        "--name",
        "both",
    ]);
    assert_eq!(keys(&mixed), ["expert", "expert_hash", "name", "parameters"]);
    assert_eq!(mixed["name"], "both");
    let written = ["--expert", "deep/mixed.safetensors"];
    let at_once = ["--expert", "half.safetensors=0.3", "--expert", "double.safetensors=0.6"];
    assert_eq!(distance(&world, &written, &at_once), 0.0);
}
