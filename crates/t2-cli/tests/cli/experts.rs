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

#[test]
fn an_expert_is_shown_by_target_block_and_matrix() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    let shown = world.run(&["expert", "inspect", "half.safetensors"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, ""));
    for part in ["training", "‖z - 1‖", "block 1", "mlp.down", "██", "rms(z - 1)"] {
        assert!(shown.stderr.contains(part), "no `{part}` in {}", shown.stderr);
    }
    assert!(!shown.stderr.contains('\u{1b}'), "colors without a terminal: {}", shown.stderr);
    let json = world.json(&["expert", "inspect", "half.safetensors", "--changed", "0.5"]);
    assert_eq!(json["by_layer"]["1"]["count"], 48);
    let all = json["all"].as_object().unwrap();
    assert_eq!((all["min"].as_f64(), all["std"].as_f64(), all["changed"].as_f64()), (Some(0.5), Some(0.0), Some(0.0)));
    assert_eq!(json["by_target"]["mlp"], json["all"]);
    let json = world.json(&["expert", "inspect", "half.safetensors"]);
    assert_eq!(json["matrices"][0]["changed"], 1.0);
}

#[test]
fn weights_by_block_mix_block_by_block() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    world.save_expert("model", "double", 2.0);
    let mix = ["expert", "mix", "half.safetensors", "double.safetensors", "--out", "mixed.safetensors", "--layers"];
    world.json(&[&mix[..], &["0:half=1,1-:double=0.5"]].concat());
    let by_layer = world.json(&["expert", "inspect", "mixed.safetensors"])["by_layer"].clone();
    assert_eq!((by_layer["0"]["mean"].as_f64(), by_layer["1"]["mean"].as_f64()), (Some(0.5), Some(1.5)));
    let refused = world.run(&[&mix[..], &["0-7:half=1"]].concat());
    assert!(refused.code == 1 && refused.stderr.contains("2 blocks"), "{}", refused.stderr);
    let refused = world.run(&[&mix[..], &["half=1"]].concat());
    assert!(refused.code == 2 && refused.stderr.contains("0-11:half=1"), "{}", refused.stderr);
}

#[test]
fn two_experts_of_one_model_are_compared() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    world.save_expert("model", "double", 2.0);
    let json = world.json(&["expert", "diff", "half.safetensors", "double.safetensors"]);
    let expected = ["a", "b", "base_model", "cosine", "max", "mean", "by_target", "by_layer", "matrices"];
    assert_eq!(keys(&json), expected);
    assert_eq!((json["cosine"].as_f64(), json["max"].as_f64()), (Some(-1.0), Some(1.5)));
    assert_eq!(json["matrices"].as_array().unwrap().len(), 6);
    let shown = world.run(&["expert", "diff", "half.safetensors", "half.safetensors"]).stderr;
    assert!(shown.contains("1.0000") && shown.contains("block 0"), "{shown}");
    world.save_model("other", 2);
    world.save_expert("other", "stranger", 0.5);
    let refused = world.run(&["expert", "diff", "half.safetensors", "stranger.safetensors"]);
    assert!(refused.code == 1 && refused.stderr.contains("was trained on the base model"), "{}", refused.stderr);
}

