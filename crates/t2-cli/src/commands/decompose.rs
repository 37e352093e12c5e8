//! `t2 decompose`: the SVD of a model's target matrices, into the cache.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use t2_model::decomposition::Targets;

use crate::adapt::decompose_into;
use crate::cli::{Global, ModelArg};
use crate::model::LoadedModel;
use crate::output::Output;

/// Decompose the weights that experts scale; resumes where it stopped
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Which matrices: mlp, attn, or both
    #[arg(long, default_value = "mlp,attn", value_name = "TARGETS")]
    targets: Targets,
    /// Where to keep the factors [default: the cache that every command looks in]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let model = LoadedModel::load(&args.model.model, global, out)?;
    let start = Instant::now();
    let report = decompose_into(&model, args.targets, args.out.as_deref(), out)?.report;
    let seconds = start.elapsed().as_secs_f64();
    out.note(&format!(
        "{} matrices ({} from the cache, {} repaired) in {seconds:.2} s, residual {:.1e}, orthogonality {:.2}",
        report.matrices, report.cached, report.repaired, report.max_residual, report.max_orthogonality
    ));
    out.json(&json!({
        "matrices": report.matrices,
        "cached": report.cached,
        "repaired": report.repaired,
        "seconds": seconds,
        "max_residual": report.max_residual,
        "max_orthogonality": report.max_orthogonality,
    }))
}
