//! Text to token ids and back: the tokenizer of a checkpoint through the tokenizers crate, and its own chat template.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use t2_chat::Message;

use super::special::{self, Named};
use super::template::{ChatOptions, ChatTemplate};
use super::vocabulary::beside::{Beside, CONFIG};
use super::vocabulary::charsmap::Charsmap;
use super::vocabulary::gguf::GgufVocabulary;
use super::vocabulary::{self, Fault, Vocabulary, vocab_merges};
use crate::checkpoint::{LoadError, foreign};
use crate::format::{self, gguf::Gguf};

/// What the decoder of a tokenizer puts where bytes do not form a character (yet).
const REPLACEMENT: char = '\u{fffd}';

/// The tokenizer of a checkpoint.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    charsmap: Option<Charsmap>,
    template: Option<ChatTemplate>,
    end_tokens: Vec<u32>,
}

/// Why text could not be tokenized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("cannot read {path}; check the permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is of another format.
    #[error("{path} is broken ({reason}); download or copy it again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A file is the stand-in that git keeps for one it has not fetched.
    #[error("{path} is a pointer of git-lfs in place of the file; run `git lfs pull` in its folder")]
    Pointer {
        /// The file.
        path: PathBuf,
    },
    /// A file asks for something that we do not do.
    #[error("{path} {reason}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for, what is known, and the way out.
        reason: String,
    },
    /// The GGUF file that the tokenizer is in cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The chat template refuses the conversation, or uses something we do not know.
    #[error("the chat template{} failed: {reason}; check the order of the roles, or prompt the model without a \
             conversation", of_file(path.as_deref()))]
    Template {
        /// The file that the template stands in, where it comes from one.
        path: Option<PathBuf>,
        /// What went wrong.
        reason: String,
    },
    /// The chat template takes or writes more than any conversation needs.
    #[error("the chat template{} was stopped: {reason}; take another template, or give the prompt without one (--raw)",
            of_file(path.as_deref()))]
    EndlessTemplate {
        /// The file that the template stands in, where it comes from one.
        path: Option<PathBuf>,
        /// What it ran into.
        reason: String,
    },
    /// The tokenizer refuses the text or the ids.
    #[error("the tokenizer failed: {0}; its vocabulary lacks something that this text needs")]
    Tokenize(String),
    /// A conversation without a question.
    #[error("the conversation has no message of the user; add one")]
    NoQuestion,
}

impl Tokenizer {
    /// Wrap a tokenizer that has no chat template.
    pub fn new(mut inner: tokenizers::Tokenizer) -> Self {
        inner.with_padding(None);
        // Clearing cannot fail: the error is about a stride longer than the maximum length.
        let _ = inner.with_truncation(None);
        Self { inner, charsmap: None, template: None, end_tokens: vec![] }
    }

    /// Read the tokenizer in `dir`: `tokenizer.json`, else a `tokenizer.model` of SentencePiece or of Llama 3's ranks,
    /// else `vocab.json` with `merges.txt`. With it come the chat template of `chat_template.jinja` or
    /// `tokenizer_config.json` if there is one, and the special tokens that files beside it name. `None` when the folder
    /// has none of these.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when a file is broken, or asks for something that we do not do. The template is only looked at
    /// by [`encode_chat`](Self::encode_chat).
    pub fn load(dir: &Path) -> Result<Option<Self>, TokenizerError> {
        if let Some(file) = format::gguf_at(dir)? {
            let vocabulary = Gguf::open(&file)?.vocabulary()?;
            return vocabulary.map(|vocabulary| Self::from_gguf(&vocabulary, &file)).transpose();
        }
        let beside = Beside::read(dir)?;
        let path = dir.join("tokenizer.json");
        let vocabulary = match read(&path)? {
            Some(json) if foreign::is_pointer(&json) => return Err(TokenizerError::Pointer { path }),
            Some(json) => Some(from_json(&json).map_err(|fault| fault.of(&path))?),
            None => vocabulary::load(dir, &beside)?,
        };
        let Some(vocabulary) = vocabulary else { return Ok(None) };
        let template = ChatTemplate::load(dir, &beside)?;
        let named = Named::read(&beside, template.as_ref().map_or("", ChatTemplate::source));
        Ok(Some(Self { template, ..Self::with(vocabulary, &named) }))
    }

