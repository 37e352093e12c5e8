//! `t2 generate`: one completion, streamed.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;
use t2_chat::Message;
use t2_model::decoder::Decoder;
use t2_model::generate::{Completion, Engine, EngineConfig, GenerateConfig, GenerateError};
use t2_model::text::{TextStream, Tokenizer};
use t2_session::{Input, Model};

use super::answer::text_or_stdin;
use crate::cli::{ExpertArgs, Global, ModelArg, SamplingArgs, load_experts};
use crate::interrupt;
use crate::output::Output;
use crate::terminal::Terminal;

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
    /// Complete the text itself: no chat template; token ids have none anyway
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// What the model is told before the prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_ids")]
    system: Option<String>,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Prompt {
    /// What to say to the model; `-` reads it from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The prompt as token ids; works without a tokenizer
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    prompt_ids: Option<Vec<u32>>,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    let input = if args.prompt.prompt.is_some() { Input::Text } else { Input::Ids };
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let model = session.load(&args.model.model, input)?;
    let prompt = prompt_ids(args, &model)?;
    let config = model.generate_config(args.sampling.wishes(), prompt.len());
    let experts = load_experts(&args.experts.experts, Some(model.dir()))?;
    let model = session.adapt(model, &experts)?;
    let start = Instant::now();
    let mut engine = Engine::new(&model.checkpoint.model, EngineConfig::default());
    let completion = complete(&mut engine, &model, prompt.clone(), (&config, session.seed), out)?;
    let tokens_per_sec = completion.ids.len() as f64 / start.elapsed().as_secs_f64();
    out.text("\n")?;
    out.note(&format!("{} tokens, {tokens_per_sec:.1} tokens/s", completion.ids.len()));
    let text = model.tokenizer.as_ref().map(|tokenizer| tokenizer.decode(completion.answer_ids())).transpose()?;
    out.json(&json!({
        "prompt_ids": prompt,
        "token_ids": completion.ids,
        "text": text,
        "finish_reason": completion.finish,
        "tokens_per_sec": tokens_per_sec,
        "expert_hash": model.expert_hash(),
    }))
}

fn prompt_ids(args: &Args, model: &Model) -> anyhow::Result<Vec<u32>> {
    let Some(text) = &args.prompt.prompt else { return Ok(args.prompt.prompt_ids.clone().unwrap_or_default()) };
    let text = text_or_stdin(text)?;
    if text.is_empty() {
        bail!("the prompt is empty; give --prompt some text");
    }
    let tokenizer = model.tokenizer()?;
    if args.raw {
        return Ok(tokenizer.encode(&text)?);
    }
    let chat: Vec<Message> = args.system.iter().map(Message::system).chain([Message::user(text)]).collect();
    Ok(tokenizer.encode_chat(&chat)?)
}

/// Complete `prompt` by an engine of `model`, printing as it goes; after Ctrl-C, what there is by then.
pub(crate) fn complete(
    engine: &mut Engine<'_, Decoder>,
    model: &Model,
    prompt: Vec<u32>,
    (config, seed): (&GenerateConfig, u64),
    out: &Output,
) -> anyhow::Result<Completion> {
    let mut printer = Printer::new(model.tokenizer.as_ref(), out);
    let under = engine.under(model.active(), 1)?;
    let requests = under.into_iter().map(|under| config.request(prompt.clone(), under, seed)).collect();
    let completions = match engine.complete(requests, |_, id| printer.push(id)) {
        Err(GenerateError::Interrupted { completions }) => completions,
        completions => completions?,
    };
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
