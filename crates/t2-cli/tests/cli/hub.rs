//! Models and data sets of the Hub, from servers on this machine that speak its protocol.

mod dataset;
mod gguf;
mod server;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use safetensors::tensor::SafeTensors;
use serde_json::{Value, json};

use crate::support::{Done, World};
use server::{Files, Hub, Reply, Request, answer};

const REPO: &str = "org/name";
const DATASET: &str = "datasets/org/name";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";
const WEIGHTS: &str = "model.safetensors";

/// Content of a file that is listed and cannot be had.
const GONE: &[u8] = b"";

fn files(world: &World) -> Files {
    let entries = std::fs::read_dir(world.path("model")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Files = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.insert("pytorch_model.bin".into(), vec![0; 100]);
    files
}

/// The same files with the weights in two shards.
fn sharded(mut files: Files) -> Files {
    let bytes = files.remove(WEIGHTS).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut map = BTreeMap::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let views: Vec<_> = tensors.tensors().into_iter().enumerate().filter(|(i, _)| i % 2 == shard).collect();
        map.extend(views.iter().map(|(_, (tensor, _))| (tensor.clone(), name.clone())));
        let views = views.into_iter().map(|(_, named)| named);
        files.insert(name, safetensors::serialize(views, None).unwrap());
    }
    files.insert("model.safetensors.index.json".into(), json!({ "weight_map": map }).to_string().into_bytes());
    files
}

const INFO: [&str; 4] = ["info", REPO, "--json", "-q"];
const LOGITS: [&str; 5] = ["logits", REPO, "--ids=2,13,3", "--json", "-q"];

#[track_caller]
fn document(done: &Done) -> Value {
    assert_eq!(done.code, 0, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

/// What the model itself says, without a Hub.
fn local(world: &World) -> Value {
    world.json(&["logits", "model", "--ids=2,13,3"])
}

/// Set a variable of a command.
fn with(name: &str, value: impl AsRef<OsStr>) -> impl FnOnce(&mut Command) {
    move |command| {
        command.env(name, value);
    }
}

fn offline(command: &mut Command) {
    with("HF_HUB_OFFLINE", "1")(command);
}

#[test]
fn a_model_is_downloaded_once() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    let described = document(&hub.run(&world, &INFO, |_| {}));
    assert_eq!((&described["model"]["hash"], &described["model"]["tokenizer"]), (&Value::Null, &json!(true)));
    assert!(!hub.take_files().contains(WEIGHTS), "a description needs no weights");
    assert_eq!(document(&hub.run(&world, &LOGITS, |_| {})), local(&world));
    let first = hub.take_requests();
    assert!(first.iter().all(|request| request.known), "{first:?}");
    let paths: Vec<&str> = first.iter().map(|request| request.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["main?blobs=true", WEIGHTS]);
    assert_eq!(document(&hub.run(&world, &LOGITS, |_| {})), local(&world));
    assert_eq!(hub.take_requests().len(), 1, "only the commit is asked for again");
    assert!(world.path("hf/hub/models--org--name/refs/main").exists());
    let described = document(&hub.run(&world, &INFO, |_| {}));
    assert_eq!(described["model"]["hash"], world.json(&["info", "model"])["model"]["hash"]);
}

#[test]
fn everything_that_tools_read_a_model_by_is_fetched() {
    let world = World::new();
    let mut files = files(&world);
    let beside = ["special_tokens_map.json", "added_tokens.json", "chat_template.json", "vocab.json", "merges.txt"];
    for name in beside.into_iter().chain(["tokenizer.model", "vocab.txt"]) {
        files.insert(name.into(), b"{}".to_vec());
    }
    files.insert("chat_template.jinja".into(), b"{{ bos_token }} {{ messages[0].content }}".to_vec());
    files.insert("tokenizer_config.json".into(), b"{}".to_vec());
    files.insert("special_tokens_map.json".into(), br#"{"bos_token": "nine"}"#.to_vec());
    let hub = Hub::serve(files.clone());
    let done = hub.run(&world, &["generate", REPO, "--prompt", "one", "--json"], |_| {});
    assert_eq!(document(&done)["prompt_ids"], json!([11, 3]), "the template finds its token");
    files.remove("pytorch_model.bin");
    assert_eq!(hub.take_files(), files.into_keys().collect());
}

#[test]
fn a_model_that_cannot_run_costs_no_weights() {
    let world = World::new();
    let check = |edit: &dyn Fn(&mut Files), args: &[&str], parts: &[&str]| {
        let mut files = files(&world);
        edit(&mut files);
        let hub = Hub::serve(files);
        let own_cache = tempfile::tempdir().unwrap();
        let done = hub.run(&world, args, with("HF_HOME", own_cache.path()));
        assert_eq!(done.code, 1, "{done:?}");
        assert!(parts.iter().all(|part| done.stderr.contains(part)), "{done:?} lacks one of {parts:?}");
        let asked = hub.take_files();
        assert!(!asked.iter().any(|name| name.contains("safetensors")), "{asked:?}");
    };
    let with = |key: &'static str, value: Value| {
        move |files: &mut Files| {
            let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
            config[key] = value.clone();
            files.insert("config.json".into(), config.to_string().into_bytes());
        }
    };
    let text = ["generate", REPO, "--prompt", "one"];
    check(&with("architectures", json!(["OtherForCausalLM"])), &LOGITS, &["OtherForCausalLM"]);
    check(&with("quantization_config", json!({ "quant_method": "awq" })), &LOGITS, &["quantized", "awq"]);
    check(&|files| drop(files.remove("tokenizer.json")), &text, &["no tokenizer.json", "token ids"]);
    let adapter = |files: &mut Files| {
        files.retain(|name, _| name == "tokenizer.json");
        files.insert("adapter_config.json".into(), br#"{"base_model_name_or_path": "org/base"}"#.to_vec());
        files.insert("adapter_model.safetensors".into(), vec![0; 100]);
    };
    check(&adapter, &text, &["adapter of org/base", "merge"]);
    check(&|files| drop(files.remove("config.json")), &LOGITS, &["no config.json"]);
    check(&|files| drop(files.remove(WEIGHTS)), &LOGITS, &["no model.safetensors"]);
}

#[test]
fn a_sharded_model_works_offline_afterwards() {
    let world = World::new();
    let hub = Hub::serve(sharded(files(&world)));
    let refused = hub.run(&world, &LOGITS, offline);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("HF_HUB_OFFLINE is set"), "{refused:?}");
    assert!(hub.take_requests().is_empty());

    document(&hub.run(&world, &INFO, |_| {}));
    hub.take_requests();
    document(&hub.run(&world, &INFO, offline));
    let refused = hub.run(&world, &LOGITS, offline);
    assert!(refused.stderr.contains("model.safetensors of org/name is not in the cache"), "{refused:?}");

    let at = format!("{REPO}@{COMMIT}");
    let at_commit = ["logits", &at, "--ids=2,13,3", "--json", "-q"];
    assert_eq!(document(&hub.run(&world, &at_commit, |_| {})), local(&world));
    assert_eq!(document(&hub.run(&world, &LOGITS, |_| {})), local(&world));
    hub.take_requests();
    assert_eq!(document(&hub.run(&world, &LOGITS, offline)), local(&world));
    assert_eq!(document(&hub.run(&world, &at_commit, offline)), local(&world));
    assert!(hub.take_requests().is_empty());
}

#[test]
fn an_unreachable_hub_leaves_the_cache() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    // The discard port, where nothing listens.
    let unreachable = |command: &mut Command| with("HF_ENDPOINT", "http://127.0.0.1:9")(command);
    let failed = hub.run(&world, &LOGITS, unreachable);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("cannot be reached") && failed.stderr.contains("no folder org/name"), "{failed:?}");
    document(&hub.run(&world, &LOGITS, |_| {}));
    let noted = hub.run(&world, &LOGITS[..4], unreachable);
    assert_eq!(document(&noted), local(&world));
    assert!(noted.stderr.contains("using the cached copy"), "{noted:?}");
}