    /// The tokenizer that the metadata of the GGUF file at `file` describes. The path is for messages alone.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the metadata contradicts itself, or names a kind of vocabulary or of cutting words that
    /// is not known.
    pub fn from_gguf(metadata: &GgufVocabulary, file: &Path) -> Result<Self, TokenizerError> {
        let inner = metadata.read().map_err(|fault| fault.of(file))?;
        let known = [
            ("bos_token", metadata.bos),
            ("eos_token", metadata.eos),
            ("unk_token", metadata.unk),
            ("pad_token", metadata.pad),
        ];
        let known = known.iter().filter_map(|(name, id)| Some(((*name).to_owned(), metadata.token(*id)?.into())));
        let source = metadata.chat_template.as_deref();
        let template = source.map(|source| ChatTemplate::of_file(source, known.collect(), file));
        let texts = |ids: &[Option<u32>]| ids.iter().filter_map(|id| Some(metadata.token(*id)?.to_owned())).collect();
        let special = texts(&[metadata.bos, metadata.eos, metadata.unk, metadata.pad, metadata.eot]);
        let named = Named::of(special, texts(&[metadata.eos, metadata.eot]), source.unwrap_or_default());
        Ok(Self { template, ..Self::with(inner.into(), &named) })
    }

    /// The tokenizer of a `tokenizer.model`, SentencePiece or ranks of tiktoken, and what `tokenizer_config.json` says
    /// beside it (`null` for nothing).
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_model(bytes: &[u8], config: serde_json::Value) -> Result<Self, TokenizerError> {
        let beside = Beside::of(config, Path::new(CONFIG))?;
        let read = vocabulary::model(bytes, &beside).map_err(|fault| fault.of(Path::new("tokenizer.model")))?;
        Ok(Self::with(read, &Named::read(&beside, "")))
    }

    /// The tokenizer of a `vocab.json` and its `merges.txt`, and what `tokenizer_config.json` says beside them (`null`
    /// for nothing).
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_vocab_and_merges(
        vocab: &[u8],
        merges: &[u8],
        config: serde_json::Value,
    ) -> Result<Self, TokenizerError> {
        let beside = Beside::of(config, Path::new(CONFIG))?;
        let read = vocab_merges::read(vocab, merges, &beside).map_err(|fault| fault.of(Path::new("vocab.json")))?;
        Ok(Self::with(read, &Named::read(&beside, "")))
    }

    fn with(vocabulary: Vocabulary, named: &Named) -> Self {
        let Vocabulary { mut tokenizer, charsmap } = vocabulary;
        named.mark(&mut tokenizer);
        let mut end_tokens: Vec<u32> = named.ends().filter_map(|token| tokenizer.token_to_id(token)).collect();
        // A file and its template may name the same.
        let mut seen = BTreeSet::new();
        end_tokens.retain(|token| seen.insert(*token));
        Self { charsmap, end_tokens, ..Self::new(tokenizer) }
    }