#[test]
fn a_model_goes_out_with_its_expert_in_its_weights() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    let export = ["export", "model", "--expert", "half.safetensors=0.5", "--to", "hf", "--shard-size", "4KB", "merged"];
    let json = world.json(&export);
    assert_eq!(keys(&json), ["path", "residual", "files", "bytes", "tensors", "changed"]);
    assert!(json["files"].as_array().unwrap().len() > 1 && json["changed"] == 6, "{json}");
    let logits = |args: &[&str]| {
        let json = world.json(&[&["logits"], args, &["--ids", "15,14,3"]].concat());
        json["last_logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (merged, expected) = (logits(&["merged"]), logits(&["model", "--expert", "half.safetensors=0.5"]));
    let distance = merged.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(distance < SAME, "{distance:e}");
    // The tokenizer came along.
    assert_eq!(world.run(&["generate", "merged", "--prompt", "one", "--max-new-tokens", "1"]).code, 0);
    let again = world.run(&export);
    assert!(again.code == 1 && again.stderr.contains("merged is there already"), "{}", again.stderr);
}

#[test]
fn a_model_goes_out_as_one_file_with_its_tokenizer() {
    let world = World::new();
    let export = |more: &[&str]| {
        let json = world.json(&[&["export", "tiny", "--expert", "math=0.5", "--to", "gguf"], more].concat());
        json["bytes"].as_u64().unwrap()
    };
    let single = export(&["--dtype", "f32", "single.gguf"]);
    let half = export(&["half.gguf"]);
    assert!(half < single && single <= 2 * half, "{half} and {single} bytes");
    assert!(export(&["--quantize", "q8_0", "quantized.gguf"]) <= half);
    let answer = |model: &str, more: &[&str]| {
        let generate = ["generate", model, "--prompt", "12 + 30 =", "--max-new-tokens", "4", "--temperature", "0"];
        world.json(&[&generate, more].concat())["token_ids"].clone()
    };
    let expected = answer("tiny", &["--expert", "math=0.5"]);
    assert_eq!([answer("single.gguf", &[]), answer("half.gguf", &[])], [expected.clone(), expected]);
    for (args, part) in [
        (&["--to", "gguf", "folder"][..], "end in .gguf"),
        (&["--to", "gguf", "half.gguf"], "there already"),
        (&["--to", "hf", "--quantize", "q8_0", "folder"], "is for --to gguf"),
        (&["--to", "gguf", "--quantize", "q8_0", "--dtype", "f32", "both.gguf"], "give one of them"),
    ] {
        let refused = world.run(&[&["export", "tiny"], args].concat());
        assert!(refused.code == 1 && refused.stderr.contains(part), "{}", refused.stderr);
    }
}

#[test]
fn an_expert_goes_out_as_an_adapter_that_says_what_it_leaves_out() {
    let world = World::new();
    world.save_expert("model", "half", 0.5);
    let export = ["export", "model", "--to", "peft", "--rank", "3", "adapter"];
    let json = world.json(&[&export[..], &["--expert", "half.safetensors"]].concat());
    assert_eq!(keys(&json), ["path", "residual", "rank", "matrices"]);
    assert!((0.1..1.0).contains(&json["residual"].as_f64().unwrap()), "{json}");
    assert_eq!(json["matrices"].as_array().unwrap().len(), 6);
    assert!(world.path("adapter/adapter_config.json").exists());
    let refused = world.run(&["export", "model", "--to", "peft", "other"]);
    assert!(refused.code == 1 && refused.stderr.contains("no expert is given"), "{}", refused.stderr);
}

#[test]
fn an_expert_of_the_original_project_comes_in() {
    let world = World::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../t2-model/tests/golden");
    let (file, model) = (format!("{golden}/policy_params.pt"), format!("{golden}/untied"));
    let import = ["import", &file, "--model", &model, "--out", "in/original.safetensors"];
    let json = world.json(&import);
    assert_eq!(keys(&json), ["path", "residual", "expert", "expert_hash", "name", "parameters"]);
    assert_eq!((json["name"].as_str(), json["parameters"].as_u64()), (Some("original"), Some(192)));
    let inspected = world.json(&["expert", "inspect", "in/original.safetensors"]);
    assert_eq!((&inspected["expert_hash"], inspected["targets"].as_str()), (&json["expert_hash"], Some("mlp")));
    let done = world.run(&["logits", &model, "--ids", "3,17,5", "--expert", "in/original.safetensors"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let refused = world.run(&["import", &file, "--model", "model", "--out", "other.safetensors"]);
    assert!(refused.code == 1 && refused.stderr.contains("singular values"), "{}", refused.stderr);
}