#[test]
fn a_refusal_says_what_to_do() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    let no_token = hub.run(&world, &INFO, with("HF_TOKEN", ""));
    assert_eq!(no_token.code, 1);
    assert!(no_token.stderr.contains("HF_TOKEN") && no_token.stderr.contains("401"), "{no_token:?}");
    for name in ["org/other", "org/name@v9"] {
        let missing = hub.run(&world, &["info", name], |_| {});
        assert_eq!(missing.code, 1);
        assert!(missing.stderr.contains("check the name and the revision"), "{missing:?}");
    }
    let portal = Hub::answering(|_| Reply::new("200 OK", String::new(), b"<html>".to_vec()));
    let elsewhere = portal.run(&world, &INFO, |_| {});
    assert!(elsewhere.code == 1 && elsewhere.stderr.contains("something else than a model"), "{elsewhere:?}");
}

#[test]
fn a_download_that_was_cut_off_is_completed() {
    let world = World::new();
    let whole = files(&world);
    let mut partial = whole.clone();
    partial.insert(WEIGHTS.into(), GONE.to_vec());
    let failed = Hub::serve(partial).run(&world, &LOGITS, |_| {});
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("cannot download model.safetensors of org/name"), "{failed:?}");
    assert_eq!(document(&Hub::serve(whole).run(&world, &LOGITS, |_| {})), local(&world));
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let world = World::new();
    for ranges in [true, false] {
        let files = files(&world);
        let asked = AtomicUsize::new(0);
        let hub = Hub::answering(move |request| {
            let request = Request { start: request.start.filter(|_| ranges), ..request.clone() };
            let mut reply = answer(&request, &files, REPO);
            if request.path.ends_with(WEIGHTS) && asked.fetch_add(1, Ordering::Relaxed) == 0 {
                reply.breaks_after = 1000;
            }
            reply
        });
        let own_cache = tempfile::tempdir().unwrap();
        let done = hub.run(&world, &LOGITS, with("HF_HOME", own_cache.path()));
        assert_eq!(document(&done), local(&world));
        let starts = hub.take_requests().into_iter().filter(|request| request.path.ends_with(WEIGHTS));
        assert_eq!(starts.map(|request| request.start).collect::<Vec<_>>(), [None, Some(1000)]);
    }
}

