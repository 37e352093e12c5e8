//! A model in memory, with everything it takes to prompt it.

use std::path::{Path, PathBuf};

use t2_model::adapter::{Active, Expert};
use t2_model::checkpoint::Checkpoint;
use t2_model::decoder::CausalLm;
use t2_model::generate::{GenerateConfig, Sampling};
use t2_model::text::Tokenizer;

use crate::error::SessionError;
use crate::evaluate::{BASE, Subject};

/// Most tokens of a completion unless somebody says otherwise.
const MAX_NEW_TOKENS: usize = 256;

/// What a model is given to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Text, for which the model needs a tokenizer.
    Text,
    /// Token ids.
    Ids,
}

/// A model with its tokenizer.
#[derive(Debug)]
pub struct Model {
    /// The folder or file it was read from.
    pub path: PathBuf,
    /// The weights, adapted once an expert is applied.
    pub checkpoint: Checkpoint,
    /// `None` for a folder without one.
    pub tokenizer: Option<Tokenizer>,
    /// The expert it runs under, if any.
    pub expert: Option<Expert>,
}

/// How completions are to be drawn; what is `None` is left to the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplingWishes {
    /// Most tokens of a completion; by default 256, or what the context leaves.
    pub max_new_tokens: Option<usize>,
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: Option<f32>,
    /// Draw among the `top_k` most likely tokens only; 0 for all.
    pub top_k: Option<usize>,
    /// Draw among the fewest tokens whose probabilities reach `top_p`; 1 for all.
    pub top_p: Option<f32>,
    /// Draw among the tokens that are at least `min_p` times as likely as the most likely one; 0 for all.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens that are there already, or multiplies them where they are negative; 1 for none.
    pub repetition_penalty: Option<f32>,
}

impl Model {
    /// The folder that the model is in, with what may lie beside it.
    pub fn dir(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { self.path.parent().unwrap_or(&self.path) }
    }

    /// The tokenizer, where text is to be read.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoTokenizer`].
    pub fn tokenizer(&self) -> Result<&Tokenizer, SessionError> {
        self.tokenizer.as_ref().ok_or_else(|| SessionError::NoTokenizer { path: self.path.clone() })
    }

    /// Token ids that end an answer: those that the checkpoint and its tokenizer name.
    pub fn stop(&self) -> &[u32] {
        &self.checkpoint.generation.eos
    }

    /// Which weights a forward pass uses: the base, bit for bit, unless an expert is applied.
    pub fn active(&self) -> Active<'static> {
        if self.expert.is_some() { Active::Own } else { Active::Base }
    }

    /// The model as it answers: under its expert, if one is applied, and completing as `generate` says.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoTokenizer`].
    pub fn subject<'a>(&'a self, generate: &'a GenerateConfig) -> Result<Subject<'a>, SessionError> {
        let (model, active) = (&self.checkpoint.model, self.active());
        let name = self.expert.as_ref().map_or(BASE, |expert| &expert.info.name);
        let hash = self.expert_hash();
        Ok(Subject { model, tokenizer: self.tokenizer()?, active, name, hash, generate, repeats: 1 })
    }

    /// The hash of the expert, for results.
    pub fn expert_hash(&self) -> Option<t2_model::Hash> {
        self.expert.as_ref().map(Expert::hash)
    }

    /// How to complete a prompt of `prompt_len` tokens: as wished, else as the checkpoint suggests.
    pub fn generate_config(&self, wishes: SamplingWishes, prompt_len: usize) -> GenerateConfig {
        let theirs = &self.checkpoint.generation;
        // Who says among which tokens to draw wants them drawn.
        let is_drawn = wishes.top_k.is_some() || wishes.top_p.is_some() || wishes.min_p.is_some();
        let plain = Sampling::PLAIN;
        let suggested = Sampling {
            // It changes what is the most likely token too.
            repetition_penalty: theirs.repetition_penalty.unwrap_or(plain.repetition_penalty),
            ..if theirs.do_sample == Some(true) || is_drawn {
                Sampling {
                    temperature: theirs.temperature.unwrap_or(plain.temperature),
                    top_k: theirs.top_k.unwrap_or(plain.top_k),
                    top_p: theirs.top_p.unwrap_or(plain.top_p),
                    min_p: theirs.min_p.unwrap_or(plain.min_p),
                    ..plain
                }
            } else {
                Sampling::GREEDY
            }
        };
        let room = self.checkpoint.model.shape().max_seq_len.saturating_sub(prompt_len);
        GenerateConfig {
            max_new_tokens: wishes.max_new_tokens.unwrap_or(room.clamp(1, MAX_NEW_TOKENS)),
            sampling: Sampling {
                repetition_penalty: wishes.repetition_penalty.unwrap_or(suggested.repetition_penalty),
                temperature: wishes.temperature.unwrap_or(suggested.temperature),
                top_k: wishes.top_k.unwrap_or(suggested.top_k),
                top_p: wishes.top_p.unwrap_or(suggested.top_p),
                min_p: wishes.min_p.unwrap_or(suggested.min_p),
            },
            stop: self.stop().to_vec(),
            stop_strings: vec![],
        }
    }

    /// Greedy answers of at most `max_new_tokens`, as accuracies are reported.
    pub fn greedy(&self, max_new_tokens: usize) -> GenerateConfig {
        GenerateConfig { max_new_tokens, stop: self.stop().to_vec(), ..GenerateConfig::default() }
    }
}
