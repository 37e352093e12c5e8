//! `t2 export`: a model with its expert, or the expert alone, for other programs.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::ValueEnum;
use serde_json::json;
use t2_model::export::{LoraReport, MergeOptions, MergeReport};
use t2_model::format::quant::GgmlType;
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
    /// What to write: a folder, new or empty; for `gguf` a file, whose name ends in .gguf
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Most bytes of weights in one file, for `hf`
    #[arg(long, default_value = "5GB", value_name = "BYTES")]
    shard_size: ByteSize,
    /// Store matrices in blocks of 8-bit numbers, for `gguf`
    #[arg(long, value_enum, value_name = "KIND")]
    quantize: Option<Quantization>,
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
    /// A merged GGUF file for llama.cpp, in f16 unless `--dtype` or `--quantize` says otherwise
    Gguf,
    /// A LoRA adapter for PEFT, in f32: what it leaves out is said
    Peft,
}

/// How a GGUF file stores matrices in fewer bits.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Quantization {
    /// Blocks of 32 numbers of 8 bits with a scale
    #[value(name = "q8_0")]
    Q8_0,
}

impl Args {
    /// What is to be written, where `dtype` is the type asked for.
    fn to(&self, dtype: Option<FloatType>) -> anyhow::Result<ExportTo> {
        anyhow::ensure!(
            self.quantize.is_none() || matches!(self.to, Form::Gguf),
            "--quantize q8_0 is for --to gguf; leave it out, or write a GGUF file"
        );
        anyhow::ensure!(
            self.quantize.is_none() || dtype.is_none(),
            "--quantize q8_0 and --dtype both say how matrices are stored; give one of them"
        );
        Ok(match self.to {
            Form::Hf => ExportTo::Merged(MergeOptions {
                dtype: Some(dtype.unwrap_or(FloatType::F32).into()),
                shard_bytes: self.shard_size.as_u64(),
            }),
            Form::Gguf => ExportTo::Gguf {
                ty: match (self.quantize, dtype) {
                    (Some(Quantization::Q8_0), _) => GgmlType::Q8_0,
                    (None, None | Some(FloatType::F16)) => GgmlType::F16,
                    (None, Some(FloatType::Bf16)) => GgmlType::Bf16,
                    (None, Some(FloatType::F32)) => GgmlType::F32,
                },
            },
            Form::Peft => ExportTo::Lora { rank: self.rank },
        })
    }
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let experts: Vec<(PathBuf, f32)> = args.experts.experts.iter().map(|one| (one.path.clone(), one.weight)).collect();
    let to = args.to(global.dtype)?;
    let exported =
        session.export(&ExportRequest { model: &args.model.model, experts: &experts, to, path: &args.path })?;
    drop(terminal);
    match exported {
        Exported::Merged(MergeReport { files, bytes, tensors, changed }) => {
            let size = ByteSize(bytes);
            out.note(&format!(
                "wrote {tensors} tensors, {changed} of them with the expert, {size}, to {}",
                args.path.display()
            ));
            out.json(&json!({
                "path": args.path, "residual": null, "files": files, "bytes": bytes, "tensors": tensors, "changed": changed,
            }))
        }
        Exported::Lora(LoraReport { residual, matrices }) => {
            let worst = matrices.iter().map(|matrix| matrix.residual).fold(0.0, f64::max);
            out.note(&format!(
                "wrote an adapter of rank {} for {} matrices to {}; it leaves out {:.2} % of the change, {:.2} % of the \
                 worst matrix",
                args.rank,
                matrices.len(),
                args.path.display(),
                100.0 * residual,
                100.0 * worst
            ));
            out.json(&json!({ "path": args.path, "residual": residual, "rank": args.rank, "matrices": matrices }))
        }
    }
}
