//! A model in memory, with everything a command needs to prompt it.

use std::path::{Path, PathBuf};

use anyhow::bail;
use burn::prelude::Device;
use t2_model::checkpoint::{self, Checkpoint};
use t2_model::adapter::Expert;
use t2_model::generate::GenerateConfig;
use t2_model::adapter::Active;
use t2_model::generate::Sampling;
use t2_model::text::Tokenizer;

use crate::cli::{Global, SamplingArgs};
use crate::output::Output;
use crate::{device, environment, source};

/// Most tokens of a completion unless the user says otherwise.
const MAX_NEW_TOKENS: usize = 256;

/// A model as named on the command line.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    /// The folder it was read from.
    pub(crate) dir: PathBuf,
    /// The weights, adapted once an expert is applied.
    pub(crate) checkpoint: Checkpoint,
    /// `None` for a folder without tokenizer.json.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// Where the weights are.
    pub(crate) device: Device,
    /// The expert it runs under, if any.
    pub(crate) expert: Option<Expert>,
}

/// What a command gives a model to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Text, for which the model needs a tokenizer.
    Text,
    /// Token ids.
    Ids,
}

impl LoadedModel {
    /// Load MODEL, which is to read text, onto the device and in the type that the global options name.
    pub(crate) fn load(name: &str, global: &Global, out: &Output) -> anyhow::Result<Self> {
        Self::load_for(Input::Text, name, global, out)
    }

    /// The same for a model that is to read `input`: what it lacks for that is said before its weights are fetched.
    pub(crate) fn load_for(input: Input, name: &str, global: &Global, out: &Output) -> anyhow::Result<Self> {
        let (device, dtype) = device::of(global)?;
        let found = source::find(name, &environment::sources(), out)?;
        let mut tokenizer = Tokenizer::load(found.dir())?;
        if tokenizer.is_none() && input == Input::Text {
            bail!("{}", no_tokenizer(found.dir()));
        }
        let dir = found.fetch_weights(out)?;
        let mut checkpoint = checkpoint::load(&dir, dtype, &device)?;
        if let Some(tokenizer) = &mut tokenizer {
            checkpoint.generation.end_at(tokenizer.end_tokens());
            tokenizer.hide(&checkpoint.generation.eos);
        }
        tracing::info!(dir = %dir.display(), hash = checkpoint.hash.short(), "loaded the model");
        device.seed(global.seed);
        Ok(Self { dir, checkpoint, tokenizer, device, expert: None })
    }

    /// Which weights a forward pass uses: the base, bit for bit, unless an expert is applied.
    pub(crate) fn active(&self) -> Active<'static> {
        if self.expert.is_some() { Active::Own } else { Active::Base }
    }

    /// The hash of the expert, for results.
    pub(crate) fn expert_hash(&self) -> Option<String> {
        self.expert.as_ref().map(|expert| expert.hash().to_string())
    }

    /// How to complete a prompt of `prompt_len` tokens: what the user asks for, else what the checkpoint suggests.
    pub(crate) fn generate_config(&self, args: &SamplingArgs, prompt_len: usize) -> GenerateConfig {
        use t2_model::decoder::CausalLm;
        let theirs = &self.checkpoint.generation;
        let suggested = if theirs.do_sample == Some(true) {
            let plain = Sampling::PLAIN;
            Sampling {
                temperature: theirs.temperature.unwrap_or(plain.temperature),
                top_k: theirs.top_k.unwrap_or(plain.top_k),
                top_p: theirs.top_p.unwrap_or(plain.top_p),
            }
        } else {
            Sampling::GREEDY
        };
        let room = self.checkpoint.model.config().max_seq_len.saturating_sub(prompt_len);
        GenerateConfig {
            max_new_tokens: args.max_new_tokens.unwrap_or(room.clamp(1, MAX_NEW_TOKENS)),
            sampling: Sampling {
                temperature: args.temperature.unwrap_or(suggested.temperature),
                top_k: args.top_k.unwrap_or(suggested.top_k),
                top_p: args.top_p.unwrap_or(suggested.top_p),
            },
            stop: theirs.eos.clone(),
        }
    }
}

/// What a model without a tokenizer says to text.
pub(crate) fn no_tokenizer(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "{dir} has no tokenizer.json; give token ids with --prompt-ids, or let transformers write the file \
         (`AutoTokenizer.from_pretrained(…).save_pretrained(…)`)"
    )
}
