//! `t2 chat`: a conversation on the terminal.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use t2_model::chat::Message;
use t2_model::decoder::CausalLm;
use t2_model::generate::GenerateConfig;

use super::generate::{complete, tokenizer};
use crate::adapt::adapt;
use crate::cli::{ExpertArgs, Global, ModelArg, SamplingArgs};
use crate::error;
use crate::interrupt;
use crate::model::LoadedModel;
use crate::output::Output;

const HELP: &str = "/reset forgets the conversation, /quit ends it; Ctrl-C stops an answer";

/// Talk to a model; reads a line at a time
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    experts: ExpertArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    if out.is_json() {
        bail!("chat is a conversation and has no --json; use `t2 generate --json`");
    }
    let mut model = LoadedModel::load(&args.model.model, global, out)?;
    tokenizer(&model)?;
    adapt(&mut model, &args.experts.experts, out)?;
    out.note(HELP);
    let mut history: Vec<Message> = vec![];
    let mut answers = 0;
    while let Some(line) = interrupt::while_waiting(|| read_line(out))? {
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => break,
            "/reset" => history.clear(),
            command if command.starts_with('/') => out.note(HELP),
            text => {
                history.push(Message::user(text));
                let seed = global.seed.wrapping_add(answers);
                match answer(&model, &mut history, &args.sampling, seed, out) {
                    Ok(text) => history.push(Message::assistant(text)),
                    Err(error) if error.is::<io::Error>() => return Err(error),
                    Err(error) => {
                        history.pop();
                        out.note(&format!("error: {}", error::sentence(&error)));
                    }
                }
                answers += 1;
                interrupt::reset();
            }
        }
    }
    Ok(())
}

/// The next line of the user; `None` at the end.
fn read_line(out: &Output) -> anyhow::Result<Option<String>> {
    if io::stdin().is_terminal() {
        out.text("> ")?;
    }
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("cannot read stdin; chat expects text in UTF-8")?;
    Ok((read > 0).then_some(line))
}

fn answer(
    model: &LoadedModel,
    history: &mut Vec<Message>,
    sampling: &SamplingArgs,
    seed: u64,
    out: &Output,
) -> anyhow::Result<String> {
    let (prompt, config) = fit(model, history, sampling, out)?;
    let completion = complete(model, &prompt, &config, seed, out)?;
    out.text("\n")?;
    Ok(tokenizer(model)?.decode(&completion.ids)?)
}

/// The token ids of the conversation, whose oldest turns are forgotten until an answer fits the context.
fn fit(
    model: &LoadedModel,
    history: &mut Vec<Message>,
    sampling: &SamplingArgs,
    out: &Output,
) -> anyhow::Result<(Vec<u32>, GenerateConfig)> {
    let context = model.checkpoint.model.config().max_seq_len;
    let mut forgotten = 0;
    loop {
        let prompt = tokenizer(model)?.encode_chat(history)?;
        let config = model.generate_config(sampling, prompt.len());
        if prompt.len() + config.max_new_tokens <= context || history.len() < 3 {
            if forgotten > 0 {
                out.note(&format!("(the context of {context} tokens is full: forgot {forgotten} turns)"));
            }
            return Ok((prompt, config));
        }
        // A question and its answer.
        history.drain(..2);
        forgotten += 2;
    }
}
