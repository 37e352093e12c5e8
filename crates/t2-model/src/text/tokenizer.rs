//! Text to token ids and back: `tokenizer.json` through the tokenizers crate, and the checkpoint's own chat template.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use t2_chat::Message;

use super::special;
use super::template::ChatTemplate;
use crate::checkpoint::foreign;

/// What the decoder of a tokenizer puts where bytes do not form a character (yet).
const REPLACEMENT: char = '\u{fffd}';

/// The tokenizer of a checkpoint.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
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
    /// The chat template refuses the conversation, or uses something we do not know.
    #[error("the chat template failed: {0}; check the order of the roles, or prompt the model without a conversation")]
    Template(String),
    /// The tokenizer refuses the text or the ids.
    #[error("the tokenizer failed: {0}; its tokenizer.json lacks something that this text needs")]
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
        Self { inner, template: None, end_tokens: vec![] }
    }

    /// Read `tokenizer.json` in `dir`, with the chat template of `chat_template.jinja` or `tokenizer_config.json` if
    /// there is one, and the special tokens that files beside it name. `None` when the folder has no `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when a file is broken. The template is only looked at by [`encode_chat`](Self::encode_chat).
    pub fn load(dir: &Path) -> Result<Option<Self>, TokenizerError> {
        let Some(json) = read(&dir.join("tokenizer.json"))? else { return Ok(None) };
        let path = dir.join("tokenizer.json");
        let mut inner = match tokenizers::Tokenizer::from_bytes(&json) {
            Ok(inner) => inner,
            Err(_) if foreign::is_pointer(&json) => return Err(TokenizerError::Pointer { path }),
            Err(e) => return Err(TokenizerError::Malformed { path, reason: e.to_string() }),
        };
        let template = ChatTemplate::load(dir)?;
        let named = special::Named::read(dir)?;
        named.mark(&mut inner);
        let end_tokens = named.ends().filter_map(|token| inner.token_to_id(token)).collect();
        Ok(Some(Self { template, end_tokens, ..Self::new(inner) }))
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
            Some(template) => self.encode_fragment(&template.render(messages)?),
            None => {
                let question = messages.iter().rfind(|message| message.role == "user");
                self.encode(&question.ok_or(TokenizerError::NoQuestion)?.content)
            }
        }
    }

    /// True when the checkpoint brings a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
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

    /// Tokens that the files beside `tokenizer.json` name as the end of a text or of a turn.
    pub fn end_tokens(&self) -> impl Iterator<Item = u32> {
        self.end_tokens.iter().copied()
    }

    /// Leave `ids` out of every text, such as the end of an answer, whether or not a file calls them special. Ids of
    /// ordinary words, which were not added to the vocabulary, stay.
    pub fn hide(&mut self, ids: &[u32]) {
        special::hide(&mut self.inner, ids);
    }

    /// Number of tokens, added ones included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn encode_with(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
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

/// The bytes of a file, `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read { path: path.to_owned(), source }),
    }
}

fn tokenize(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Tokenize(error.to_string())
}