    /// Token ids of a whole text, with the special tokens that the tokenizer puts around it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Tokenize`] when the vocabulary has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, true)
    }

    /// Token ids of a piece of text, without special tokens around it.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_fragment(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, false)
    }

    /// Token ids of a conversation up to where the assistant answers. Without a chat template: of the last message
    /// of the user alone.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the template refuses the conversation, or there is no template and no user.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>, TokenizerError> {
        match &self.template {
            Some(_) => self.encode_chat_with(messages, &ChatOptions::default()),
            None => {
                let question = messages.iter().rfind(|message| message.role == "user");
                self.encode(&question.ok_or(TokenizerError::NoQuestion)?.content)
            }
        }
    }

    /// Token ids of a conversation and of `answer` after it, and how many of them are the conversation. The two are
    /// tokenized as one text, whose tokens are cut where the conversation alone ends; white space that it ends on counts to
    /// the answer. With a chat template, the answer begins its turn, without white space of its own before it. That is how
    /// the lm-evaluation-harness scores an answer.
    ///
    /// # Errors
    ///
    /// As [`encode_chat`](Self::encode_chat).
    pub fn encode_answer(&self, messages: &[Message], answer: &str) -> Result<(Vec<u32>, usize), TokenizerError> {
        let question = messages.iter().rfind(|message| message.role == "user");
        let (text, answer, special) = match &self.template {
            Some(template) => (template.render(messages, &ChatOptions::default())?, answer.trim_start(), false),
            None => (question.ok_or(TokenizerError::NoQuestion)?.content.clone(), answer, true),
        };
        let prompt = text.trim_end();
        let prompt_len = self.encode_with(prompt, special)?.len();
        Ok((self.encode_with(&format!("{text}{answer}"), special)?, prompt_len))
    }

    /// Token ids of a conversation as [`encode_chat`](Self::encode_chat) gives them, with tools or other `options`. A
    /// message is a [`Message`], or any object with a `role` and what else the template reads.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when there is no template, or it refuses the conversation.
    pub fn encode_chat_with(
        &self,
        messages: &[impl Serialize],
        options: &ChatOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        let missing = || TokenizerError::Template { path: None, reason: "the model brings none".into() };
        self.encode_fragment(&self.template.as_ref().ok_or_else(missing)?.render(messages, options)?)
    }

    /// The same tokenizer without its chat template: of a conversation, the last message of the user is all that it
    /// encodes, as it stands.
    #[must_use]
    pub fn raw(&self) -> Self {
        Self { template: None, ..self.clone() }
    }

    /// The chat template, if the checkpoint brings one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The text of `ids`, without special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Tokenize`] when the decoder of the tokenizer refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(tokenize)
    }

    /// The text of tokens that arrive one by one.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: vec![], printed: 0, context: 0 }
    }

    /// The id of a token spelt exactly so, such as `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokens that the files of the tokenizer name as the end of a text or of a turn.
    pub fn end_tokens(&self) -> impl Iterator<Item = u32> {
        self.end_tokens.iter().copied()
    }

    /// Leave `ids` out of every text, such as the end of an answer, whether or not a file calls them special. Ids of
    /// ordinary words, which were not added to the vocabulary, stay.
    pub fn hide(&mut self, ids: &[u32]) {
        special::hide(&mut self.inner, ids);
    }

    /// A `tokenizer.json` that gives the same ids, for libraries that read no other format.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Tokenize`] for a SentencePiece model that normalizes characters: the tokenizers crate does that
    /// in another way.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        if self.charsmap.is_some() {
            return Err(TokenizerError::Tokenize(
                "no tokenizer.json normalizes as its SentencePiece model does".into(),
            ));
        }
        self.inner.to_string(true).map_err(tokenize)
    }

    /// Number of tokens, added ones included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn encode_with(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let mapped = self.charsmap.as_ref().map(|map| map.apply(text));
        let text = mapped.as_deref().unwrap_or(text);
        Ok(self.inner.encode_fast(text, special).map_err(tokenize)?.get_ids().to_vec())
    }
}

/// Turns tokens into text as they arrive, holding back what is not a whole character yet.
///
/// The pieces, [`finish`](Self::finish) included, join to what [`Tokenizer::decode`] gives for all ids at once.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// How many of `ids` have been turned into text that the caller has.
    printed: usize,
    /// Where decoding starts: one step before the new tokens, since a tokenizer may join a token to the one before it.
    context: usize,
}

impl TextStream<'_> {
    /// The text that `id` completes; often empty inside a character of several tokens.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let text = self.pending()?;
        if text.is_empty() || text.ends_with(REPLACEMENT) {
            return Ok(String::new());
        }
        self.context = self.printed;
        self.printed = self.ids.len();
        Ok(text)
    }

    /// The text of the tokens that were held back, after the last of them has come.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String, TokenizerError> {
        self.pending()
    }

    fn pending(&self) -> Result<String, TokenizerError> {
        let old = self.tokenizer.decode(&self.ids[self.context..self.printed])?;
        let all = self.tokenizer.decode(&self.ids[self.context..])?;
        Ok(all.get(old.len()..).unwrap_or_default().to_owned())
    }
}

fn from_json(json: &[u8]) -> Result<Vocabulary, Fault> {
    Ok(tokenizers::Tokenizer::from_bytes(json)?.into())
}

/// The bytes of a file, `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read { path: path.to_owned(), source }),
    }
}

/// Where a template stands, for messages.
fn of_file(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| format!(" of {}", path.display()))
}

fn tokenize(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Tokenize(error.to_string())
}