#[test]
fn redirects_lead_to_the_model_and_take_no_token_along() {
    let world = World::new();
    let check = |hub: &Hub| {
        let own_cache = tempfile::tempdir().unwrap();
        let done = hub.run(&world, &LOGITS, with("HF_HOME", own_cache.path()));
        assert_eq!(document(&done), local(&world));
    };
    // A repository that has another name now.
    let renamed = files(&world);
    check(&Hub::answering(move |request| match request.path.contains(REPO) {
        true => Reply::redirect(&request.path.replace(REPO, "new/name")),
        false => answer(request, &renamed, "new/name"),
    }));
    // A mirror that sends everybody on.
    let hub = Hub::serve(files(&world));
    let to = hub.endpoint.clone();
    check(&Hub::answering(move |request| Reply::redirect(&format!("{to}{}", request.path))));
    // Content that lies on another host, which knows nothing of the Hub; its list says what the content is.
    let contents = files(&world);
    let storage = Hub::answering(move |request| Reply::content(&contents[request.path.trim_matches('/')], request));
    let to = storage.endpoint.replace("127.0.0.1", "localhost");
    let listed = files(&world);
    check(&Hub::answering(move |request| match request.path.rsplit_once("/resolve/") {
        Some((_, name)) => Reply::redirect(&format!("{to}/{}", name.rsplit('/').next().unwrap())),
        None => {
            let sibling = |(i, (name, bytes)): (usize, (&String, &Vec<u8>))| json!({ "rfilename": name, "size": bytes.len(), "blobId": format!("{i:040x}"), "lfs": null });
            let siblings: Vec<Value> = listed.iter().enumerate().map(sibling).collect();
            Reply::new("200 OK", String::new(), json!({ "sha": COMMIT, "siblings": siblings }).to_string().into())
        }
    }));
    let asked = storage.take_requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| !request.known), "{asked:?}");
}

#[test]
fn the_cache_is_where_every_tool_has_it() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    let check = |set: &[(&str, &str)], expected: &str| {
        let path = |value: &str| if value.starts_with('~') { value.into() } else { world.path(value) };
        let done = hub.run(&world, &INFO, |command| {
            command.env_remove("HF_HOME").env_remove("XDG_CACHE_HOME").env("HOME", world.path("home"));
            command.envs(set.iter().map(|(name, value)| (name, path(value))));
        });
        document(&done);
        let snapshot = format!("{expected}/models--org--name/snapshots/{COMMIT}/config.json");
        assert!(world.path(&snapshot).exists(), "{set:?}");
    };
    check(&[], "home/.cache/huggingface/hub");
    check(&[("XDG_CACHE_HOME", "xdg")], "xdg/huggingface/hub");
    check(&[("XDG_CACHE_HOME", "other"), ("HF_HOME", "a")], "a/hub");
    check(&[("HF_HOME", "~/b")], "home/b/hub");
    check(&[("HF_HOME", "other"), ("HUGGINGFACE_HUB_CACHE", "c")], "c");
    check(&[("HF_HOME", "other"), ("HUGGINGFACE_HUB_CACHE", "other"), ("HF_HUB_CACHE", "d")], "d");
    check(&[("HF_HUB_CACHE", "~/e")], "home/e");
    assert!(!world.path("other").exists());
}

#[test]
fn the_token_is_where_every_tool_has_it() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    world.write("hf/token", &format!("{TOKEN}\n"));
    world.write("elsewhere/token", TOKEN);
    world.write("wrong/token", "hf_other");
    let cache = world.path("cache-of-models");
    let check = |set: &[(&str, &str)], code: i32| {
        let done = hub.run(&world, &INFO, |command| {
            command.env_remove("HF_TOKEN").env("HF_HUB_CACHE", &cache).env("HF_HOME", world.path("wrong"));
            command.envs(set.iter().copied());
        });
        assert_eq!(done.code, code, "{set:?}: {done:?}");
    };
    check(&[], 1);
    check(&[("HF_HOME", world.path("hf").to_str().unwrap())], 0);
    check(&[("HF_TOKEN_PATH", world.path("elsewhere/token").to_str().unwrap())], 0);
    check(&[("HUGGING_FACE_HUB_TOKEN", TOKEN)], 0);
    check(&[("HF_TOKEN", &format!(" {TOKEN}\n"))], 0);
}

#[test]
fn offline_has_several_spellings() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    document(&hub.run(&world, &INFO, |_| {}));
    hub.take_requests();
    let asks = |name: &str, value: &str| {
        document(&hub.run(&world, &INFO, with(name, value)));
        !hub.take_requests().is_empty()
    };
    for value in ["1", "true", "TRUE", "Yes", "on"] {
        assert!(!asks("HF_HUB_OFFLINE", value), "{value}");
    }
    assert!(!asks("TRANSFORMERS_OFFLINE", "1"));
    for value in ["0", "false", "", "off"] {
        assert!(asks("HF_HUB_OFFLINE", value), "{value}");
    }
}
