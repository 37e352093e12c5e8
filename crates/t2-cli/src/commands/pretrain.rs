//! `t2 pretrain`: makes the bundled model, from the text to the card. For those who change the project.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, GenerationDefaults};
use t2_model::decoder::DecoderConfig;
use t2_model::files::write_atomically;
use t2_model::text::Tokenizer;
use t2_session::pretrain::{
    END, PAD, PretrainConfig, PretrainError, PretrainInputs, PretrainStep, pretrain, write_tokenizer,
};

use crate::cli::Global;
use crate::output::Output;
use crate::{device, interrupt};

/// Pretrain a small model on generated text; resumes what the folder holds
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Shape and course of the training
    #[arg(long, default_value = "runs/tiny-pretrain.toml", value_name = "FILE")]
    config: PathBuf,
    /// Folder of the checkpoints and of the finished model
    #[arg(long, default_value = "out/tiny", value_name = "DIR")]
    out: PathBuf,
}

/// What `runs/tiny-pretrain.toml` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    shape: DecoderConfig,
    pretrain: PretrainConfig,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("cannot read {}; run this in the project's folder", args.config.display()))?;
    let mut recipe: Recipe =
        toml::from_str(&text).with_context(|| format!("{} is no recipe", args.config.display()))?;
    if global.dtype.is_some() {
        bail!("--dtype says how a checkpoint is held in memory, and pretraining is in f32; leave it out");
    }
    recipe.pretrain.seed = global.seed.unwrap_or(recipe.pretrain.seed);
    let Recipe { shape, pretrain: config } = &recipe;
    if !args.out.join("tokenizer.json").exists() {
        write_tokenizer(&args.out, shape.vocab, config.seed)?;
    }
    let tokenizer = Tokenizer::load(&args.out)?.context("the tokenizer has just been written")?;
    let bar = out.progress(config.steps as u64, "pretraining");
    let start = Instant::now();
    let mut log = LossLog::open(&args.out)?;
    let device = device::open(global.device)?;
    let mut unwritten = None;
    let pretrained =
        pretrain(config, shape, PretrainInputs { tokenizer: &tokenizer, dir: &args.out, device: &device }, |step| {
            bar.set_position(step.step as u64);
            bar.set_message(format!("loss {:.3}", step.loss));
            match log.add(step, start.elapsed().as_secs_f64()) {
                Ok(()) => interrupt::poll(),
                Err(error) => {
                    unwritten = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
    bar.finish_and_clear();
    if let Some(error) = unwritten {
        return Err(error);
    }
    log.write()?;
    let model = match pretrained {
        Err(error @ PretrainError::Interrupted { .. }) => {
            bail!("{error}; run the same command again to go on from the checkpoint in {}", args.out.display())
        }
        pretrained => pretrained?,
    };
    let ids = |token| tokenizer.token_id(token).into_iter();
    let generation =
        GenerationDefaults { eos: ids(END).collect(), pad: ids(PAD).next(), ..GenerationDefaults::default() };
    checkpoint::save(&model, &Llama, &generation, &args.out)?;
    write_atomically(&args.out.join("README.md"), card(&recipe, &log.steps).as_bytes())?;
    let last = log.steps.last().map_or(f32::NAN, |step| step.loss);
    out.note(&format!("the model is in {}; its last loss was {last:.3}", args.out.display()));
    out.json(&json!({ "model": args.out, "steps": config.steps, "loss": last, "parameters": shape.num_params() }))
}

/// One line of `loss.jsonl`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Line {
    step: usize,
    loss: f32,
    tokens: usize,
    /// Seconds since this process began to train.
    seconds: f64,
}

/// The losses of a run, kept across interruptions.
struct LossLog {
    path: PathBuf,
    steps: Vec<Line>,
}

impl LossLog {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("loss.jsonl");
        let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
        let steps = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        Ok(Self { path, steps })
    }

    /// Add a step. Every tenth is the moment to write them down.
    fn add(&mut self, step: PretrainStep, seconds: f64) -> anyhow::Result<()> {
        self.steps.retain(|line| line.step < step.step);
        self.steps.push(Line { step: step.step, loss: step.loss, tokens: step.tokens, seconds });
        if step.step.is_multiple_of(10) { self.write() } else { Ok(()) }
    }

    fn write(&self) -> anyhow::Result<()> {
        let mut text = String::new();
        for line in &self.steps {
            writeln!(text, "{}", serde_json::to_string(line)?)?;
        }
        Ok(write_atomically(&self.path, text.as_bytes())?)
    }
}

/// The model card.
fn card(recipe: &Recipe, steps: &[Line]) -> String {
    let Recipe { shape, pretrain } = recipe;
    let mut curve = String::from("| step | tokens | loss |\n| ---: | ---: | ---: |\n");
    let every = (steps.len() / 10).max(1);
    for chunk in steps.chunks(every) {
        let mean = chunk.iter().map(|line| line.loss).sum::<f32>() / chunk.len() as f32;
        if let Some(last) = chunk.last() {
            // Writing to a string cannot fail.
            let _ = writeln!(curve, "| {} | {} | {mean:.3} |", last.step, last.tokens);
        }
    }
    let minutes = steps.windows(2).map(|pair| (pair[1].seconds - pair[0].seconds).max(0.0)).sum::<f64>() / 60.0;
    format!(
        include_str!("pretrain/card.md"),
        parameters = shape.num_params(),
        layers = shape.layers,
        d_model = shape.d_model,
        vocab = shape.vocab,
        context = shape.max_seq_len,
        steps = pretrain.steps,
        tokens = steps.last().map_or(0, |line| line.tokens),
        seed = pretrain.seed,
        minutes = minutes,
        curve = curve,
    )
}
