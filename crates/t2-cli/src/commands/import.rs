//! `t2 import`: an expert of the original project as an expert file.

use std::path::PathBuf;

use serde_json::json;
use t2_session::ImportRequest;

use crate::cli::Global;
use crate::output::Output;
use crate::terminal::Terminal;

/// Read an expert that the original project trained: `policy_params.pt` or `learnable_params.pt`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The file; nothing in it is run
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model it was trained on: a folder in the Hugging Face layout, or a Hub id `org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The expert file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The largest multiplier, `max_mult` in the configuration that it was trained with; the file does not say
    #[arg(long, default_value_t = 1.0, value_name = "M")]
    max_mult: f32,
    /// What the expert is called [default: the name of the file to write]
    #[arg(long)]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let stem = args.out.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.as_ref().unwrap_or(&stem);
    let request = ImportRequest { file: &args.file, model: &args.model, max_mult: args.max_mult, name };
    let expert = session.import(&request)?;
    expert.save(&args.out)?;
    out.note(&format!(
        "wrote {} ({}): {} scales in {} matrices",
        args.out.display(),
        expert.hash().short(),
        expert.num_params(),
        expert.iter().count()
    ));
    out.json(&json!({
        "path": args.out,
        "residual": 0.0,
        "expert": args.out,
        "expert_hash": expert.hash().to_string(),
        "name": expert.info.name,
        "parameters": expert.num_params(),
    }))
}
