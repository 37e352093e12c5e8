//! A small random checkpoint with a tokenizer and experts, and running `t2` on it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use burn::prelude::Device;
use serde_json::{Value, json};
use t2_model::adapter::expert::Parametrization;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, GenerationDefaults};
use t2_model::decoder::{AttentionConfig, DecoderConfig, MlpConfig};
use t2_model::decomposition::Targets;
use tempfile::TempDir;

/// Words of the test vocabulary; their position is their id. `.` ends a completion.
pub(crate) const WORDS: [&str; 16] = [
    "<unk>", ".", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "plus", "is",
    "what",
];

/// Longest sequence of the test model, in tokens.
pub(crate) const CONTEXT: usize = 24;

/// The binary under test.
pub(crate) const T2: &str = env!("CARGO_BIN_EXE_t2");

/// A folder that everything of one test lives in.
pub(crate) struct World {
    root: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// With a random model in the folder `model`.
    pub(crate) fn new() -> Self {
        let world = Self { root: tempfile::tempdir().unwrap() };
        world.save_model("model", 1);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A random model with a tokenizer.
    pub(crate) fn save_model(&self, name: &str, seed: u64) {
        let device = Device::flex();
        device.seed(seed);
        let generation = GenerationDefaults { eos: vec![1], ..GenerationDefaults::default() };
        checkpoint::save(&config().init(&device), &Llama, &generation, &self.path(name)).unwrap();
        std::fs::write(self.path(name).join("tokenizer.json"), tokenizer().to_string()).unwrap();
    }

    /// An expert of `model` that scales every feed-forward matrix by `z`.
    pub(crate) fn save_expert(&self, model: &str, name: &str, z: f32) -> PathBuf {
        let config = config();
        let paths = config.parameters().filter(|(path, _)| path.contains(".mlp.") && path.ends_with(".weight"));
        let scales: BTreeMap<_, _> = paths.map(|(path, shape)| (path, vec![z; shape[0].min(shape[1])])).collect();
        let info = ExpertInfo {
            name: name.into(),
            base_model: checkpoint::hash(&self.path(model)).unwrap(),
            targets: Targets::MLP,
            parametrization: Parametrization::Scale,
            training: "none".into(),
        };
        let path = self.path(&format!("{name}.safetensors"));
        Expert::new(scales, info).unwrap().save(&path).unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// `t2` with its caches in this world and no proxy, run in its folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of(T2, args)
    }

    /// `program`, in the same way.
    pub(crate) fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.root.path());
        command.env("T2_CACHE", self.path("cache")).env("HF_HOME", self.path("hf")).env("NO_COLOR", "1");
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            command.env_remove(name);
        }
        for name in ["HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "RUST_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        finish(&mut self.command(args), "")
    }

    /// Run `args --json` and read the document.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[args, &["--json", "-q"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
        serde_json::from_str(&done.stdout).unwrap()
    }
}

/// Run `command` with `stdin` as its input.
pub(crate) fn finish(command: &mut Command, stdin: &str) -> Done {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The keys of a JSON object, in order.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Cut a file short.
pub(crate) fn truncate(path: &Path, len: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

pub(crate) fn config() -> DecoderConfig {
    DecoderConfig {
        vocab: WORDS.len(),
        d_model: 16,
        max_seq_len: CONTEXT,
        attention: AttentionConfig::new(2, 1, 8),
        mlp: MlpConfig::new(24),
        ..DecoderConfig::tiny()
    }
}

fn tokenizer() -> Value {
    let vocab: BTreeMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" }
    })
}
