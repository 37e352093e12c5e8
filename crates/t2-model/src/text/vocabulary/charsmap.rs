//! The table by which SentencePiece normalizes a text: NFKC and the like, as strings and what they become.
//!
//! `<number of bytes: u32> <trie: u32…> <replacements, each ended by a zero byte>`. The trie is a double array
//! (darts-clone): a unit holds the label of the byte that leads to it, whether a value follows, and where its children
//! are. The longest string that matches is replaced, as in SentencePiece. The tokenizers crate takes the shortest within
//! a grapheme, and the two differ on `\r\n` and on letters with several marks.

use super::Fault;

/// A table of replacements.
#[derive(Clone, Debug)]
pub(in crate::text) struct Charsmap {
    trie: Vec<u32>,
    replacements: String,
    /// Pieces that the table would change, which are meant to be found as they are.
    kept: Vec<String>,
}

impl Charsmap {
    /// The table in `blob`, which leaves `pieces` alone.
    pub(super) fn read<'a>(blob: &[u8], pieces: impl Iterator<Item = &'a str>) -> Result<Self, Fault> {
        let broken = |what: &str| Fault::Broken(format!("its table of normalized characters {what}"));
        let (length, rest) = blob.split_first_chunk().ok_or_else(|| broken("is cut off"))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| broken("is too long"))?;
        let (trie, replacements) = rest.split_at_checked(length).ok_or_else(|| broken("is cut off"))?;
        let (units, _) = trie.as_chunks();
        let replacements = std::str::from_utf8(replacements).map_err(|_| broken("is not UTF-8"))?.to_owned();
        let trie = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let mut map = Self { trie, replacements, kept: vec![] };
        map.kept = pieces.filter(|piece| !piece.is_empty() && map.apply(piece) != **piece).map(str::to_owned).collect();
        Ok(map)
    }

    /// `text` with everything replaced that the table names.
    pub(in crate::text) fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let kept = self.kept.iter().map(String::as_str).filter(|piece| rest.starts_with(piece));
            let (length, replacement) = match kept.max_by_key(|piece| piece.len()) {
                Some(piece) => (piece.len(), piece),
                None => self.longest(rest).unwrap_or((first.len_utf8(), &rest[..first.len_utf8()])),
            };
            out.push_str(replacement);
            rest = &rest[length..];
        }
        out
    }

    /// The longest start of `text` that the table names: its length in bytes, and what it becomes.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let unit = |at: usize| self.trie.get(at).copied();
        let mut node = offset(unit(0)?);
        let mut longest = None;
        for (at, byte) in text.bytes().enumerate() {
            node ^= usize::from(byte);
            let Some(child) = unit(node).filter(|unit| label(*unit) == u32::from(byte)) else { break };
            node ^= offset(child);
            let value = if has_value(child) { unit(node) } else { None };
            let named = value.and_then(|value| self.replacement(value)).filter(|_| text.is_char_boundary(at + 1));
            longest = named.map(|replacement| (at + 1, replacement)).or(longest);
        }
        longest
    }

    fn replacement(&self, value: u32) -> Option<&str> {
        let start = usize::try_from(value & (u32::MAX >> 1)).ok()?;
        self.replacements.get(start..)?.split('\0').next()
    }
}

/// A label has no sign bit; a unit that holds a value has, so that it is never taken for a label.
fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}

fn has_value(unit: u32) -> bool {
    unit & 1 << 8 != 0
}

fn offset(unit: u32) -> usize {
    let offset = (unit >> 10) << ((unit & 1 << 9) >> 6);
    usize::try_from(offset).expect("32 bits are at most the width of an address on the machines that Burn runs on")
}
