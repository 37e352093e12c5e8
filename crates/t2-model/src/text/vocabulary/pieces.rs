//! Pieces with scores, as SentencePiece and GGUF files of the model `llama` have them, to a tokenizer.
//!
//! A text is first escaped: a space becomes `▁`, and a `▁` goes in front. It is not cut into words. Pieces of the user
//! are cut out whole; what is between them is joined by score (BPE) or cut where the scores add up to most (unigram).

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
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::{AddedToken, Tokenizer};

use super::merges::merges;
use super::splitter::isolate;
use super::{Fault, place};

/// How a space is written in pieces.
const SPACE: char = '▁';
/// Leading spaces that are cut off a decoded text where those of a text count for nothing: all of them.
const EVERY_SPACE: usize = 1024;

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
    Never,
    /// Where a text starts.
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
}

/// The tokenizer of `pieces` and the tokens of `added`, by `rules`.
pub(super) fn tokenizer(pieces: &[Piece], added: &[(u32, AddedToken)], rules: &Rules) -> Result<Tokenizer, Fault> {
    let by_users = |piece: &&Piece| piece.kind == Kind::UserDefined && !piece.text.is_empty();
    let mut users: Vec<&str> = pieces.iter().filter(by_users).map(|piece| piece.text.as_str()).collect();
    users.sort_by_key(|text| std::cmp::Reverse(text.len()));
    // A space in front comes before pieces of the user: they are cut out of the escaped text. Without it they are cut out
    // of the text as it is, unless they hold a space.
    let after_escape = rules.prefix != Prefix::Never || users.iter().any(|text| text.contains(SPACE));
    let mut tokenizer = Tokenizer::new(model(pieces, added, rules, after_escape && !users.is_empty())?);
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers(rules)?)));
    let mut cuts = Vec::new();
    if rules.prefix == Prefix::First {
        cuts.push(Metaspace::new(space(rules), PrependScheme::First, false).into());
    }
    if after_escape && !users.is_empty() {
        cuts.push(isolate(users.iter().map(|text| escaped(text)).collect::<Vec<_>>().join("|"))?);
    }
    tokenizer.with_pre_tokenizer((!cuts.is_empty()).then(|| PreTokenizers::new(cuts)));
    tokenizer.with_decoder(Some(Decoders::new(decoders(rules)?)));
    let whole = |piece: &&Piece| match piece.kind {
        Kind::Control | Kind::Unknown => true,
        Kind::UserDefined => !after_escape,
        Kind::Normal | Kind::Unused | Kind::Byte => false,
    };
    let token =
        |piece: &Piece| AddedToken::from(piece.text.as_str(), piece.kind != Kind::UserDefined).normalized(false);
    let own = pieces.iter().filter(whole).map(token);
    tokenizer.add_tokens(&own.chain(added.iter().map(|(_, token)| token.clone())).collect::<Vec<_>>());
    match added.iter().find(|(id, token)| tokenizer.token_to_id(&token.content) != Some(*id)) {
        Some((id, token)) => {
            let reason = format!("has {} pieces, and a file beside it adds `{}` as {id}", pieces.len(), token.content);
            Err(Fault::Unknown(format!("{reason}; ids without a gap are known; bring its tokenizer.json")))
        }
        None => Ok(tokenizer),
    }
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
        // A piece of the user is cut out whole, so its score has nothing to compete with.
        let score = |piece: &Piece| if piece.kind == Kind::UserDefined { 0.0 } else { f64::from(piece.score) };
        let vocab = pieces.iter().map(|piece| (piece.text.clone(), score(piece))).collect();
        return Ok(Unigram::from(vocab, rules.unknown, rules.bytes)?.into());
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
    if rules.collapse {
        steps.push(Strip::new(' ', EVERY_SPACE, 0).into());
    } else if rules.prefix != Prefix::Never {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    Ok(steps)
}
