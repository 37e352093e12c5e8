//! `t2 expert inspect`: what an expert file holds.

use std::path::PathBuf;

use serde_json::{Value, json};
use t2_model::adapter::statistics::{ByPlace, Statistics, layer_of, matrix_of};
use t2_model::adapter::{Expert, ExpertInfo};

use crate::heat_map::heat_map;
use crate::output::Output;

/// Say what an expert file holds: where it belongs, how it was made, its scales by target, block and matrix
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The expert file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Count a scale as changed when it is further than X from one
    #[arg(long, default_value_t = 0.01, value_name = "X")]
    changed: f64,
}

pub(crate) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let expert = Expert::load(&args.file)?;
    let statistics = expert.statistics(args.changed);
    show(&expert, &statistics, args.changed, out);
    let ExpertInfo { name, base_model, targets, parametrization, training } = &expert.info;
    let entry = |(path, statistics): (&String, &Statistics)| {
        let Statistics { count, min, mean, max, std, changed, rms_change, distance } = statistics;
        json!({
            "path": path, "k": count, "min": min, "mean": mean, "max": max, "std": std, "changed": changed,
            "rms_change": rms_change, "distance": distance,
        })
    };
    let layers: serde_json::Map<String, Value> =
        statistics.layers.iter().map(|(layer, statistics)| (layer.to_string(), json!(statistics))).collect();
    out.json(&json!({
        "name": name,
        "expert_hash": expert.hash().to_string(),
        "base_model": base_model,
        "targets": targets,
        "parametrization": parametrization,
        "training": training,
        "parameters": expert.num_params(),
        "changed_above": args.changed,
        "all": statistics.all,
        "by_target": statistics.targets,
        "by_layer": layers,
        "matrices": statistics.matrices.iter().map(entry).collect::<Vec<_>>(),
    }))
}

fn show(expert: &Expert, statistics: &ByPlace<Statistics>, threshold: f64, out: &Output) {
    let ExpertInfo { name, base_model, targets, parametrization, training } = &expert.info;
    let line = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    out.table(
        &["expert", name],
        &[
            line("hash", &expert.hash().to_string()),
            line("base model", &base_model.to_string()),
            line("targets", &targets.to_string()),
            line("parametrization", &parametrization.to_string()),
            line("training", training),
            line("scales", &format!("{} in {} matrices", expert.num_params(), statistics.matrices.len())),
        ],
    );
    let changed = format!("|z - 1| > {threshold}");
    let header = ["z of", "scales", "min", "mean", "max", "std", &changed, "‖z - 1‖"];
    let row = |name: String, statistics: &Statistics| {
        let Statistics { count, min, mean, max, std, changed, distance, .. } = statistics;
        let numbers = [min, mean, max, std].map(|x| format!("{x:.4}"));
        let rest = [format!("{:.1} %", 100.0 * changed), format!("{distance:.4}")];
        [name, count.to_string()].into_iter().chain(numbers).chain(rest).collect::<Vec<String>>()
    };
    let targets = statistics.targets.iter().map(|(target, statistics)| row(target.clone(), statistics));
    let layers = statistics.layers.iter().map(|(layer, statistics)| row(format!("block {layer}"), statistics));
    let rows = std::iter::once(row("all".to_owned(), &statistics.all)).chain(targets).chain(layers);
    out.gap();
    out.table(&header, &rows.collect::<Vec<_>>());
    let cells = statistics
        .matrices
        .iter()
        .filter_map(|(path, statistics)| Some(((matrix_of(path), layer_of(path)?), statistics.rms_change)));
    out.gap();
    out.figure(|color| heat_map("rms(z - 1)", &cells.collect(), color));
}
