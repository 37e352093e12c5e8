//! `t2 chat`: a conversation on the terminal.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, bail};
use t2_dispatch::{ExpertPool, Query, Strategy, two_pass};
use t2_chat::Message;
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::generate::GenerateConfig;

use super::generate::{Printer, complete, tokenizer};
use crate::adapt::adapt;
use crate::cli::{ExpertArgs, Global, ModelArg, SamplingArgs};
use crate::error;
use crate::grading::Grading;
use crate::interrupt;
use crate::model::LoadedModel;
use crate::output::Output;
use crate::pool;

const HELP: &str = "/reset forgets the conversation, /quit ends it; Ctrl-C stops an answer";

/// Talk to a model; reads a line at a time
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    experts: ExpertArgs,
    /// Answer every turn in two passes, choosing among the experts of this folder
    #[arg(long = "experts", value_name = "DIR", conflicts_with = "experts")]
    pool: Option<PathBuf>,
    /// How to choose: none, prompt or classifier
    #[arg(long, default_value = "classifier", value_name = "S", requires = "pool")]
    strategy: String,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Who answers.
enum Speaker {
    /// The model, under an expert or none.
    One,
    /// In two passes, whoever the first one chooses.
    Chosen { strategy: Box<dyn Strategy>, adapted: Box<Decoder>, pool: ExpertPool },
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    if out.is_json() {
        bail!("chat is a conversation and has no --json; use `t2 generate --json`");
    }
    let mut model = LoadedModel::load(&args.model.model, global, out)?;
    tokenizer(&model)?;
    adapt(&mut model, &args.experts.experts, out)?;
    let mut speaker = match &args.pool {
        None => Speaker::One,
        Some(dir) => {
            let strategy = t2_dispatch::strategy::find(&args.strategy, &t2_dispatch::Settings::default())?;
            let (adapted, pool) = pool::pool(&model, pool::read(dir)?, out)?;
            Speaker::Chosen { strategy, adapted: Box::new(adapted), pool }
        }
    };
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
                match answer(&model, &mut speaker, &mut history, (&args.sampling, seed), out) {
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
    speaker: &mut Speaker,
    history: &mut Vec<Message>,
    (sampling, seed): (&SamplingArgs, u64),
    out: &Output,
) -> anyhow::Result<String> {
    let (prompt, generate) = fit(model, history, sampling, out)?;
    let tokenizer = tokenizer(model)?;
    match speaker {
        Speaker::One => {
            let completion = complete(model, &prompt, &generate, seed, out)?;
            out.text("\n")?;
            Ok(tokenizer.decode(&completion.ids)?)
        }
        Speaker::Chosen { strategy, adapted, pool } => {
            let query = Query { prompt: history.clone(), seed };
            let mut printer = Printer::new(Some(tokenizer), out);
            let grading = Grading { model: adapted, tokenizer, generate: &generate, out };
            let mut oracle = grading.oracle(pool, None);
            let passes = two_pass(&mut **strategy, &[query], &mut oracle, |_, id| printer.push(id))?;
            printer.finish()?;
            out.text("\n")?;
            let answer = passes.answers.into_iter().next().context("the batch of one question has no answer")?;
            out.note(&format!("({})", answer.choice.label));
            Ok(answer.text)
        }
    }
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
