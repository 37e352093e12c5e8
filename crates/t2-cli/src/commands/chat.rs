//! `t2 chat`: a conversation on the terminal.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, bail};
use t2_chat::Message;
use t2_dispatch::{DispatchError, Query, Strategy, StrategyConfig, two_pass_with};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::generate::{Engine, EngineConfig, GenerateConfig, GenerateError};
use t2_session::{Input, Model, Pool, experts};

use super::generate::{Printer, complete};
use crate::cli::{self, ExpertArgs, Global, ModelArg, SamplingArgs, load_experts};
use crate::output::Output;
use crate::terminal::Terminal;
use crate::{error, interrupt};

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
    /// How the first pass chooses
    #[arg(long, default_value = "classifier", value_name = "S", requires = "pool", value_parser = cli::strategy(false))]
    strategy: String,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Who answers.
enum Speaker<'a> {
    /// The model, under an expert or none. What was said so far is not read again.
    One(Box<Engine<'a, Decoder>>),
    /// Whatever expert or mixture the first of two passes chooses, anew for every turn.
    Chosen { strategy: Box<dyn Strategy>, pool: Box<Pool<'a>> },
}

pub(crate) fn run(args: &Args, global: &Global, out: &Output) -> anyhow::Result<()> {
    if out.is_json() {
        bail!("chat is a conversation and has no --json; use `t2 generate --json`");
    }
    let terminal = Terminal::new(out);
    let session = terminal.session(global)?;
    let model = session.load(&args.model.model, Input::Text)?;
    let experts = load_experts(&args.experts.experts, Some(model.dir()))?;
    let model = session.adapt(model, &experts)?;
    let mut speaker = match &args.pool {
        None => Speaker::One(Box::new(Engine::new(&model.checkpoint.model, EngineConfig::default()))),
        Some(dir) => {
            let strategy = t2_dispatch::strategy::find(&args.strategy, &StrategyConfig::default())?;
            Speaker::Chosen { strategy, pool: Box::new(session.pool(&model, experts::load_folder(dir)?)?) }
        }
    };
    out.note(HELP);
    let opening: Vec<Message> = args.system.iter().map(Message::system).collect();
    let mut history = opening.clone();
    let mut answers = 0;
    while let Some(line) = interrupt::while_waiting(|| read_line(out))? {
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => break,
            "/reset" => history.clone_from(&opening),
            command if command.starts_with('/') => out.note(HELP),
            text => {
                let before = history.clone();
                history.push(Message::user(text));
                let seed = session.seed.wrapping_add(answers);
                match answer(&model, &mut speaker, &mut history, (&args.sampling, seed), out) {
                    Ok(text) => history.push(Message::assistant(text)),
                    Err(error) if error.is::<io::Error>() => return Err(error),
                    Err(error) => {
                        history = before;
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

/// The next line of the user; `None` at the end of the input.
fn read_line(out: &Output) -> anyhow::Result<Option<String>> {
    if io::stdin().is_terminal() {
        out.text("> ")?;
    }
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("cannot read stdin; chat expects text in UTF-8")?;
    Ok((read > 0).then_some(line))
}

fn answer(
    model: &Model,
    speaker: &mut Speaker<'_>,
    history: &mut Vec<Message>,
    (sampling, seed): (&SamplingArgs, u64),
    out: &Output,
) -> anyhow::Result<String> {
    let (prompt, generate) = fit(model, history, sampling, out)?;
    let tokenizer = model.tokenizer()?;
    match speaker {
        Speaker::One(engine) => {
            let completion = complete(engine, model, prompt, (&generate, seed), out)?;
            out.text("\n")?;
            Ok(tokenizer.decode(completion.answer_ids())?)
        }
        Speaker::Chosen { strategy, pool } => {
            let query = Query { prompt: history.clone(), seed };
            let mut printer = Printer::new(Some(tokenizer), out);
            let mut oracle = pool.oracle(generate);
            let passes = two_pass_with(&mut **strategy, &[query], &pool.experts, &mut oracle, |_, id| printer.push(id));
            printer.finish()?;
            out.text("\n")?;
            let passes = match passes {
                // The part of an answer that came before Ctrl-C is part of the conversation.
                Err(DispatchError::Generate(GenerateError::Interrupted { completions })) => {
                    let ids = completions.first().map_or(&[][..], |completion| completion.answer_ids());
                    return Ok(tokenizer.decode(ids)?);
                }
                passes => passes?,
            };
            let answer = passes.answers.into_iter().next().context("the batch of one question has no answer")?;
            out.note(&format!("({})", answer.choice.label));
            Ok(answer.text)
        }
    }
}

/// The token ids of the conversation, whose oldest turns are forgotten until an answer fits the context.
fn fit(
    model: &Model,
    history: &mut Vec<Message>,
    sampling: &SamplingArgs,
    out: &Output,
) -> anyhow::Result<(Vec<u32>, GenerateConfig)> {
    let context = model.checkpoint.model.shape().max_seq_len;
    let mut forgotten = 0;
    loop {
        let prompt = model.tokenizer()?.encode_chat(history)?;
        let config = model.generate_config(sampling.wishes(), prompt.len());
        // What the model was told at the beginning stays.
        let start = history.iter().take_while(|message| message.role == "system").count();
        if prompt.len() + config.max_new_tokens <= context || history.len() < start + 3 {
            if forgotten > 0 {
                out.note(&format!("(the context of {context} tokens is full: forgot {forgotten} turns)"));
            }
            return Ok((prompt, config));
        }
        // A question and its answer.
        history.drain(start..start + 2);
        forgotten += 2;
    }
}
