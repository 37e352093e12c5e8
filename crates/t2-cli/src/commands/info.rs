//! `t2 info`: devices, and a model by its config and the headers of its files.

use std::collections::BTreeMap;

use burn::tensor::DType;
use bytesize::ByteSize;
use serde_json::{Value, json};
use t2_model::Footprint;
use t2_model::checkpoint::{self, Files, StoredAs, Summary};
use t2_model::decoder::{AttentionConfig, DecoderConfig};
use t2_model::decomposition::Targets;
use t2_model::text::Tokenizer;
use t2_session::source::{self, Found};

use crate::cli::Global;
use crate::output::Output;
use crate::terminal::Terminal;
use crate::{device, environment};

/// The sets of weights that experts adapt.
const TARGET_SETS: [Targets; 3] = [Targets::MLP, Targets::ATTN, Targets::ALL];
/// The types that weights may have in memory.
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// Weights of up to so many bytes are hashed without being asked: it takes a second.
const HASHED_AT_ONCE: usize = 2 << 30;

/// List devices; describe a model
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `tiny` (bundled), a folder in the Hugging Face layout, a .gguf file, or `org/name[@revision][:file.gguf]` of the Hub
    #[arg(value_name = "MODEL")]
    model: Option<String>,

    /// Read all weights for their hash, however many there are; it is remembered
    #[arg(long, requires = "model")]
    hash: bool,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let found = devices(global, out)?;
    let mut result = json!({ "devices": found.iter().map(entry).collect::<Vec<_>>(), "model": null, "parameters": null, "svf_parameters": null });
    if let Some(name) = &args.model {
        let terminal = Terminal::new(out);
        let sources = environment::sources();
        let model = source::find(name, &sources, &terminal)?;
        let mut summary = checkpoint::summarize(model.path())?;
        let mut weights = Weights::of(&model, sources.hashes().as_deref(), args.hash)?;
        if let Some(config) = weights.config.take() {
            summary.config = config;
        }
        result["model"] = describe(&model, &summary, weights, out)?;
        result["parameters"] = summary.config.num_params().into();
        result["svf_parameters"] = svf_parameters(&summary.config, out);
        result["memory"] = memory(&summary.config, &found, out);
    }
    out.json(&result)
}

/// What the headers of the weights say, and their hash as far as it is known. Nothing before they are downloaded.
#[derive(Default)]
struct Weights {
    stored: Option<BTreeMap<&'static str, StoredAs>>,
    hash: Option<String>,
    /// The shape of the model: a head that is stored may be another than the config says.
    config: Option<DecoderConfig>,
}

impl Weights {
    fn of(found: &Found, hashes: Option<&std::path::Path>, ask: bool) -> anyhow::Result<Self> {
        if !found.is_complete() {
            return Ok(Self::default());
        }
        let files = Files::open(found.path())?;
        let stored = files.stored_as()?;
        let bytes: usize = stored.values().map(|stored| stored.bytes).sum();
        let hash = match hashes.and_then(|hashes| files.known_hash(hashes)) {
            None if ask || bytes <= HASHED_AT_ONCE => Some(files.hash(hashes)?),
            known => known,
        };
        Ok(Self { stored: Some(stored), hash: hash.map(|hash| hash.to_string()), config: Some(files.config) })
    }

    /// The hash, or why there is none.
    fn hash_or_reason(&self) -> String {
        match (&self.hash, &self.stored) {
            (Some(hash), _) => hash.clone(),
            (None, None) => "the weights are not downloaded".to_owned(),
            (None, Some(_)) => "not computed, `--hash` reads all weights for it".to_owned(),
        }
    }

    /// How the weights are stored: `63.3 MiB in Q4_1 (210 tensors), …`.
    fn stored(&self) -> String {
        let Some(stored) = &self.stored else { return "not downloaded".to_owned() };
        let size = |bytes: usize| ByteSize::b(bytes as u64);
        let parts = stored.iter().map(|(ty, all)| format!("{} in {ty} ({} tensors)", size(all.bytes), all.tensors));
        parts.collect::<Vec<_>>().join(", ")
    }
}

fn devices(global: &Global, out: &Output) -> anyhow::Result<Vec<device::Found>> {
    // A device that does not exist is an error here too.
    device::open(global.device)?;
    let auto = device::auto().name;
    let found = device::list();
    let rows = found.iter().map(|found| {
        let use_of = match (found.name == auto, found.software) {
            (true, _) => "auto",
            (_, true) => "software, by name only",
            _ => "",
        };
        vec![found.name.clone(), found.about.clone(), use_of.to_owned()]
    });
    out.table(&["device", "product", "use"], &rows.collect::<Vec<_>>());
    Ok(found)
}

fn entry(found: &device::Found) -> Value {
    json!({
        "name": found.name,
        "about": found.about,
        "software": found.software,
        "auto": found.name == device::auto().name,
        "free_memory": found.free_memory,
    })
}

