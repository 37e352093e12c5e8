//! The container that `torch.save` writes: a zip archive whose entries are not compressed.
//!
//! The directory at its end says where each entry is (APPNOTE.TXT of PKWARE, 4.3). Compressed entries and archives beyond
//! 4 GiB are refused: `PyTorch` writes neither for an expert.

use std::collections::BTreeMap;
use std::ops::Range;

/// The end of the directory: a signature, and this many bytes when the archive has no comment.
const END: [u8; 4] = *b"PK\x05\x06";
const END_LEN: usize = 22;
/// Longest comment of an archive, which stands behind the end of the directory.
const COMMENT: usize = 0xffff;
/// An entry of the directory, and the header before the bytes of an entry.
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const ENTRY_LEN: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_LEN: usize = 30;

/// An archive in memory.
#[derive(Debug)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// Where the bytes of each entry are, by its name without the name of the archive before it.
    entries: BTreeMap<String, Range<usize>>,
}

impl Archive {
    /// Read the directory of an archive.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let entries = directory(&bytes)?;
        Ok(Self { bytes, entries })
    }

    /// The bytes of an entry.
    pub(super) fn entry(&self, name: &str) -> Result<&[u8], String> {
        let range = self.entries.get(name).ok_or_else(|| format!("it has no entry `{name}`"))?;
        Ok(&self.bytes[range.clone()])
    }

    /// The bytes of an entry that may be missing.
    pub(super) fn find(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).map(|range| &self.bytes[range.clone()])
    }
}

fn directory(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    let not_an_archive = || "it is no zip archive, which PyTorch has written since version 1.6".to_owned();
    let last = bytes.len().checked_sub(END_LEN).ok_or_else(not_an_archive)?;
    let candidates = (last.saturating_sub(COMMENT)..=last).rev();
    let end = candidates.into_iter().find(|&at| bytes[at..].starts_with(&END)).ok_or_else(not_an_archive)?;
    let count = short(bytes, end + 10)?;
    let mut at = long(bytes, end + 16)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        if bytes.get(at..at + ENTRY.len()) != Some(&ENTRY) {
            return Err("its directory is damaged, or that of an archive beyond 4 GiB".to_owned());
        }
        let (method, size) = (short(bytes, at + 10)?, long(bytes, at + 24)?);
        let [name_len, extra_len, comment_len] = [28, 30, 32].map(|offset| short(bytes, at + offset));
        let (name_len, extra_len, comment_len) = (name_len?, extra_len?, comment_len?);
        let local = long(bytes, at + 42)?;
        let name = bytes.get(at + ENTRY_LEN..at + ENTRY_LEN + name_len).ok_or("its directory is cut short")?;
        let name = String::from_utf8_lossy(name).into_owned();
        if method != 0 {
            return Err(format!("its entry `{name}` is compressed"));
        }
        let range = content(bytes, local, size).ok_or_else(|| format!("its entry `{name}` is cut short"))?;
        let inner = name.split_once('/').map_or(name.as_str(), |(_, inner)| inner).to_owned();
        entries.insert(inner, range);
        at += ENTRY_LEN + name_len + extra_len + comment_len;
    }
    Ok(entries)
}

/// Where the `size` bytes of the entry are whose header is at `local`.
fn content(bytes: &[u8], local: usize, size: usize) -> Option<Range<usize>> {
    let is_header = bytes.get(local..)?.starts_with(&LOCAL);
    let [name_len, extra_len] = [26, 28].map(|offset| short(bytes, local + offset).ok());
    let start = local + LOCAL_LEN + name_len? + extra_len?;
    let range = start..start.checked_add(size)?;
    (is_header && range.end <= bytes.len()).then_some(range)
}

fn short(bytes: &[u8], at: usize) -> Result<usize, String> {
    match bytes.get(at..at + 2) {
        Some(&[low, high]) => Ok(u16::from_le_bytes([low, high]).into()),
        _ => Err("its directory is cut short".to_owned()),
    }
}

fn long(bytes: &[u8], at: usize) -> Result<usize, String> {
    Ok(short(bytes, at)? | short(bytes, at + 2)? << 16)
}
