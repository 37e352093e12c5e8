//! Files in the address space: read when they are touched, and given back when they are done with.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::checkpoint::LoadError;

/// A file that is mapped and not yet read.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    /// Map the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        match map(path) {
            Ok(map) => Ok(Self { path: path.to_owned(), map }),
            Err(source) => Err(LoadError::Read { path: path.to_owned(), source }),
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Let the system take back the memory behind `range`, which will be read from the file again if it is touched.
    /// Without this a model would be in memory twice while it is loaded: as it is stored, and as it is computed with.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        release(&self.map, range);
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// The file at `path`, mapped.
#[expect(unsafe_code, reason = "a mapped file is only sound while nobody shortens it; checkpoints are not edited")]
pub(crate) fn map(path: &Path) -> std::io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: see above; what is read is checked as bytes, whatever they are.
    unsafe { Mmap::map(&file) }
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "giving pages back loses what was written to them, and nobody writes to a file here")]
fn release(map: &Mmap, range: Range<usize>) {
    // SAFETY: the mapping is read-only and backed by a file: pages that were given back are read from it again. What
    // the system refuses costs memory and nothing else.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
}
