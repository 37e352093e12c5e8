//! A GGUF file from its first byte on: every step is checked against the end.

use super::Problem;

/// What is left to read of a file.
#[derive(Debug)]
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) const fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// The next `len` bytes, which are `what`.
    fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], Problem> {
        let rest = &self.all[self.at..];
        let len = usize::try_from(len).ok().filter(|&len| len <= rest.len()).ok_or_else(|| {
            let (at, end) = (self.at, self.all.len());
            Problem::Broken(format!("{what} of {len} bytes at byte {at} goes beyond its end, byte {end}"))
        })?;
        self.at += len;
        Ok(&rest[..len])
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.take(N as u64, "a number")?;
        Ok(*bytes.first_chunk().expect("as many as were taken"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string with its length in front.
    pub(super) fn string(&mut self) -> Result<String, Problem> {
        let (at, len) = (self.at, self.u64()?);
        let bytes = self.take(len, "a string")?;
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|e| Problem::Broken(format!("the string at byte {at} is not UTF-8: {e}")))
    }

    /// The number of items that follow, none of them shorter than `item` bytes. So nobody makes room for more than there
    /// can be.
    pub(super) fn count(&mut self, item: usize) -> Result<usize, Problem> {
        let (at, count) = (self.at, self.u64()?);
        let left = self.all.len() - self.at;
        usize::try_from(count).ok().filter(|&count| count <= left / item).ok_or_else(|| {
            Problem::Broken(format!("the {count} items at byte {at} would go beyond its end, byte {}", self.all.len()))
        })
    }
}
