//! `t2 generate`: one completion, streamed.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;
use t2_chat::Message;
use t2_model::generate::{Completion, GenerateConfig, generate};
use t2_model::text::{TextStream, Tokenizer};

use crate::adapt::adapt;
use crate::cli::{ExpertArgs, Global, ModelArg, SamplingArgs};
use crate::interrupt;
use crate::model::{Input, LoadedModel, no_tokenizer};
use crate::output::Output;

/// Complete one prompt
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    experts: ExpertArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Complete the text itself: no chat template
    #[arg(long, conflicts_with = "prompt_ids")]
    raw: bool,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Prompt {
    /// What to say to the model
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The same as token ids; works without a tokenizer
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    prompt_ids: Option<Vec<u32>>,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let input = if args.prompt.prompt.is_some() { Input::Text } else { Input::Ids };
    let mut model = LoadedModel::load_for(input, &args.model.model, global, out)?;
    let prompt = prompt_ids(args, &model)?;
    let config = model.generate_config(&args.sampling, prompt.len());
    adapt(&mut model, &args.experts.experts, out)?;
    let start = Instant::now();
    let completion = complete(&model, &prompt, &config, global.seed, out)?;
    let tokens_per_sec = completion.ids.len() as f64 / start.elapsed().as_secs_f64();
    out.text("\n")?;
    out.note(&format!("{} tokens, {tokens_per_sec:.1} tokens/s", completion.ids.len()));
    let text = model.tokenizer.as_ref().map(|tokenizer| tokenizer.decode(&completion.ids)).transpose()?;
    out.json(&json!({
        "prompt_ids": prompt,
        "token_ids": completion.ids,
        "text": text,
        "finish_reason": completion.finish,
        "tokens_per_sec": tokens_per_sec,
        "expert_hash": model.expert_hash(),
    }))
}

fn prompt_ids(args: &Args, model: &LoadedModel) -> anyhow::Result<Vec<u32>> {
    let Some(text) = &args.prompt.prompt else { return Ok(args.prompt.prompt_ids.clone().unwrap_or_default()) };
    if text.is_empty() {
        bail!("the prompt is empty; give --prompt some text");
    }
    let tokenizer = tokenizer(model)?;
    Ok(if args.raw { tokenizer.encode(text)? } else { tokenizer.encode_chat(&[Message::user(text)])? })
}

/// The tokenizer of `model`, which a command with text needs.
pub(crate) fn tokenizer(model: &LoadedModel) -> anyhow::Result<&Tokenizer> {
    model.tokenizer.as_ref().with_context(|| no_tokenizer(&model.dir))
}

/// Complete `prompt`, printing as it goes.
pub(crate) fn complete(
    model: &LoadedModel,
    prompt: &[u32],
    config: &GenerateConfig,
    seed: u64,
    out: &Output,
) -> anyhow::Result<Completion> {
    let mut printer = Printer::new(model.tokenizer.as_ref(), out);
    let prompts = [prompt.to_vec()];
    let how = (model.active(), config);
    let completions = generate(&model.checkpoint.model, &prompts, &[seed], how, |_, id| printer.push(id))?;
    printer.finish()?;
    completions.into_iter().next().context("the batch of one prompt has no completion")
}

/// Prints an answer as it comes: text, or ids without a tokenizer.
pub(crate) struct Printer<'a> {
    stream: Option<TextStream<'a>>,
    out: &'a Output,
    failed: Option<anyhow::Error>,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(tokenizer: Option<&'a Tokenizer>, out: &'a Output) -> Self {
        Self { stream: tokenizer.map(Tokenizer::stream), out, failed: None }
    }

    /// Print what `id` adds; breaks off after Ctrl-C and when nothing can be printed.
    pub(crate) fn push(&mut self, id: u32) -> ControlFlow<()> {
        let text = match &mut self.stream {
            Some(stream) => stream.push(id).map_err(Into::into),
            None => Ok(format!("{id} ")),
        };
        match text.and_then(|text| self.out.text(&text)) {
            Ok(()) => interrupt::poll(),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Print what is left, or say why printing failed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match (self.failed, self.stream) {
            (Some(error), _) => Err(error),
            (None, Some(stream)) => self.out.text(&stream.finish()?),
            (None, None) => Ok(()),
        }
    }
}
