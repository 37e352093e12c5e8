//! The commands that hand over to the `t2` binary or to the benches.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::spawn::{become_command, cargo, root, run};

/// Arguments that are passed on as they are.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct PassThrough {
    /// Everything after the command's name, for example `--json`; `--help` shows what there is.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// `cargo xtask train`.
#[derive(clap::Args)]
pub(crate) struct Train {
    /// The training run, for example `runs/tiny-math.toml`.
    config: PathBuf,
    /// The folder of the run: checkpoints, metrics, the expert and the report. By default `out/` and the name of the
    /// config.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Passed on to `t2 train`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Where to time, for example `cpu,wgpu`; a device that this machine lacks is left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    device: Vec<BenchDevice>,
    /// Passed on to `cargo bench`, for example `--bench svd`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// A device that the benches can be built for.
#[derive(clap::ValueEnum, Clone, Copy)]
enum BenchDevice {
    Cpu,
    Wgpu,
    Cuda,
}

impl BenchDevice {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }
}

/// Runs `t2 demo`.
pub(crate) fn demo(args: &PassThrough) -> anyhow::Result<()> {
    become_command(t2("demo", &args.args))
}

/// Runs `t2 pretrain`, which the help of `t2` does not list.
pub(crate) fn pretrain(args: &PassThrough) -> anyhow::Result<()> {
    become_command(t2("pretrain", &args.args))
}

/// Runs `cargo bench` on the benches.
pub(crate) fn bench(args: &Bench) -> anyhow::Result<()> {
    become_command(cargo_bench(args))
}

/// `cargo bench` for some devices. A device is a feature of the benches and a part of the name of each bench; Criterion
/// takes a pattern to choose benches by.
fn cargo_bench(Bench { device, args }: &Bench) -> Command {
    let mut command = cargo(["bench", "--package", "t2-benches"]);
    let names: Vec<&str> = device.iter().map(|device| device.name()).collect();
    let features: Vec<&str> = names.iter().copied().filter(|name| *name != "cpu").collect();
    if !features.is_empty() {
        command.arg("--features").arg(features.join(","));
    }
    command.args(args);
    if !names.is_empty() {
        if !args.iter().any(|arg| arg == "--") {
            command.arg("--");
        }
        command.arg(format!("^[a-z]+/({})/", names.join("|")));
    }
    command
}

/// Runs `t2 train` on a file of `runs/`, then `t2 report` on what it wrote.
pub(crate) fn train(args: &Train) -> anyhow::Result<()> {
    let config = root().join(&args.config);
    ensure!(config.is_file(), "{} is no file; the runs are in runs/*.toml", args.config.display());
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_out(&args.config)?,
    };
    let mut train = t2("train", &[]);
    train.arg("--config").arg(&args.config).arg("--out").arg(&out).args(&args.args);
    run(train)?;
    let mut report = t2("report", &[]);
    report.arg(&out);
    run(report)
}

/// `t2 <subcommand> <args>` through cargo, which builds it where it must.
fn t2(subcommand: &str, args: &[String]) -> Command {
    let mut command = cargo(["run", "--package", "t2-cli", "--bin", "t2", "--", subcommand]);
    command.args(args);
    command
}

/// `out/tiny-math` for `runs/tiny-math.toml`.
fn default_out(config: &Path) -> anyhow::Result<PathBuf> {
    let name = config.file_stem().with_context(|| format!("{} has no file name", config.display()))?;
    Ok(Path::new("out").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_writes_to_a_folder_of_its_name() {
        assert_eq!(default_out(Path::new("runs/tiny-math.toml")).unwrap(), Path::new("out/tiny-math"));
        assert!(default_out(Path::new("..")).is_err());
    }

    #[test]
    fn devices_choose_features_and_benches() {
        let args = |device: Vec<BenchDevice>, args: &[&str]| {
            let args = args.iter().map(ToString::to_string).collect();
            let command = cargo_bench(&Bench { device, args });
            let args: Vec<_> = command.get_args().skip(3).map(|arg| arg.to_string_lossy().into_owned()).collect();
            args.join(" ")
        };
        assert_eq!(args(vec![], &["--bench", "svd"]), "--bench svd");
        assert_eq!(args(vec![BenchDevice::Cpu], &[]), "-- ^[a-z]+/(cpu)/");
        let gpus = vec![BenchDevice::Wgpu, BenchDevice::Cuda];
        assert_eq!(args(gpus, &["--", "--quick"]), "--features wgpu,cuda -- --quick ^[a-z]+/(wgpu|cuda)/");
    }

    #[test]
    fn arguments_reach_t2_after_the_subcommand() {
        let command = t2("demo", &["--json".to_owned()]);
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        assert_eq!(args, ["run", "--package", "t2-cli", "--bin", "t2", "--", "demo", "--json"]);
    }
}
