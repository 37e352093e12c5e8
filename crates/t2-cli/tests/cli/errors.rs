//! What goes wrong, and what is said about it.

use crate::support::{Done, World, truncate};
#[cfg(unix)]
use crate::support::{T2, WORDS, finish};

/// Run `args` and expect `code` and an `error: …` that holds all of `parts`.
#[track_caller]
fn check(world: &World, args: &[&str], code: i32, parts: &[&str]) {
    check_done(&world.run(args), args, code, parts);
}

#[track_caller]
fn check_done(done: &Done, args: &[&str], code: i32, parts: &[&str]) {
    assert_eq!(done.code, code, "{args:?}: {done:?}");
    let error = done.stderr.lines().find(|line| line.starts_with("error: "));
    assert!(error.is_some(), "{args:?} says no error: {done:?}");
    let error = error.unwrap_or_default();
    for part in parts {
        assert!(error.contains(part), "{args:?}: `{part}` is not in {error}");
    }
    for word in ["panicked", "RUST_BACKTRACE", "internal"] {
        assert!(!done.stderr.contains(word), "{args:?}: {done:?}");
    }
    if code == 1 {
        assert_eq!(done.stderr.matches("error: ").count(), 1, "one sentence: {done:?}");
        assert!(done.stderr.ends_with(&format!("{error}\n")), "{done:?}");
        assert_eq!(done.stdout, "", "{args:?}");
    }
}

#[test]
fn bad_usage_exits_with_2() {
    let world = World::new();
    let usage: &[&[&str]] = &[
        &["generate", "model"],
        &["generate", "model", "--prompt", "one", "--prompt-ids", "1"],
        &["generate", "model", "--prompt-ids", "1,x"],
        &["generate", "model", "--prompt-ids", ""],
        &["generate", "model", "--prompt", "one", "--temperature", "-1"],
        &["generate", "model", "--prompt", "one", "--top-p", "0"],
        &["generate", "model", "--prompt", "one", "--expert", "x=much"],
        &["logits", "model"],
        &["info", "--dtype", "f64"],
        &["expert"],
        &["nonsense"],
    ];
    for args in usage {
        let done = world.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{args:?}");
    }
    check(&world, &["info", "--device", "tpu"], 2, &["`tpu` is no device", "cpu", "cuda:0"]);
}

#[test]
fn a_prompt_that_does_not_fit() {
    let world = World::new();
    let long = ["one"; 30].join(" ");
    check(&world, &["generate", "model", "--prompt", ""], 1, &["the prompt is empty"]);
    check(&world, &["generate", "model", "--prompt", &long], 1, &["30 tokens", "24", "shorten"]);
    check(&world, &["generate", "model", "--prompt", "one", "--max-new-tokens", "24"], 1, &["24 are to follow"]);
    check(&world, &["generate", "model", "--prompt-ids", "16"], 1, &["token id 16", "knows 16"]);
    check(&world, &["logits", "model", "--ids", "16"], 1, &["token id 16"]);
}

#[test]
fn a_model_that_is_not_there() {
    let world = World::new();
    world.write("file", "");
    world.write("empty/notes.txt", "");
    check(&world, &["info", "modell"], 1, &["`modell`", "tiny", "org/name"]);
    check(&world, &["info", "./modell"], 1, &["`./modell`"]);
    check(&world, &["info", "file"], 1, &["`file` is a file"]);
    check(&world, &["info", "empty"], 1, &["config.json"]);
}

#[test]
fn a_model_that_is_broken() {
    let world = World::new();
    truncate(&world.path("model/model.safetensors"), 2000);
    check(&world, &["info", "model"], 1, &["model.safetensors is broken"]);
    check(&world, &["generate", "model", "--prompt", "one"], 1, &["model.safetensors is broken"]);
    world.save_model("model", 1);
    world.write("model/tokenizer.json", "{");
    check(&world, &["generate", "model", "--prompt", "one"], 1, &["tokenizer.json is broken"]);
    std::fs::remove_file(world.path("model/tokenizer.json")).unwrap();
    check(&world, &["generate", "model", "--prompt", "one"], 1, &["no tokenizer.json", "token ids"]);
    world.write("model/vocab.json", "{}");
    check(&world, &["generate", "model", "--prompt", "one"], 1, &["vocab.json needs merges.txt"]);
    world.write("model/config.json", "{\"architectures\": [\"MambaForCausalLM\"]}");
    check(&world, &["info", "model"], 1, &["MambaForCausalLM"]);
}

#[test]
fn an_expert_that_does_not_belong() {
    let world = World::new();
    world.save_model("other", 2);
    let other = world.save_expert("other", "stranger", 0.5);
    let own = world.save_expert("model", "own", 0.5);
    let (other, own) = (other.to_str().unwrap(), own.to_str().unwrap());
    let generate = |expert: &'static str| ["generate", "model", "--prompt", "one", "--expert", expert];
    check(&world, &generate("stranger.safetensors"), 1, &["`stranger`", "base model", "this model is"]);
    check(&world, &generate("missing"), 1, &["cannot read the expert missing"]);
    check(&world, &generate("model/model.safetensors"), 1, &["is not an expert file"]);
    check(&world, &["expert", "mix", own, other, "--out", "mixed"], 1, &["`stranger`", "base model"]);
    assert!(!world.path("mixed").exists());
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_built_in() {
    let world = World::new();
    check(&world, &["info", "--device", "cuda"], 1, &["without cuda", "cpu", "--features cuda"]);
}

/// No file may grow beyond half a kilobyte, which the system refuses as it refuses to write to a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_file_behind() {
    const LIMITED: &str = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let world = World::new();
    world.save_expert("model", "own", 0.5);
    let questions = WORDS[3..12].iter().map(|word| format!("{{\"question\": \"{word} is\", \"answer\": \"two\"}}\n"));
    world.write("task.jsonl", &questions.collect::<String>());
    let run = "model = \"model\"\ntask = \"task.jsonl\"\nname = \"own\"\n[train]\nsteps = 1\nmax_new_tokens = 4\n";
    world.write("run.toml", run);
    // The factors that training needs are in the cache, so that it comes to files of its own.
    world.json(&["decompose", "model"]);
    let commands: &[&[&str]] = &[
        &["decompose", "model", "--out", "out"],
        &["expert", "mix", "own.safetensors=2", "--out", "out/mixed.safetensors"],
        &["train", "--config", "run.toml", "--out", "out"],
    ];
    for args in commands {
        let done = finish(&mut world.command_of("sh", &[&["-c", LIMITED, T2], *args].concat()), "");
        check_done(&done, args, 1, &["cannot write out/", "free some space"]);
        let names = std::fs::read_dir(world.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
        // Metrics are appended, a line at a time, and a run is locked by a file of its own.
        let left: Vec<_> = names.filter(|name| name != "metrics.jsonl" && name != "run.lock").collect();
        let empty = |name: &std::ffi::OsString| {
            let path = world.path("out").join(name);
            path.is_dir() && std::fs::read_dir(path).unwrap().next().is_none()
        };
        assert!(left.iter().all(empty), "{args:?} left {left:?}");
    }
}
