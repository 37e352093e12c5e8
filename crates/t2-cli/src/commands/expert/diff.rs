//! `t2 expert diff`: how far two experts are apart.

use std::path::PathBuf;

use serde_json::{Value, json};
use t2_model::adapter::Expert;
use t2_model::adapter::statistics::{Difference, layer_of, matrix_of};

use crate::heat_map::heat_map;
use crate::output::Output;

/// Compare two experts of one base model: the angle between what they change, and how far their scales are apart
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// An expert file
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another expert file
    #[arg(value_name = "B")]
    b: PathBuf,
}

pub(crate) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let (a, b) = (Expert::load(&args.a)?, Expert::load(&args.b)?);
    let difference = a.difference(&b)?;
    let row = |name: String, Difference { count, cosine, max, mean }: &Difference| {
        let cosine = cosine.map_or("none".to_owned(), |cosine| format!("{cosine:.4}"));
        vec![name, count.to_string(), cosine, format!("{max:.4}"), format!("{mean:.4}")]
    };
    let targets = difference.targets.iter().map(|(target, difference)| row(target.clone(), difference));
    let layers = difference.layers.iter().map(|(layer, difference)| row(format!("block {layer}"), difference));
    let rows = std::iter::once(row("all".to_owned(), &difference.all)).chain(targets).chain(layers);
    let title = format!("{} and {}", a.info.name, b.info.name);
    out.table(&[&title, "scales", "cosine of z - 1", "max |a - b|", "mean |a - b|"], &rows.collect::<Vec<_>>());
    let cells = difference
        .matrices
        .iter()
        .filter_map(|(path, difference)| Some(((matrix_of(path), layer_of(path)?), difference.mean)));
    out.gap();
    out.figure(|color| heat_map("mean |a - b|", &cells.collect(), color));
    let layers: serde_json::Map<String, Value> =
        difference.layers.iter().map(|(layer, difference)| (layer.to_string(), json!(difference))).collect();
    let matrix = |(path, Difference { count, cosine, max, mean }): (&String, &Difference)| json!({ "path": path, "k": count, "cosine": cosine, "max": max, "mean": mean });
    out.json(&json!({
        "a": a.hash().to_string(),
        "b": b.hash().to_string(),
        "base_model": a.info.base_model,
        "cosine": difference.all.cosine,
        "max": difference.all.max,
        "mean": difference.all.mean,
        "by_target": difference.targets,
        "by_layer": layers,
        "matrices": difference.matrices.iter().map(matrix).collect::<Vec<_>>(),
    }))
}
