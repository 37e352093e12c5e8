//! `t2 info`: devices, and the shape of a model.

use serde_json::{Value, json};
use t2_model::checkpoint::{self, Summary};
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

/// List devices; describe a model
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `tiny` (bundled), a folder in the Hugging Face layout, or a Hub id `org/name[@revision]`
    #[arg(value_name = "MODEL")]
    model: Option<String>,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let devices = devices(global, out)?;
    let mut result = json!({ "devices": devices, "model": null, "parameters": null, "svf_parameters": null });
    if let Some(name) = &args.model {
        let terminal = Terminal::new(out);
        let found = source::find(name, &environment::sources(), &terminal)?;
        let summary = checkpoint::summarize(found.path())?;
        result["model"] = model(&found, &summary, out)?;
        result["parameters"] = summary.config.num_params().into();
        result["svf_parameters"] = svf_parameters(&summary.config, out);
    }
    out.json(&result)
}

fn devices(global: &Global, out: &Output) -> anyhow::Result<Vec<Value>> {
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
    let entry = |found: &device::Found| json!({ "name": found.name, "about": found.about, "software": found.software, "auto": found.name == auto });
    Ok(found.iter().map(entry).collect())
}

fn model(found: &Found, summary: &Summary, out: &Output) -> anyhow::Result<Value> {
    let Summary { architecture, config, generation } = summary;
    let dir = found.path();
    // The hash is that of the weights, which are not downloaded to be described.
    let hash = if found.is_complete() { Some(checkpoint::hash(dir)?.to_string()) } else { None };
    let tokenizer = Tokenizer::load(dir)?;
    let mut generation = generation.clone();
    generation.end_at(tokenizer.iter().flat_map(Tokenizer::end_tokens));
    let DecoderConfig { layers, d_model, vocab, max_seq_len, attention, mlp, .. } = config;
    let AttentionConfig { heads, kv_heads, head_dim, .. } = attention;
    let d_hidden = mlp.d_hidden;
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    let tokens = tokenizer.as_ref().map_or("no tokenizer.json".to_owned(), |t| format!("{} tokens", t.vocab()));
    out.note("");
    out.table(
        &["model", &dir.display().to_string()],
        &[
            line("architecture", (*architecture).to_owned()),
            line("hash", hash.clone().unwrap_or_else(|| "the weights are not downloaded".to_owned())),
            line("blocks", format!("{layers} x (d_model {d_model}, d_hidden {d_hidden})")),
            line("attention", format!("{heads} heads of {head_dim}, {kv_heads} for keys and values")),
            line("vocabulary", format!("{vocab}, {tokens}")),
            line("context", format!("{max_seq_len} tokens")),
            line("parameters", thousands(config.num_params())),
        ],
    );
    Ok(json!({
        "folder": dir,
        "architecture": architecture,
        "hash": hash,
        "config": config,
        "eos_token_ids": generation.eos,
        "tokenizer": tokenizer.is_some(),
        "chat_template": tokenizer.is_some_and(|tokenizer| tokenizer.has_chat_template()),
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

/// `1234567` as `1,234,567`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
