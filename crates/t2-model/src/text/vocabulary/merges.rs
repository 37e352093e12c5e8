//! Merges of byte-pair encoding, for vocabularies that come without: they rank their pieces instead.

use std::collections::HashSet;

use tokenizers::models::bpe::Merges;

use super::Fault;

/// No vocabulary has longer pieces. All cuts of a piece are looked up, so an absurd length would take forever.
const MAX_PIECE_BYTES: usize = 1024;

/// Every way to join two of `pieces` to a third, in the order in which byte-pair encoding prefers them. `pieces` come
/// best first.
///
/// SentencePiece and tiktoken rank the joined piece, however it was cut. The tokenizers crate ranks pairs, so two ways to
/// make one piece do not tie: the longer left part goes first, which a run of one character, read from the left, comes
/// to.
pub(super) fn merges<'a>(pieces: impl Iterator<Item = &'a str> + Clone) -> Result<Merges, Fault> {
    if let Some(long) = pieces.clone().find(|piece| piece.len() > MAX_PIECE_BYTES) {
        let length = long.len();
        return Err(Fault::Broken(format!("a piece takes {length} bytes; at most {MAX_PIECE_BYTES} are expected")));
    }
    let known: HashSet<&str> = pieces.clone().collect();
    let inside = |piece: &'a str| piece.char_indices().rev().filter(|(at, _)| *at > 0);
    let cuts = |piece: &'a str| inside(piece).map(move |(at, _)| piece.split_at(at));
    let joined = pieces.flat_map(cuts).filter(|(left, right)| known.contains(left) && known.contains(right));
    Ok(joined.map(|(left, right)| (left.to_owned(), right.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_joined_from_every_pair_that_makes_it() {
        let pairs = merges(["ab", "abc", "é", "bc", "a", "b", "c", "xé"].into_iter()).unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
        assert_eq!(pairs, [("a", "b"), ("ab", "c"), ("a", "bc"), ("b", "c")]);
    }

    #[test]
    fn absurd_pieces_are_refused() {
        let long = "x".repeat(MAX_PIECE_BYTES + 1);
        assert!(merges([long.as_str()].into_iter()).is_err());
    }
}