fn describe(found: &Found, summary: &Summary, weights: Weights, out: &Output) -> anyhow::Result<Value> {
    let Summary { architecture, config, generation } = summary;
    let path = found.path();
    let tokenizer = Tokenizer::load(path)?;
    let mut generation = generation.clone();
    generation.end_at(tokenizer.iter().flat_map(Tokenizer::end_tokens));
    let DecoderConfig { layers, d_model, vocab, max_seq_len, attention, mlp, .. } = config;
    let AttentionConfig { heads, kv_heads, head_dim, .. } = attention;
    let d_hidden = mlp.d_hidden;
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    let tokens = tokenizer.as_ref().map_or("no tokenizer".to_owned(), |t| format!("{} tokens", t.vocab()));
    out.note("");
    out.table(
        &["model", &path.display().to_string()],
        &[
            line("architecture", (*architecture).to_owned()),
            line("hash", weights.hash_or_reason()),
            line("stored", weights.stored()),
            line("blocks", format!("{layers} x (d_model {d_model}, d_hidden {d_hidden})")),
            line("attention", format!("{heads} heads of {head_dim}, {kv_heads} for keys and values")),
            line("vocabulary", format!("{vocab}, {tokens}")),
            line("context", format!("{max_seq_len} tokens")),
            line("parameters", thousands(config.num_params())),
        ],
    );
    Ok(json!({
        "folder": path,
        "architecture": architecture,
        "hash": weights.hash,
        "stored": weights.stored,
        "config": config,
        "eos_token_ids": generation.eos,
        "tokenizer": tokenizer.is_some(),
        "chat_template": tokenizer.is_some_and(|tokenizer| tokenizer.chat_template().is_some()),
    }))
}

fn svf_parameters(config: &DecoderConfig, out: &Output) -> Value {
    let counts = TARGET_SETS.map(|targets| (targets.to_string(), targets.num_scales(config)));
    let rows = counts.iter().map(|(targets, scales)| {
        let share = 100.0 * *scales as f64 / config.num_params() as f64;
        vec![targets.clone(), thousands(*scales), format!("{share:.3} %")]
    });
    out.note("");
    out.table(&["targets", "trainable z", "of all parameters"], &rows.collect::<Vec<_>>());
    Value::Object(counts.into_iter().map(|(targets, scales)| (targets, scales.into())).collect())
}

/// What the model takes in memory, by the type of its weights, and on which devices that much is free.
fn memory(config: &DecoderConfig, devices: &[device::Found], out: &Output) -> Value {
    let size = |bytes: usize| ByteSize::b(bytes as u64).to_string();
    let mut rows = vec![];
    let mut result = json!({});
    for dtype in DTYPES {
        let of = |targets| Footprint::of(config, dtype, targets);
        let Footprint { weights, cache_per_token, .. } = of(Targets::NONE);
        let factors = TARGET_SETS.map(|targets| (targets.to_string(), of(targets).factors));
        let fits = |targets| fits(config, dtype, targets, devices);
        let (base, adapted) = (fits(Targets::NONE), fits(Targets::ALL));
        let mut row = vec![dtype.name().to_owned(), size(weights)];
        row.extend(factors.iter().map(|(_, bytes)| format!("+ {}", size(*bytes))));
        row.extend([size(cache_per_token), verdicts(&base, &adapted)]);
        rows.push(row);
        result[dtype.name()] = json!({
            "weights": weights,
            "factors": factors.into_iter().collect::<BTreeMap<_, _>>(),
            "cache_per_token": cache_per_token,
            "fits": base,
            "fits_adapted": adapted,
        });
    }
    out.note("");
    let [mlp, attn, all] = TARGET_SETS.map(|targets| format!("factors {targets}"));
    out.table(&["in memory", "weights", &mlp, &attn, &all, "a token", "fits"], &rows);
    result
}

/// Whether weights of `dtype` with factors for `targets` fit each device, as it keeps them; `null` where that is not known.
fn fits(
    config: &DecoderConfig,
    dtype: DType,
    targets: Targets,
    devices: &[device::Found],
) -> serde_json::Map<String, Value> {
    let fits = |found: &device::Found| {
        let dtype = if found.computes_in(dtype) { dtype } else { DType::F32 };
        let Footprint { weights, factors, .. } = Footprint::of(config, dtype, targets);
        found.free_memory.map(|free| (weights + factors) as u64 <= free)
    };
    devices.iter().map(|found| (found.name.clone(), fits(found).into())).collect()
}

/// Where the base fits, and where it does with all its factors: `cpu; cuda:0 as base; wgpu:0 unknown`.
fn verdicts(base: &serde_json::Map<String, Value>, adapted: &serde_json::Map<String, Value>) -> String {
    let verdict = |(name, base): (&String, &Value)| match (base.as_bool(), adapted[name].as_bool()) {
        (None, _) => format!("{name} unknown"),
        (_, Some(true)) => name.clone(),
        (Some(true), _) => format!("{name} as base"),
        (Some(false), _) => format!("not {name}"),
    };
    base.iter().map(verdict).collect::<Vec<_>>().join("; ")
}

/// `1234567` as `1,234,567`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
