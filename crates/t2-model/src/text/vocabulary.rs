//! Vocabularies in other formats than `tokenizer.json`, each read into a tokenizer of the tokenizers crate.
//!
//! | file | holds | read by |
//! | --- | --- | --- |
//! | `tokenizer.model` | pieces of SentencePiece, BPE or unigram | `sentencepiece` |
//! | `tokenizer.model` | ranks of tiktoken, as Llama 3 ships them | `tiktoken` |
//! | `vocab.json`, `merges.txt` | byte-level BPE, as GPT-2 and Qwen2 ship it | `vocab_merges` |
//! | metadata of a GGUF file | either kind | `gguf` |
//!
//! A folder may hold several. `tokenizer.json` comes first: it says everything, where the others leave the splitting of
//! words and the tokens around a text to the code that reads them. Then `tokenizer.model`, whose content says which of
//! its two kinds it is, then `vocab.json` with `merges.txt`.

pub(super) mod beside;
pub(super) mod byte_level;
pub(super) mod charsmap;
pub(super) mod gguf;
pub(super) mod merges;
pub(super) mod pieces;
mod protobuf;
pub(super) mod sentencepiece;
pub(super) mod splitter;
pub(super) mod tiktoken;
pub(super) mod vocab_merges;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::Vocab;
use tokenizers::processors::template::{SpecialToken, Template, TemplateProcessing, Tokens};
use tokenizers::{AddedToken, Tokenizer};

use super::tokenizer::{TokenizerError, read};
use crate::checkpoint::foreign;
use beside::Beside;
use charsmap::Charsmap;

/// Names of the files that hold SentencePiece or tiktoken. Mistral numbers its own.
const MODELS: [&str; 4] = ["tokenizer.model", "tokenizer.model.v3", "tokenizer.model.v2", "tokenizer.model.v1"];

/// A vocabulary, ready to use.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) tokenizer: Tokenizer,
    /// What happens to a text before the tokenizer sees it.
    pub(super) charsmap: Option<Charsmap>,
}

impl From<Tokenizer> for Vocabulary {
    fn from(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, charsmap: None }
    }
}

/// What is wrong with the bytes of a vocabulary.
#[derive(Debug)]
pub(super) enum Fault {
    /// They are of no known format.
    Broken(String),
    /// They ask for something that we do not do.
    Unknown(String),
}

impl Fault {
    /// The error about the file at `path`.
    pub(super) fn of(self, path: &Path) -> TokenizerError {
        let path = path.to_owned();
        match self {
            Self::Broken(reason) => TokenizerError::Malformed { path, reason },
            Self::Unknown(reason) => TokenizerError::Unsupported { path, reason },
        }
    }
}

/// What the tokenizers crate refuses.
impl From<tokenizers::Error> for Fault {
    fn from(error: tokenizers::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Vocabularies of formats that are not read, and what they are.
const OTHERS: [(&str, &str); 4] = [
    ("vocab.txt", "WordPiece, as BERT has it"),
    ("spiece.model", "SentencePiece of T5 and its like"),
    ("sentencepiece.bpe.model", "SentencePiece with ids of another order"),
    ("tekken.json", "tiktoken as Mistral writes it"),
];

/// The vocabulary of the files in `dir` other than `tokenizer.json`, `None` when there are none.
pub(super) fn load(dir: &Path, beside: &Beside) -> Result<Option<Vocabulary>, TokenizerError> {
    for path in MODELS.map(|name| dir.join(name)) {
        let Some(bytes) = read(&path)? else { continue };
        if foreign::is_pointer(&bytes) {
            return Err(TokenizerError::Pointer { path });
        }
        return model(&bytes, beside).map(Some).map_err(|fault| fault.of(&path));
    }
    let [vocab, merges] = [dir.join("vocab.json"), dir.join("merges.txt")];
    let (words, pairs) = match (read(&vocab)?, read(&merges)?) {
        (Some(words), Some(pairs)) => (words, pairs),
        (Some(_), None) => return Err(missing(vocab, "merges.txt")),
        (None, Some(_)) => return Err(missing(merges, "vocab.json")),
        (None, None) => return other(dir),
    };
    for (path, bytes) in [(&vocab, &words), (&merges, &pairs)] {
        if foreign::is_pointer(bytes) {
            return Err(TokenizerError::Pointer { path: path.clone() });
        }
    }
    vocab_merges::read(&words, &pairs, beside).map(Some).map_err(|fault| fault.of(&vocab))
}

/// The error for the file at `path`, which is read with another, where that is not beside it.
fn missing(path: PathBuf, other: &str) -> TokenizerError {
    let reason = format!("needs {other} beside it, which is not there; download it too, or bring a tokenizer.json");
    TokenizerError::Unsupported { path, reason }
}

/// The error for a folder whose vocabulary is of a format that is not read; no vocabulary when it has none.
fn other(dir: &Path) -> Result<Option<Vocabulary>, TokenizerError> {
    let found = OTHERS.iter().map(|(name, what)| (dir.join(name), what)).find(|(path, _)| path.exists());
    let Some((path, what)) = found else { return Ok(None) };
    let reason = format!("holds a vocabulary that is not read here ({what}); bring its tokenizer.json");
    Err(TokenizerError::Unsupported { path, reason })
}

/// The vocabulary of a `tokenizer.model`, whose content says what it holds.
pub(super) fn model(bytes: &[u8], beside: &Beside) -> Result<Vocabulary, Fault> {
    if tiktoken::is_ranks(bytes) { tiktoken::read(bytes, beside) } else { sentencepiece::read(bytes, beside) }
}

/// Write `added` into `vocab`, in place of what has their ids, so that each of them gets its own when the tokenizer is
/// told of it.
pub(super) fn place(vocab: &mut Vocab, added: &[(u32, AddedToken)]) {
    let taken: HashSet<u32> = added.iter().map(|(id, _)| *id).collect();
    vocab.retain(|_, id| !taken.contains(id));
    for (id, token) in added {
        vocab.insert(token.content.clone(), *id);
    }
}

/// Make `tokenizer` put `bos` and `eos` around a text, where they are given.
pub(super) fn surround(tokenizer: &mut Tokenizer, bos: Option<&str>, eos: Option<&str>) -> Result<(), Fault> {
    let [bos, eos] = [bos, eos].map(|text| text.and_then(|text| Some((text, tokenizer.token_to_id(text)?))));
    // By names of our own: a token that holds a colon or a space is no name of a template.
    let known = [("bos", bos), ("eos", eos)];
    let tokens: Vec<SpecialToken> = known
        .iter()
        .filter_map(|(name, token)| token.map(|(text, id)| ((*name).to_owned(), text, id)))
        .map(|(name, text, id)| SpecialToken::new(name, vec![id], vec![text.to_owned()]))
        .collect::<Result<_, _>>()?;
    if tokens.is_empty() {
        return Ok(());
    }
    let pair = [bos.map(|_| "bos"), Some("$A"), eos.map(|_| "eos"), bos.map(|_| "bos"), Some("$B"), eos.map(|_| "eos")];
    let template = |pieces: &[Option<&str>]| Template::try_from(pieces.iter().copied().flatten().collect::<Vec<_>>());
    let invalid = |reason| Fault::Broken(format!("no template of its special tokens can be made: {reason}"));
    let processing = TemplateProcessing::builder()
        .single(template(&pair[..3]).map_err(invalid)?)
        .pair(template(&pair).map_err(invalid)?)
        .special_tokens(Tokens::from(tokens))
        .build()
        .map_err(|e| Fault::Broken(e.to_string()))?;
    tokenizer.with_post_processor(Some(processing));
    Ok(())
}
