//! `t2 expert`: look into expert files and mix them.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use t2_model::adapter::{Expert, ExpertInfo};

use crate::cli::{Global, WeightedExpert, load_experts};
use crate::output::Output;

/// Look into expert files and mix them
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Say what an expert file holds
    Inspect {
        /// The expert file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write the weighted sum of experts, `1 + Σ w (z - 1)`
    Mix {
        /// Expert files and their weights
        #[arg(required = true, value_name = "FILE[=W]")]
        experts: Vec<WeightedExpert>,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// What the mixture is called [default: the sum spelt out]
        #[arg(long)]
        name: Option<String>,
    },
}

pub(crate) fn run(args: &Args, _: &Global, out: &Output) -> anyhow::Result<()> {
    match &args.action {
        Action::Inspect { file } => inspect(&Expert::load(file)?, out),
        Action::Mix { experts, out: path, name } => {
            let experts = load_experts(experts, None)?;
            let parts: Vec<(&Expert, f32)> = experts.iter().map(|(expert, weight)| (expert, *weight)).collect();
            let mut mixed = Expert::mix(&parts)?;
            if let Some(name) = name {
                mixed.info.name.clone_from(name);
            }
            mixed.save(path)?;
            out.note(&format!("wrote {} ({})", path.display(), mixed.hash().short()));
            out.json(&json!({
                "expert": path,
                "expert_hash": mixed.hash().to_string(),
                "name": mixed.info.name,
                "parameters": mixed.num_params(),
            }))
        }
    }
}

fn inspect(expert: &Expert, out: &Output) -> anyhow::Result<()> {
    let ExpertInfo { name, base_model, targets, parametrization, training } = &expert.info;
    let hash = expert.hash().to_string();
    let line = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    out.table(
        &["expert", name],
        &[
            line("hash", &hash),
            line("base model", &base_model.to_string()),
            line("targets", &targets.to_string()),
            line("parametrization", &parametrization.to_string()),
            line("training", training),
            line("scales", &format!("{} in {} matrices", expert.num_params(), expert.iter().count())),
        ],
    );
    let spreads: Vec<(&str, Spread)> = expert.iter().map(|(path, z)| (path, Spread::of(z))).collect();
    let rows = spreads.iter().map(|(path, spread)| {
        let numbers = [spread.min, spread.mean, spread.max, spread.change].map(|x| format!("{x:.4}"));
        [(*path).to_owned(), spread.k.to_string()].into_iter().chain(numbers).collect()
    });
    out.note("");
    out.table(&["matrix", "k", "min z", "mean z", "max z", "rms(z - 1)"], &rows.collect::<Vec<Vec<String>>>());
    let matrices = spreads.iter().map(|(path, Spread { k, min, mean, max, change })| {
        json!({ "path": path, "k": k, "min": min, "mean": mean, "max": max, "rms_change": change })
    });
    out.json(&json!({
        "name": name,
        "expert_hash": hash,
        "base_model": base_model,
        "targets": targets,
        "parametrization": parametrization,
        "training": training,
        "parameters": expert.num_params(),
        "matrices": matrices.collect::<Vec<_>>(),
    }))
}

/// The distribution of the scales of one weight.
struct Spread {
    k: usize,
    min: f64,
    mean: f64,
    max: f64,
    /// Root mean square of `z - 1`.
    change: f64,
}

impl Spread {
    fn of(z: &[f32]) -> Self {
        let k = z.len();
        let mean_of = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(f64::from(z))).sum::<f64>() / k.max(1) as f64;
        Self {
            k,
            min: z.iter().copied().fold(f32::INFINITY, f32::min).into(),
            mean: mean_of(&|z| z),
            max: z.iter().copied().fold(f32::NEG_INFINITY, f32::max).into(),
            change: mean_of(&|z| (z - 1.0).powi(2)).sqrt(),
        }
    }
}
