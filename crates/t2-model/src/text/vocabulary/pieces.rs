//! Pieces with scores, as SentencePiece and GGUF files of the model `llama` have them, to a tokenizer.
//!
//! A text is first escaped: a space becomes `▁`, and a `▁` goes in front. It is not cut into words. Pieces of the user
//! are cut out whole; what is between them is joined by score (BPE) or cut where the scores add up to most (unigram).

use std::cmp::Reverse;
use std::collections::HashSet;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::utils::Sequence as Normalizers;
use tokenizers::normalizers::{NormalizerWrapper, Prepend};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::{AddedToken, Tokenizer};

use super::merges::merges;
use super::splitter::isolate;
use super::{Fault, place};

/// How a space is written in pieces.
const SPACE: char = '▁';

/// A piece of a vocabulary; its position is its id.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// What a piece is for. SentencePiece and GGUF number them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of words.
    Normal,
    /// What stands for text that no piece spells.
    Unknown,
    /// A special token.
    Control,
    /// A text that is always a token of its own.
    UserDefined,
    /// A piece that no text is cut into.
    Unused,
    /// A single byte, such as `<0x0A>`.
    Byte,
}

impl Kind {
    /// The kind that files give as `number`.
    pub(super) fn numbered(number: u64) -> Result<Self, Fault> {
        match number {
            1 => Ok(Self::Normal),
            2 => Ok(Self::Unknown),
            3 => Ok(Self::Control),
            4 => Ok(Self::UserDefined),
            5 => Ok(Self::Unused),
            6 => Ok(Self::Byte),
            _ => Err(Fault::Broken(format!("a piece is of kind {number}; kinds are 1 to 6"))),
        }
    }
}

/// How scores turn text into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The neighbours whose joined piece has the best score are joined, again and again.
    Bpe,
    /// The pieces with the best sum of scores.
    Unigram,
}

/// Where a space goes in front that the text does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nowhere.
    Never,
    /// Where a text starts, unless with a space. That is what transformers does where a file says `legacy: false`.
    First,
    /// Where a text starts and after each special token.
    Always,
}

/// What a set of pieces comes with.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) algorithm: Algorithm,
    pub(super) prefix: Prefix,
    /// Runs of spaces count as one, spaces around a text as none.
    pub(super) collapse: bool,
    /// Spaces are written as `▁`.
    pub(super) escape: bool,
    /// What no piece spells is spelt by bytes.
    pub(super) bytes: bool,
    /// The id of the piece that stands for what nothing spells.
    pub(super) unknown: Option<usize>,
    /// When pieces of the user are cut out.
    pub(super) users: Users,
}

/// When pieces of the user are cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// Out of the text as it is, so that these pieces are spelt with spaces.
    First,
    /// Out of the escaped text, where a space in front of it all is a piece of its own.
    Escaped,
}

/// The tokenizer of `pieces` and the tokens of `added`, by `rules`.
pub(super) fn tokenizer(pieces: &[Piece], added: &[(u32, AddedToken)], rules: &Rules) -> Result<Tokenizer, Fault> {
    let users = if rules.users == Users::Escaped { users(pieces) } else { vec![] };
    let mut tokenizer = Tokenizer::new(model(pieces, added, rules, !users.is_empty())?);
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers(rules)?)));
    let cuts = cuts(&users, rules)?;
    tokenizer.with_pre_tokenizer((!cuts.is_empty()).then(|| PreTokenizers::new(cuts)));
    tokenizer.with_decoder(Some(Decoders::new(decoders(rules)?)));
    // What a file says of a token beside the pieces counts.
    let described: HashSet<&str> = added.iter().map(|(_, token)| token.content.as_str()).collect();
    let own = pieces.iter().filter(|piece| !described.contains(piece.text.as_str()));
    let own = own.filter_map(|piece| whole(piece, rules));
    tokenizer.add_tokens(&own.chain(added.iter().map(|(_, token)| token.clone())).collect::<Vec<_>>());
    match added.iter().find(|(id, token)| tokenizer.token_to_id(&token.content) != Some(*id)) {
        Some((id, token)) => {
            let reason = format!("has {} pieces, and a file beside it adds `{}` as {id}", pieces.len(), token.content);
            Err(Fault::Unknown(format!("{reason}; ids without a gap are known; bring its tokenizer.json")))
        }
        None => Ok(tokenizer),
    }
}

/// The token for `piece`, if it is found in the text as it is.
fn whole(piece: &Piece, rules: &Rules) -> Option<AddedToken> {
    let special = match piece.kind {
        Kind::Control | Kind::Unknown => true,
        Kind::UserDefined if rules.users == Users::First => false,
        _ => return None,
    };
    Some(AddedToken::from(piece.text.as_str(), special).normalized(false))
}

