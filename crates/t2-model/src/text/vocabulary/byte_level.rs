//! Byte-level BPE: every byte is written as a character, so that each text has tokens.

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::splitter::Splitter;
use super::{Fault, place};

/// The bytes that are their own character in Latin-1: the visible ones. The others follow from U+0100 on, in order.
fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The character that GPT-2 writes for each byte.
fn alphabet() -> [char; 256] {
    let mut hidden = ('\u{100}'..).take(256);
    std::array::from_fn(|byte| {
        let byte = u8::try_from(byte).expect("an array of 256 has indices below 256");
        if is_visible(byte) { char::from(byte) } else { hidden.next().expect("there are 256 of them") }
    })
}

/// Spells bytes in the alphabet of byte-level vocabularies.
pub(super) struct Speller([char; 256]);

impl Speller {
    pub(super) fn new() -> Self {
        Self(alphabet())
    }

    /// `bytes`, a character each.
    pub(super) fn spell(&self, bytes: &[u8]) -> String {
        bytes.iter().map(|&byte| self.0[usize::from(byte)]).collect()
    }
}

/// The tokenizer of a byte-level vocabulary whose words are cut by `splitter`, with the tokens of `added`.
pub(super) fn tokenizer(
    mut vocab: Vocab,
    merges: Merges,
    splitter: &Splitter,
    added: &[(u32, AddedToken)],
) -> Result<Tokenizer, Fault> {
    place(&mut vocab, added);
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(splitter.whole_words).build()?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(splitter.pre_tokenizer()?)).with_decoder(Some(ByteLevel::default()));
    if splitter.composed {
        tokenizer.with_normalizer(Some(NFC));
    }
    tokenizer.add_tokens(&added.iter().map(|(_, token)| token.clone()).collect::<Vec<_>>());
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelt_as_in_the_tokenizers_crate() {
        let ours: std::collections::BTreeSet<char> = alphabet().into_iter().collect();
        assert_eq!(ours, ByteLevel::alphabet().into_iter().collect());
        assert_eq!(Speller::new().spell(b" a\n\xc3\xad\x7f"), "ĠaĊÃŃġ");
    }
}
