//! `t2 expert mix`: an expert made of experts.

use std::path::PathBuf;

use serde_json::json;
use t2_model::adapter::Expert;
use t2_session::LayerWeights;
use t2_session::layer_weights::Part;

use crate::cli::{WeightedExpert, load_experts};
use crate::output::Output;

/// Write the weighted sum of experts, `1 + Σ w (z - 1)`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Expert files and their weights
    #[arg(required = true, value_name = "FILE[=W]")]
    experts: Vec<WeightedExpert>,
    /// Other weights in some blocks: `0-11:math=1,code=0.2,12-:code=0.5` gives the blocks 0 to 11 to math with a little
    /// of code, and all from 12 on to code. Experts go by their name or that of their file; one that is not named has
    /// no weight in the range. Blocks in no range keep the weights of the files
    #[arg(long, value_name = "BLOCKS:NAME=W,…")]
    layers: Option<LayerWeights>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the mixture is called [default: the sum spelt out]
    #[arg(long)]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let experts = load_experts(&args.experts, None)?;
    let mut mixed = match &args.layers {
        None => {
            let parts: Vec<(&Expert, f32)> = experts.iter().map(|(expert, weight)| (expert, *weight)).collect();
            Expert::mix(&parts)?
        }
        Some(layers) => {
            let parts = experts.iter().zip(&args.experts);
            let parts = parts.map(|((expert, weight), from)| Part { expert, path: &from.path, weight: *weight });
            let experts: Vec<&Expert> = experts.iter().map(|(expert, _)| expert).collect();
            let mixture = layers.mixture(&parts.collect::<Vec<_>>(), Expert::layers(&experts))?;
            Expert::mix_by_layer(&experts, &mixture)?
        }
    };
    if let Some(name) = &args.name {
        mixed.info.name.clone_from(name);
    }
    mixed.save(&args.out)?;
    out.note(&format!("wrote {} ({})", args.out.display(), mixed.hash().short()));
    out.json(&json!({
        "expert": args.out,
        "expert_hash": mixed.hash().to_string(),
        "name": mixed.info.name,
        "parameters": mixed.num_params(),
    }))
}
