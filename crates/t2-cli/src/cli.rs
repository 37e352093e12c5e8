//! The command line: global options, and the options that several commands share.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::DType;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, ValueEnum};
use t2_dispatch::STRATEGIES;
use t2_model::adapter::Expert;
use t2_session::{SamplingWishes, SessionError, TaskWishes};
use t2_task::sandbox::Walls;

use crate::commands::Command;
use crate::device;

/// Experts for language models: train a few thousand singular-value scales by reinforcement learning, then answer in
/// two passes.
#[derive(Parser, Debug)]
#[command(name = "t2", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where to compute: auto, cpu, wgpu, wgpu:I, cuda or cuda:I (`t2 info` lists them)
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: device::Choice,
    /// Type of the weights in memory [default: f32]
    #[arg(long, global = true, value_enum)]
    pub(crate) dtype: Option<FloatType>,
    /// Seed of everything random [default: 0, or that of the run file or recipe]
    #[arg(long, global = true)]
    pub(crate) seed: Option<u64>,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress bars, tables or notes on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log what is going on; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Type of the weights in memory.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatType {
    F32,
    F16,
    Bf16,
}

impl From<FloatType> for DType {
    fn from(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F32 => Self::F32,
            FloatType::F16 => Self::F16,
            FloatType::Bf16 => Self::BF16,
        }
    }
}

/// MODEL, for the commands that need one.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArg {
    /// `tiny` (bundled), a folder in the Hugging Face layout, a .gguf file, or `org/name[@revision][:file.gguf]` of the Hub
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
}

/// The task, for the commands that need one.
pub(crate) fn task_help() -> String {
    let generated = t2_task::TASKS.iter().map(|task| task.name());
    let names: Vec<&str> = generated.chain(t2_task::dataset::SPECS.iter().map(|(name, _)| *name)).collect();
    format!("A task: {}, a .toml file that describes a data set, or a .jsonl file of questions", names.join(", "))
}

/// How a task is put, for the commands that need one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TaskArgs {
    /// How the questions are put: plain, step-by-step, few-shot, paper, or another that the task names
    #[arg(long, value_name = "V")]
    pub(crate) variant: Option<String>,
    /// Examples with their answers that go before every question [default: what the variant says]
    #[arg(long, value_name = "K")]
    pub(crate) shots: Option<usize>,
    /// A folder that has the files of the tasks, itself or in folders of their names [default: from the Hub]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Put questions and grade answers as the original project did, for comparison: the variant `paper`
    #[arg(long, value_enum, conflicts_with = "variant")]
    pub(crate) recipe: Option<Recipe>,
    /// Run generated programs without the walls of the sandbox, with your own rights: for containers and virtual machines
    /// that are thrown away
    #[arg(long)]
    pub(crate) unsafe_code_execution: bool,
}

/// Whose way of doing things.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    Paper,
}

impl TaskArgs {
    pub(crate) fn wishes(&self) -> TaskWishes {
        let Self { variant, shots, data, recipe, unsafe_code_execution } = self.clone();
        let variant = variant.or(recipe.map(|Recipe::Paper| "paper".to_owned()));
        let walls = if unsafe_code_execution { Walls::None } else { Walls::All };
        TaskWishes { variant, shots, data, walls }
    }
}

/// Parses the name of a strategy; `with_examples` allows those that learn from labelled examples too.
pub(crate) fn strategy(with_examples: bool) -> PossibleValuesParser {
    let known = STRATEGIES.iter().filter(|strategy| with_examples || !strategy.needs_examples);
    PossibleValuesParser::new(known.map(|strategy| PossibleValue::new(strategy.name).help(strategy.about)))
}

/// An expert and how much of it: `math.safetensors=0.5`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WeightedExpert {
    pub(crate) path: PathBuf,
    pub(crate) weight: f32,
}

/// Read experts; a name that is no file is looked for among the model's own experts in `dir`.
pub(crate) fn load_experts(experts: &[WeightedExpert], dir: Option<&Path>) -> Result<Vec<(Expert, f32)>, SessionError> {
    experts.iter().map(|one| Ok((t2_session::experts::load(&one.path, dir)?, one.weight))).collect()
}

impl FromStr for WeightedExpert {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, weight) = match text.rsplit_once('=') {
            None => (text, 1.0),
            Some((path, weight)) => match weight.trim().parse::<f32>() {
                Ok(weight) if weight.is_finite() => (path, weight),
                _ => return Err(format!("`{weight}` is no weight; write FILE or FILE=0.5")),
            },
        };
        if path.is_empty() { Err("the file name is empty".to_owned()) } else { Ok(Self { path: path.into(), weight }) }
    }
}

/// `--expert`, as often as wanted.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ExpertArgs {
    /// Run under this expert: a file, or a name of MODEL's own `experts` folder; several are mixed, weighted by W
    #[arg(long = "expert", value_name = "FILE[=W]")]
    pub(crate) experts: Vec<WeightedExpert>,
}

/// How completions are drawn.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SamplingArgs {
    /// Most tokens of a completion [default: 256, or what the context leaves]
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// Divides the logits; 0 takes the most likely token [default: what the checkpoint suggests, else 1 with
    /// `--top-p`, `--top-k` or `--min-p` and 0 without]
    #[arg(long, value_name = "T", value_parser = temperature)]
    pub(crate) temperature: Option<f32>,
    /// Draw among the fewest tokens whose probabilities reach P [default: what the checkpoint suggests, else 1]
    #[arg(long, value_name = "P", value_parser = top_p)]
    pub(crate) top_p: Option<f32>,
    /// Draw among the K most likely tokens only; 0 for all [default: what the checkpoint suggests, else 0]
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw among the tokens that are at least P times as likely as the most likely one; 0 for all [default: what the
    /// checkpoint suggests, else 0]
    #[arg(long, value_name = "P", value_parser = min_p)]
    pub(crate) min_p: Option<f32>,
    /// Divides positive logits of tokens that prompt or completion hold already, and multiplies negative ones [default:
    /// what the checkpoint suggests, else 1]
    #[arg(long, value_name = "X", value_parser = repetition_penalty)]
    pub(crate) repetition_penalty: Option<f32>,
}

impl SamplingArgs {
    pub(crate) fn wishes(&self) -> SamplingWishes {
        let &Self { max_new_tokens, temperature, top_p, top_k, min_p, repetition_penalty } = self;
        SamplingWishes { max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty }
    }
}

pub(crate) fn temperature(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..f32::INFINITY).contains(&value) => Ok(value),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

pub(crate) fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(value) if value >= 1 => Ok(value),
        _ => Err("expected a whole number of at least 1".to_owned()),
    }
}

pub(crate) fn top_p(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a number above 0 and at most 1".to_owned()),
    }
}

fn min_p(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

fn repetition_penalty(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_expert_may_carry_a_weight() {
        let parse = |text: &str| text.parse::<WeightedExpert>();
        assert_eq!(parse("a/b").unwrap(), WeightedExpert { path: "a/b".into(), weight: 1.0 });
        assert_eq!(parse("a=b=-0.5").unwrap(), WeightedExpert { path: "a=b".into(), weight: -0.5 });
        assert!(parse("a=b").unwrap_err().contains("`b`"));
        assert!(parse("=1").is_err());
        assert!(parse("a=inf").is_err());
    }
}
