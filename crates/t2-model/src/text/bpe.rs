//! Training of a small byte-level BPE tokenizer in which every digit is a token of its own.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::text::tokenizer::TokenizerError;

/// A tokenizer of `vocab` ids, the first of them `special`, learned from `texts`.
///
/// # Errors
///
/// [`TokenizerError::Tokenize`] when the trainer refuses.
pub fn train<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    vocab: usize,
    special: &[&str],
) -> Result<Tokenizer, TokenizerError> {
    let mut tokenizer = Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, true);
    let split: Vec<PreTokenizerWrapper> = vec![Digits::new(true).into(), bytes.into()];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(split))).with_decoder(Some(bytes));
    let special = special.iter().map(|token| AddedToken::from(*token, true)).collect();
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let failed = |error: tokenizers::Error| TokenizerError::Tokenize(error.to_string());
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts).map_err(failed)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_alone_and_text_comes_back() {
        let text = "Tom has 123 apples, 45 pears and a naïve cat.";
        let tokenizer = train(std::iter::repeat_n(text, 50), 300, &["<|end|>"]).unwrap();
        let encoding = tokenizer.encode(text, false).unwrap();
        assert!(encoding.get_tokens().iter().all(|t| t.chars().filter(char::is_ascii_digit).count() <= 1));
        assert_eq!(tokenizer.decode(encoding.get_ids(), true).unwrap(), text);
        assert_eq!(tokenizer.token_to_id("<|end|>"), Some(0));
    }
}
