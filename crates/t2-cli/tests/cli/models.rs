//! info, generate and logits.

use serde_json::Value;
use t2_model::decomposition::Targets;

use crate::support::{CONTEXT, WORDS, World, config, keys};

#[test]
fn info_lists_devices_and_describes_a_model() {
    let world = World::new();
    let alone = world.json(&["info"]);
    assert_eq!(keys(&alone), ["devices", "model", "parameters", "svf_parameters"]);
    assert_eq!(alone["devices"][0]["name"], "cpu");
    assert!(alone["model"].is_null());

    let info = world.json(&["info", "model"]);
    assert_eq!(info["parameters"], config().num_params());
    assert_eq!(info["svf_parameters"]["mlp,attn"], Targets::ALL.num_scales(&config()));
    assert_eq!(info["model"]["config"]["d_model"], config().d_model);
    assert_eq!(info["model"]["tokenizer"], true);
}

#[test]
fn a_table_goes_to_stderr_and_quiet_hides_it() {
    let world = World::new();
    let loud = world.run(&["info", "model"]);
    assert_eq!((loud.code, loud.stdout.as_str()), (0, ""));
    assert!(loud.stderr.contains("trainable z") && loud.stderr.contains("cpu"), "{}", loud.stderr);
    assert_eq!(world.run(&["info", "model", "-q"]).stderr, "");
}

#[test]
fn generate_has_the_promised_keys_and_streams_the_same_text() {
    let world = World::new();
    let args = ["generate", "model", "--prompt", "what is one plus two", "--max-new-tokens", "6"];
    let json = world.json(&args);
    let expected = ["prompt_ids", "token_ids", "text", "finish_reason", "tokens_per_sec", "expert_hash"];
    assert_eq!(keys(&json), expected);
    assert_eq!(json["prompt_ids"], serde_json::json!([15, 14, 3, 13, 4]));
    assert!(json["tokens_per_sec"].as_f64().unwrap() > 0.0);
    assert!(json["expert_hash"].is_null());
    let ids: Vec<usize> =
        json["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as usize).collect();
    let stopped = ids.last() == Some(&1);
    assert_eq!(json["finish_reason"], if stopped { "stop" } else { "length" });
    let words = ids.iter().map(|&id| WORDS[id]).collect::<Vec<_>>().join(" ");
    assert_eq!(json["text"], words);

    let streamed = world.run(&args);
    assert_eq!((streamed.code, streamed.stdout.trim_end()), (0, words.as_str()));
}

#[test]
fn a_seed_decides_what_is_sampled() {
    let world = World::new();
    let sample = |seed: &str| {
        let args = ["generate", "model", "--prompt", "one", "--temperature", "2", "--max-new-tokens", "12"];
        world.json(&[&args[..], &["--seed", seed]].concat())["token_ids"].clone()
    };
    assert_eq!(sample("1"), sample("1"));
    assert!((2..6).any(|seed| sample(&seed.to_string()) != sample("1")));
}

#[test]
fn ids_need_no_tokenizer() {
    let world = World::new();
    std::fs::remove_file(world.path("model/tokenizer.json")).unwrap();
    let json = world.json(&["generate", "model", "--prompt-ids", "3,13,4", "--max-new-tokens", "2"]);
    assert!(json["text"].is_null());
    assert_eq!(json["prompt_ids"], serde_json::json!([3, 13, 4]));
    let text = world.run(&["generate", "model", "--prompt-ids", "3,13,4", "--max-new-tokens", "2"]).stdout;
    assert_eq!(text.split_whitespace().count(), json["token_ids"].as_array().unwrap().len());
    world.write("model/vocab.txt", "one\ntwo\n");
    let unread = world.json(&["generate", "model", "--prompt-ids", "3,13,4", "--max-new-tokens", "2"]);
    assert_eq!(unread["token_ids"], json["token_ids"]);
}

#[test]
fn without_a_limit_a_completion_ends_with_the_context() {
    let world = World::new();
    let json = world.json(&["generate", "model", "--prompt", "one two"]);
    assert!(json["token_ids"].as_array().unwrap().len() <= CONTEXT - 2);
}

#[test]
fn logits_say_what_generation_takes() {
    let world = World::new();
    let json = world.json(&["logits", "model", "--ids", "15,14,3", "--top", "3"]);
    assert_eq!(keys(&json), ["logsumexp", "top", "last_logits"]);
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let last = numbers(&json["last_logits"]);
    assert_eq!((last.len(), json["logsumexp"].as_array().unwrap().len()), (WORDS.len(), 3));
    let sum: f64 = last.iter().map(|logit| logit.exp()).sum();
    // Sums of 16 numbers of order one.
    assert!((sum.ln() - numbers(&json["logsumexp"])[2]).abs() < 1e-6);
    let top = numbers(&json["top"][2]["logits"]);
    assert!(top.is_sorted_by(|a, b| a >= b) && top.len() == 3);
    assert_eq!(top[0], last.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let next = world.json(&["generate", "model", "--prompt-ids", "15,14,3", "--max-new-tokens", "1"]);
    assert_eq!(next["token_ids"][0], json["top"][2]["ids"][0]);
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let done = World::new().run(&["logits", "tiny", "--ids", "5,17", "--expert", "math=1e38", "--json"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(done.stderr.contains("the logits at position 0 are not finite"), "{}", done.stderr);
}

#[test]
fn an_answer_ends_at_every_end_that_the_folder_names() {
    let world = World::new();
    world.write("model/tokenizer_config.json", r#"{"eos_token": "ten", "eot_token": "nowhere"}"#);
    assert_eq!(world.json(&["info", "model"])["model"]["eos_token_ids"], serde_json::json!([1, 12]));
    let args = ["generate", "model", "--prompt", "what is one plus two", "--max-new-tokens", "6", "--temperature", "5"];
    let stops = (0..20).any(|seed: u32| {
        let json = world.json(&[&args[..], &["--seed", &seed.to_string()]].concat());
        let ids = json["token_ids"].as_array().unwrap();
        assert!(ids.iter().rev().skip(1).all(|id| id != 1 && id != 12), "{ids:?}");
        let ends = ids.last().is_some_and(|id| id == 12);
        assert!(!ends || (json["finish_reason"] == "stop" && !json["text"].as_str().unwrap().contains("ten")));
        ends
    });
    assert!(stops, "some answer ends with `ten`");
}