fn cuts(users: &[&str], rules: &Rules) -> Result<Vec<PreTokenizerWrapper>, Fault> {
    let mut cuts: Vec<PreTokenizerWrapper> = vec![];
    if rules.prefix == Prefix::First {
        cuts.push(Metaspace::new(space(rules), PrependScheme::First, false).into());
    }
    if !users.is_empty() {
        cuts.push(isolate(users.iter().map(|text| escaped(text)).collect::<Vec<_>>().join("|"))?);
    }
    Ok(cuts)
}

/// The pieces of the user, long ones first.
fn users(pieces: &[Piece]) -> Vec<&str> {
    let of_users = pieces.iter().filter(|piece| piece.kind == Kind::UserDefined && !piece.text.is_empty());
    let mut texts: Vec<&str> = of_users.map(|piece| piece.text.as_str()).collect();
    texts.sort_by_key(|text| Reverse(text.len()));
    texts
}

fn space(rules: &Rules) -> char {
    if rules.escape { SPACE } else { ' ' }
}

/// `text` as a pattern that matches it alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        // Not all punctuation: `\<` is the start of a word.
        pattern.extend(r"\.+*?()|[]{}^$#&-~".contains(c).then_some('\\'));
        pattern.push(c);
    }
    pattern
}

fn model(pieces: &[Piece], added: &[(u32, AddedToken)], rules: &Rules, whole: bool) -> Result<ModelWrapper, Fault> {
    let unknown = rules.unknown.and_then(|id| pieces.get(id));
    if rules.algorithm == Algorithm::Unigram {
        return Ok(Unigram::from(scored(pieces), rules.unknown, rules.bytes)?.into());
    }
    let mut normal: Vec<&Piece> = pieces.iter().filter(|piece| piece.kind == Kind::Normal).collect();
    normal.sort_by(|a, b| b.score.total_cmp(&a.score));
    let ids = pieces.iter().zip(0..);
    let mut vocab: Vocab = ids.map(|(piece, id)| (piece.text.clone(), id)).collect();
    place(&mut vocab, added);
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges(normal.iter().map(|piece| piece.text.as_str()))?)
        .byte_fallback(rules.bytes)
        .fuse_unk(true)
        .ignore_merges(whole);
    let bpe = match unknown {
        Some(piece) => bpe.unk_token(piece.text.clone()),
        None => bpe,
    };
    Ok(bpe.build()?.into())
}

/// Pieces with scores by which those are chosen that text is made of.
fn scored(pieces: &[Piece]) -> Vec<(String, f64)> {
    let normal = pieces.iter().filter(|piece| piece.kind == Kind::Normal);
    let least = normal.map(|piece| f64::from(piece.score)).fold(0.0, f64::min);
    // Worse than to spell it by the worst pieces.
    let never = |piece: &Piece| (piece.text.len() + 1) as f64 * (least - 1.0);
    let score = |piece: &Piece| match piece.kind {
        Kind::Normal => f64::from(piece.score),
        Kind::Byte | Kind::Unused => never(piece),
        // A piece of the user is cut out whole, so its score has nothing to compete with.
        Kind::UserDefined | Kind::Control | Kind::Unknown => 0.0,
    };
    pieces.iter().map(|piece| (piece.text.clone(), score(piece))).collect()
}

fn normalizers(rules: &Rules) -> Result<Vec<NormalizerWrapper>, Fault> {
    let mut steps: Vec<NormalizerWrapper> = vec![];
    if rules.collapse {
        let around = format!(r"\A +|[ {}]+\z", space(rules));
        steps.push(Replace::new(ReplacePattern::Regex(around), "")?.into());
        steps.push(Replace::new(ReplacePattern::Regex(" {2,}".into()), " ")?.into());
    }
    if rules.prefix == Prefix::Always {
        steps.push(Prepend::new(space(rules).to_string()).into());
    }
    if rules.escape {
        steps.push(Replace::new(" ", SPACE.to_string())?.into());
    }
    Ok(steps)
}

fn decoders(rules: &Rules) -> Result<Vec<DecoderWrapper>, Fault> {
    let mut steps: Vec<DecoderWrapper> = vec![Replace::new(SPACE.to_string(), " ")?.into()];
    if rules.bytes {
        steps.push(ByteFallback::new().into());
    }
    steps.push(Fuse::new().into());
    if rules.collapse || rules.prefix != Prefix::Never {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    Ok(steps)
}
