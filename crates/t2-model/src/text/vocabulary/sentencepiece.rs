//! `tokenizer.model` of SentencePiece: a `ModelProto` (`sentencepiece_model.proto`) of pieces and how they are used.

use super::beside::Beside;
use super::charsmap::Charsmap;
use super::pieces::{Algorithm, Kind, Piece, Prefix, Rules, Users, tokenizer};
use super::protobuf::{Fields, Value, text};
use super::{Fault, Vocabulary, surround};

/// What we take from a `ModelProto`, with the defaults of its schema.
#[derive(Debug)]
struct Model<'a> {
    pieces: Vec<Piece>,
    model_type: u64,
    bytes: bool,
    /// Spaces end words instead of starting them.
    suffix: bool,
    ids: Ids,
    charsmap: &'a [u8],
    prefix: bool,
    collapse: bool,
    escape: bool,
}

/// Ids of special pieces; a negative one says that there is none.
#[derive(Debug)]
struct Ids {
    unknown: u64,
    bos: u64,
    eos: u64,
}

/// The vocabulary of a SentencePiece model, with the special tokens that `beside` names.
///
/// Text is tokenized as SentencePiece does, with two additions of transformers: special tokens in a text are read whole,
/// and a space goes in front after each of them too, unless `legacy` in `tokenizer_config.json` is false. A text begins
/// with the token for it, unless `add_bos_token` is false.
pub(super) fn read(bytes: &[u8], beside: &Beside) -> Result<Vocabulary, Fault> {
    let mut model = parse(bytes)?;
    let rules = rules(&model, beside)?;
    if rules.users == Users::First {
        let of_users = model.pieces.iter_mut().filter(|piece| piece.kind == Kind::UserDefined);
        of_users.for_each(|piece| piece.text = piece.text.replace('▁', " "));
    }
    let text_of = |id: u64| Some(model.pieces.get(usize::try_from(id).ok()?)?.text.as_str());
    let mut tokenizer = tokenizer(&model.pieces, beside.added(), &rules)?;
    let begins = beside.flag("add_bos_token").unwrap_or(true);
    let ends = beside.flag("add_eos_token").unwrap_or(false);
    let bos = beside.token("bos_token").or_else(|| text_of(model.ids.bos)).filter(|_| begins);
    let eos = beside.token("eos_token").or_else(|| text_of(model.ids.eos)).filter(|_| ends);
    surround(&mut tokenizer, bos, eos)?;
    let whole = model.pieces.iter().filter(|piece| matches!(piece.kind, Kind::Control | Kind::UserDefined));
    let charsmap = match model.charsmap {
        [] => None,
        blob => Some(Charsmap::read(blob, whole.map(|piece| piece.text.as_str()))?),
    };
    Ok(Vocabulary { tokenizer, charsmap })
}

/// How `model` cuts a text, where we can do that.
fn rules(model: &Model<'_>, beside: &Beside) -> Result<Rules, Fault> {
    let algorithm = match model.model_type {
        1 => Algorithm::Unigram,
        2 => Algorithm::Bpe,
        kind => {
            return Err(Fault::Unknown(format!(
                "holds a SentencePiece model of type {kind}; 1 (unigram) and 2 (BPE) are known; bring its tokenizer.json"
            )));
        }
    };
    if model.suffix {
        let reason = "puts spaces at the ends of words (treat_whitespace_as_suffix), which is not known here; bring its \
                      tokenizer.json";
        return Err(Fault::Unknown(reason.into()));
    }
    let prefix = match (model.prefix, beside.flag("legacy")) {
        (false, _) => Prefix::Never,
        (true, Some(false)) => Prefix::First,
        (true, _) => Prefix::Always,
    };
    Ok(Rules {
        algorithm,
        prefix,
        collapse: model.collapse,
        escape: model.escape,
        bytes: model.bytes,
        users: if prefix == Prefix::Never { Users::First } else { Users::Escaped },
        unknown: usize::try_from(model.ids.unknown).ok().filter(|id| *id < model.pieces.len()),
    })
}

fn parse(bytes: &[u8]) -> Result<Model<'_>, Fault> {
    let mut model = Model {
        pieces: vec![],
        model_type: 1,
        bytes: false,
        suffix: false,
        ids: Ids { unknown: 0, bos: 1, eos: 2 },
        charsmap: &[],
        prefix: true,
        collapse: true,
        escape: true,
    };
    for field in Fields::of(bytes) {
        match field? {
            (1, Value::Bytes(message)) => model.pieces.push(piece(message)?),
            (2, Value::Bytes(message)) => trainer(message, &mut model)?,
            (3, Value::Bytes(message)) => normalizer(message, &mut model)?,
            _ => {}
        }
    }
    if model.pieces.is_empty() {
        return Err(Fault::Broken("no SentencePiece model: it has no pieces".into()));
    }
    Ok(model)
}

fn piece(message: &[u8]) -> Result<Piece, Fault> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
    for field in Fields::of(message) {
        match field? {
            (1, value) => piece.text = text(value)?,
            (2, Value::Float(score)) => piece.score = score,
            (3, Value::Number(kind)) => piece.kind = Kind::numbered(kind)?,
            _ => {}
        }
    }
    if piece.text.is_empty() {
        return Err(Fault::Broken("no SentencePiece model: a piece is empty".into()));
    }
    Ok(piece)
}

/// `TrainerSpec`, what the vocabulary was made by.
fn trainer(message: &[u8], model: &mut Model<'_>) -> Result<(), Fault> {
    for field in Fields::of(message) {
        match field? {
            (3, Value::Number(kind)) => model.model_type = kind,
            (24, Value::Number(on)) => model.suffix = on != 0,
            (35, Value::Number(on)) => model.bytes = on != 0,
            (40, Value::Number(id)) => model.ids.unknown = id,
            (41, Value::Number(id)) => model.ids.bos = id,
            (42, Value::Number(id)) => model.ids.eos = id,
            _ => {}
        }
    }
    Ok(())
}

/// `NormalizerSpec`, what is done to a text first.
fn normalizer<'a>(message: &'a [u8], model: &mut Model<'a>) -> Result<(), Fault> {
    for field in Fields::of(message) {
        match field? {
            (2, Value::Bytes(table)) => model.charsmap = table,
            (3, Value::Number(on)) => model.prefix = on != 0,
            (4, Value::Number(on)) => model.collapse = on != 0,
            (5, Value::Number(on)) => model.escape = on != 0,
            _ => {}
        }
    }
    Ok(())
}
