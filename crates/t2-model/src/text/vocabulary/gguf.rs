//! The vocabulary in the metadata of a GGUF file.

use std::collections::HashMap;

use serde::Deserialize;
use tokenizers::models::bpe::{Merges, Vocab};
use tokenizers::{AddedToken, Tokenizer};

use super::pieces::{Algorithm, Kind, Piece, Prefix, Rules, Users};
use super::splitter::Splitter;
use super::{Fault, byte_level, pieces, surround};

/// What the metadata of a GGUF file says of its vocabulary: the keys `tokenizer.ggml.*`, `tokenizer.chat_template` and
/// `general.name`. What a file does not have is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GgufVocabulary {
    /// `model`: `gpt2` for byte-level BPE, `llama` for the pieces of SentencePiece.
    pub model: String,
    /// `pre`: how `gpt2` cuts words.
    pub pre: Option<String>,
    /// `general.name`. Phi-3 says only here that its special tokens swallow the spaces after them.
    pub name: Option<String>,
    /// `tokens`, by their ids.
    pub tokens: Vec<String>,
    /// `scores` of the tokens, which `llama` joins them by.
    pub scores: Option<Vec<f32>>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Option<Vec<i32>>,
    /// `merges` of `gpt2`, best first: two tokens and a space between.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `eot_token_id`, the end of a turn.
    pub eot: Option<u32>,
    /// `add_bos_token`: a text begins with `bos`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`: a text ends with `eos`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`: a space goes in front that the text does not have.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`: runs of spaces count as one.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

impl GgufVocabulary {
    /// The tokenizer, with what goes around a text.
    pub(in crate::text) fn read(&self) -> Result<Tokenizer, Fault> {
        let kinds = self.kinds()?;
        self.check_distinct()?;
        let (mut tokenizer, begins) = match self.model.as_str() {
            "gpt2" => self.byte_level(&kinds)?,
            "llama" => (self.pieces(&kinds)?, true),
            model => {
                return Err(Fault::Unknown(format!(
                    "has a vocabulary of the kind `{model}` (tokenizer.ggml.model); known are gpt2 and llama; take the \
                     model as a folder with its tokenizer.json"
                )));
            }
        };
        let [bos, eos] = [(self.bos, self.add_bos.unwrap_or(begins)), (self.eos, self.add_eos.unwrap_or(false))]
            .map(|(id, wanted)| self.token(id).filter(|_| wanted));
        surround(&mut tokenizer, bos, eos)?;
        Ok(tokenizer)
    }

    /// The text of token `id`.
    pub(crate) fn token(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(usize::try_from(id?).ok()?).map(String::as_str)
    }

    fn kinds(&self) -> Result<Vec<Kind>, Fault> {
        let count = self.tokens.len();
        let others = [self.token_types.as_ref().map(Vec::len), self.scores.as_ref().map(Vec::len)];
        if let Some(other) = others.into_iter().flatten().find(|length| *length != count) {
            return Err(Fault::Broken(format!("it has {count} tokens, and types or scores of {other}")));
        }
        let Some(types) = &self.token_types else { return Ok(vec![Kind::Normal; count]) };
        // Type 0 is what older files give a token of no type.
        let kind = |number: &i32| Kind::numbered(u64::try_from(*number).unwrap_or(u64::MAX).max(1));
        types.iter().map(kind).collect()
    }

    /// Refuse two tokens of one text: one of the ids would never be given, and the other decode to nothing. Empty ones
    /// fill up vocabularies, and stand for nothing anyway.
    fn check_distinct(&self) -> Result<(), Fault> {
        let mut ids = HashMap::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
            if let Some(first) = ids.insert(token, id) {
                return Err(Fault::Broken(format!("its tokens {first} and {id} are both {token:?}")));
            }
        }
        Ok(())
    }

    /// The tokenizer of a byte-level vocabulary, and whether a text begins with `bos`.
    fn byte_level(&self, kinds: &[Kind]) -> Result<(Tokenizer, bool), Fault> {
        let splitter = Splitter::named(self.pre.as_deref().unwrap_or("default"))?;
        let vocab: Vocab = self.tokens.iter().cloned().zip(0..).collect();
        let whole = |((id, text), kind): ((u32, &String), &Kind)| {
            let special = matches!(kind, Kind::Control | Kind::Unknown);
            let whole = (special || *kind == Kind::UserDefined) && !text.is_empty();
            whole.then(|| (id, self.added(text, special)))
        };
        let added: Vec<(u32, AddedToken)> = (0..).zip(&self.tokens).zip(kinds).filter_map(whole).collect();
        Ok((byte_level::tokenizer(vocab, self.merges()?, splitter, &added)?, splitter.begins))
    }

    fn merges(&self) -> Result<Merges, Fault> {
        let pair = |merge: &String| {
            let broken = || Fault::Broken(format!("its merge {merge:?} is not two tokens and a space"));
            let (left, right) = merge.split_once(' ').ok_or_else(broken)?;
            Ok((left.to_owned(), right.to_owned()))
        };
        self.merges.iter().map(pair).collect()
    }

    fn pieces(&self, kinds: &[Kind]) -> Result<Tokenizer, Fault> {
        let scores = self.scores.as_deref().ok_or_else(|| Fault::Broken("it has tokens without scores".into()))?;
        let piece =
            |((text, score), kind): ((&String, &f32), &Kind)| Piece { text: text.clone(), score: *score, kind: *kind };
        let all: Vec<Piece> = self.tokens.iter().zip(scores).zip(kinds).map(piece).collect();
        let prefix = if self.add_space_prefix.unwrap_or(true) { Prefix::Always } else { Prefix::Never };
        let rules = Rules {
            algorithm: Algorithm::Bpe,
            prefix,
            collapse: self.remove_extra_whitespaces.unwrap_or(false),
            escape: true,
            bytes: kinds.contains(&Kind::Byte),
            users: Users::First,
            unknown: self
                .unk
                .map_or_else(|| kinds.iter().position(|kind| *kind == Kind::Unknown), |id| usize::try_from(id).ok()),
        };
        let swallow = (0..).zip(&all).filter(|(_, piece)| piece.kind == Kind::Control && self.swallows(&piece.text));
        let swallow = swallow.map(|(id, piece)| (id, self.added(&piece.text, true))).collect::<Vec<_>>();
        pieces::tokenizer(&all, &swallow, &rules)
    }

    fn added(&self, text: &str, special: bool) -> AddedToken {
        AddedToken::from(text, special).normalized(false).rstrip(special && self.swallows(text))
    }

    /// True when the special token `text` takes the spaces after it along, as in Phi-3's tokenizer.json.
    fn swallows(&self, text: &str) -> bool {
        let name = self.name.as_deref().unwrap_or_default().to_lowercase();
        ["phi-3", "phi3"].iter().any(|phi| name.contains(phi)) && !["<unk>", "<s>", "<|endoftext|>"].contains(&text)
    }
}
