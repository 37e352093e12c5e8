//! `t2 decompose`: the SVD of a model's target matrices, into the cache.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use bytesize::ByteSize;
use serde_json::json;
use t2_model::decomposition::{DecomposeConfig, FactorType, Targets};

use crate::cli::{Global, ModelArg};
use crate::output::Output;
use crate::terminal::Terminal;

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
    /// Most memory to work in, device and host added up, such as 8GiB [default: what keeps the device busy]
    #[arg(long, value_name = "BYTES")]
    memory: Option<ByteSize>,
    /// Type of the singular vectors on disk: that of the weights in memory, or f32
    #[arg(long, value_enum, default_value_t = Factors::Base, value_name = "TYPE")]
    factors: Factors,
}

/// Type of the singular vectors on disk.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Factors {
    Base,
    F32,
}

impl From<Factors> for FactorType {
    fn from(factors: Factors) -> Self {
        match factors {
            Factors::Base => Self::Base,
            Factors::F32 => Self::F32,
        }
    }
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let cache = args.out.clone().or_else(|| session.factors_dir());
    let cache =
        cache.context("there is no home folder to keep factors in; set T2_CACHE, or name a folder with --out")?;
    let memory = args.memory.map(|bytes| usize::try_from(bytes.as_u64()).unwrap_or(usize::MAX));
    let config = DecomposeConfig { memory, factors: args.factors.into() };
    let start = Instant::now();
    let report = session.decompose_files(&args.model.model, args.targets, config, &cache)?;
    let seconds = start.elapsed().as_secs_f64();
    out.note(&format!(
        "{} matrices ({} from the cache, {} repaired) in {seconds:.2} s and at most {}, residual {:.1e}, \
         orthogonality {:.1e}",
        report.matrices,
        report.cached,
        report.repaired,
        ByteSize(report.memory as u64),
        report.max_residual,
        report.max_orthogonality
    ));
    out.json(&json!({
        "matrices": report.matrices,
        "cached": report.cached,
        "repaired": report.repaired,
        "seconds": seconds,
        "memory": report.memory,
        "max_residual": report.max_residual,
        "max_orthogonality": report.max_orthogonality,
    }))
}
