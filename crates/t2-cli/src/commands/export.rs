//! `t2 export`: a model with its expert, or the expert alone, for other programs.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::ValueEnum;
use serde_json::json;
use t2_model::export::{LoraReport, MergeOptions, MergeReport};
use t2_session::export::{ExportRequest, ExportTo, Exported};

use crate::cli::{ExpertArgs, FloatType, Global, ModelArg};
use crate::output::Output;
use crate::terminal::Terminal;

/// Write a model with an expert in its weights, or the expert as an adapter, for other programs
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    experts: ExpertArgs,
    /// In which form
    #[arg(long, value_enum, value_name = "FORM")]
    to: Form,
    /// The folder to write, new or empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Most bytes of weights in one file, for `hf`
    #[arg(long, default_value = "5GB", value_name = "BYTES")]
    shard_size: ByteSize,
    /// Directions that the adapter has for each matrix, for `peft`: more of them leave less out
    #[arg(long, default_value_t = 32, value_name = "K")]
    rank: usize,
}

/// What other programs read.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Form {
    /// A merged folder in the Hugging Face layout, in f32 unless `--dtype` says otherwise: half precision rounds what an
    /// expert changes
    Hf,
    /// A LoRA adapter for PEFT, in f32: what it leaves out is said
    Peft,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let experts: Vec<(PathBuf, f32)> = args.experts.experts.iter().map(|one| (one.path.clone(), one.weight)).collect();
    let to = match args.to {
        Form::Hf => ExportTo::Merged(MergeOptions {
            dtype: Some(global.dtype.unwrap_or(FloatType::F32).into()),
            shard_bytes: args.shard_size.as_u64(),
        }),
        Form::Peft => ExportTo::Lora { rank: args.rank },
    };
    let exported =
        session.export(&ExportRequest { model: &args.model.model, experts: &experts, to, dir: &args.dir })?;
    drop(terminal);
    match exported {
        Exported::Merged(MergeReport { files, bytes, tensors, changed }) => {
            let size = ByteSize(bytes);
            out.note(&format!(
                "wrote {tensors} tensors, {changed} of them with the expert, {size}, to {}",
                args.dir.display()
            ));
            out.json(&json!({
                "path": args.dir, "residual": null, "files": files, "bytes": bytes, "tensors": tensors, "changed": changed,
            }))
        }
        Exported::Lora(LoraReport { residual, matrices }) => {
            let worst = matrices.iter().map(|matrix| matrix.residual).fold(0.0, f64::max);
            out.note(&format!(
                "wrote an adapter of rank {} for {} matrices to {}; it leaves out {:.2} % of the change, {:.2} % of the \
                 worst matrix",
                args.rank,
                matrices.len(),
                args.dir.display(),
                100.0 * residual,
                100.0 * worst
            ));
            out.json(&json!({ "path": args.dir, "residual": residual, "rank": args.rank, "matrices": matrices }))
        }
    }
}
