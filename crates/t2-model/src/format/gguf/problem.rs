//! What can be wrong with a GGUF file.

use super::MAX_SHOWN;
use crate::format::quant::UnknownType;

/// Why a GGUF file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is of another format.
    #[error("it is no GGUF file: it begins with {found}, expected GGUF")]
    NotGguf {
        /// The first bytes.
        found: String,
    },
    /// There is nothing in the file.
    #[error("it is empty; download or copy it again")]
    Empty,
    /// The numbers are stored the other way round.
    #[error("it is a big-endian GGUF file; convert the model again, for a little-endian machine")]
    BigEndian,
    /// The layout is older or newer than those that are known.
    #[error("it is GGUF of version {found}, expected 2 or 3; convert the model again with a current llama.cpp")]
    Version {
        /// What the file says.
        found: u32,
    },
    /// The file is cut off, or says what cannot be.
    #[error("it is broken ({0}); download or copy it again")]
    Broken(String),
    /// A tensor is of a type that is not read.
    #[error("tensor `{name}`: {source}")]
    UnknownType {
        /// The tensor.
        name: String,
        /// Its type, and those that are read.
        source: UnknownType,
    },
    /// A key of the metadata has no value, or one that makes no sense.
    #[error("`{key}` is {found}, expected {expected}")]
    BadKey {
        /// The key.
        key: String,
        /// Its value, or `missing`.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// The model is in several files, and this is not the one to open.
    #[error("it is part {number} of {count}; give the first one, and the others are found beside it")]
    NotTheFirstPart {
        /// Which part it is, from 1.
        number: u64,
        /// How many there are.
        count: u64,
    },
    /// The model is in several files, and one is not there.
    #[error("the model is in {count} files and {missing} is not beside this one; download it too")]
    MissingPart {
        /// How many there are.
        count: u64,
        /// The name of the one that is not there.
        missing: String,
    },
}

impl Problem {
    /// The problem that `key` is `found` where something else is `expected`. Of a long value the beginning is shown.
    pub(super) fn bad(key: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(MAX_SHOWN) {
            found.truncate(end);
            found.push('…');
        }
        Self::BadKey { key: key.into(), found, expected: expected.into() }
    }
}
