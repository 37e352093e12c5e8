//! How byte-level families cut a text into words before they look for tokens.
//!
//! The patterns are facts of the families' `tokenizer.json`. The names are those by which GGUF files point at them
//! (`tokenizer.ggml.pre`, src/llama-vocab.cpp of llama.cpp).

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::Fault;

/// Words with a space before them, numbers, signs.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// As GPT-4: words with any sign before them, numbers of up to three digits.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Llama 3, each digit alone.
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words are cut where small letters are followed by capitals, each digit is alone.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Tekken, with contractions at the word and numbers of up to three digits.
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

/// How a family cuts words.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Names in GGUF files.
    pub(super) names: &'static [&'static str],
    /// Applied in turn, to the pieces that the pattern before left.
    patterns: &'static [&'static str],
    /// A text is brought into composed form (NFC) first.
    pub(super) composed: bool,
    /// A word that is a token is taken whole, without looking at merges.
    pub(super) whole_words: bool,
    /// A text begins with the token for it, unless the file says otherwise.
    pub(super) begins: bool,
}

const PLAIN: Splitter = Splitter { names: &[], patterns: &[], composed: false, whole_words: false, begins: false };

/// Every known one.
pub(super) static SPLITTERS: &[Splitter] = &[
    Splitter {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "midm-2.0"],
        patterns: &[LLAMA_3],
        whole_words: true,
        begins: true,
        ..PLAIN
    },
    Splitter { names: &["dbrx", "smaug-bpe"], patterns: &[LLAMA_3], ..PLAIN },
    Splitter { names: &["qwen2"], patterns: &[QWEN_2], composed: true, ..PLAIN },
    Splitter { names: &["deepseek-r1-qwen", "megrez", "stablelm2"], patterns: &[QWEN_2], ..PLAIN },
    Splitter { names: &["gpt-2", "phi-2", "mpt", "olmo", "mellum", "a.x-4.0"], patterns: &[GPT_2], ..PLAIN },
    Splitter {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "minerva-7b"],
        patterns: &[DIGIT, GPT_2],
        ..PLAIN
    },
    Splitter { names: &["tekken"], patterns: &[TEKKEN], whole_words: true, begins: true, ..PLAIN },
    Splitter { names: &["gpt-4o", "llama4"], patterns: &[GPT_4O], ..PLAIN },
    // What llama.cpp does where a file names none.
    Splitter {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ..PLAIN
    },
];

impl Splitter {
    /// The one that a GGUF file calls `name`.
    pub(super) fn named(name: &str) -> Result<&'static Self, Fault> {
        SPLITTERS.iter().find(|splitter| splitter.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = SPLITTERS.iter().flat_map(|splitter| splitter.names).copied().collect();
            Fault::Unknown(format!(
                "cuts words as `{name}` (tokenizer.ggml.pre); known are {}; take the model as a folder with its \
                 tokenizer.json",
                known.join(", ")
            ))
        })
    }

    /// The cuts, and bytes to characters.
    pub(super) fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper, Fault> {
        let split = |pattern: &&str| isolate((*pattern).to_owned());
        let mut steps: Vec<PreTokenizerWrapper> = self.patterns.iter().map(split).collect::<Result<_, _>>()?;
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }
}

/// A cut that makes each match of `pattern` a piece, and what lies between them.
pub(super) fn isolate(pattern: String) -> Result<PreTokenizerWrapper, Fault> {
    Ok(Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_its_patterns_are_read() {
        let mut names: Vec<&str> = SPLITTERS.iter().flat_map(|splitter| splitter.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for splitter in SPLITTERS {
            assert!(splitter.pre_tokenizer().is_ok(), "{:?}", splitter.names);
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_is_known() {
        let Err(Fault::Unknown(reason)) = Splitter::named("elvish") else { panic!("elvish is unknown") };
        assert!(reason.contains("`elvish`") && reason.contains("qwen2"), "{reason}");
    }
}
