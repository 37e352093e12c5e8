//! Ranks of tiktoken, as Llama 3 ships them: a line for each token, its bytes in base64 and its id.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use super::beside::Beside;
use super::byte_level::{Speller, tokenizer};
use super::merges::merges;
use super::splitter::Splitter;
use super::{Fault, Vocabulary, surround};

/// Special tokens of Llama 3, which follow its ranks (models/llama3/tokenizer.py of llama-models). Reserved ones fill up
/// to [`SPECIAL_COUNT`].
const SPECIAL: [&str; 12] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
];
const SPECIAL_COUNT: u32 = 256;
/// How words are cut.
const WORDS: &str = "llama-bpe";
/// What a text begins with, unless a file says otherwise.
const BOS: &str = SPECIAL[0];

/// True when `bytes` begin like a file of ranks.
pub(super) fn is_ranks(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    rank(line.strip_suffix(b"\r").unwrap_or(line)).is_some()
}

/// The vocabulary of a file of ranks, with the special tokens that `beside` names, else with those of Llama 3.
pub(super) fn read(bytes: &[u8], beside: &Beside) -> Result<Vocabulary, Fault> {
    let ranks = ranks(bytes)?;
    let speller = Speller::new();
    let spelt: Vec<(String, u32)> = ranks.iter().map(|(token, id)| (speller.spell(token), *id)).collect();
    let vocab: Vocab = spelt.iter().cloned().collect();
    if vocab.len() != spelt.len() {
        return Err(Fault::Broken("a token stands in it twice".into()));
    }
    let merges = merges(spelt.iter().map(|(token, _)| token.as_str()))?;
    let mut added = beside.added().to_vec();
    if added.is_empty() {
        added = llama_3(spelt.last().map_or(0, |(_, id)| id.saturating_add(1)));
    }
    let mut tokenizer = tokenizer(vocab, merges, Splitter::named(WORDS)?, &added)?;
    let begins = beside.flag("add_bos_token").unwrap_or(true);
    let ends = beside.flag("add_eos_token").unwrap_or(false);
    let bos = begins.then(|| beside.token("bos_token").unwrap_or(BOS));
    surround(&mut tokenizer, bos, beside.token("eos_token").filter(|_| ends))?;
    Ok(tokenizer.into())
}

/// Tokens with their ranks, best first.
fn ranks(bytes: &[u8]) -> Result<Vec<(Vec<u8>, u32)>, Fault> {
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let lines = lines.map(|(at, line)| (at + 1, line.strip_suffix(b"\r").unwrap_or(line)));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let parse = |(at, line)| {
        let expected = || Fault::Broken(format!("line {at} is not a token in base64, a space and its rank"));
        rank(line).ok_or_else(expected)
    };
    let mut ranks: Vec<(Vec<u8>, u32)> = lines.map(parse).collect::<Result<_, _>>()?;
    ranks.sort_by_key(|(_, rank)| *rank);
    if let Some(twice) = ranks.windows(2).find(|pair| pair[0].1 == pair[1].1) {
        return Err(Fault::Broken(format!("rank {} stands in it twice", twice[0].1)));
    }
    Ok(ranks)
}

fn rank(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (token, rank) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let token = STANDARD.decode(token).ok().filter(|token| !token.is_empty())?;
    Some((token, rank.parse().ok()?))
}

/// The special tokens of Llama 3, from id `first` on.
fn llama_3(first: u32) -> Vec<(u32, AddedToken)> {
    let reserved = (2..).map(|number| format!("<|reserved_special_token_{number}|>"));
    let texts = SPECIAL.map(str::to_owned).into_iter().chain(reserved);
    let ids = (0..SPECIAL_COUNT).map_while(|at| first.checked_add(at));
    ids.zip(texts).map(|(id, text)| (id, AddedToken::from(text, true))).collect()
}
