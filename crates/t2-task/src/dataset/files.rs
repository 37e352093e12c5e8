//! Which files hold the rows of a split.
//!
//! A data set is found in more than one layout: as the Hub has it, and as its authors published it. A split is therefore
//! a list of names, and the first one that is there counts.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use serde::Deserialize;

use super::error::DatasetError;
use crate::split::Split;

/// The files of each split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// To learn from.
    pub train: Option<FileSet>,
    /// To choose settings by.
    pub valid: Option<FileSet>,
    /// To report.
    pub test: Option<FileSet>,
    /// Every row, for a data set without splits: a row then belongs to one by the hash of its question. Used where none
    /// of the files above is there.
    pub all: Option<FileSet>,
    /// Examples to show before a question, where the data set sets some apart.
    pub shots: Option<FileSet>,
    /// Whether the `valid` split is cut from `train`, by the hash of the question, as the data set has none.
    pub valid_from_train: bool,
}

/// Files that hold the same rows in different layouts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct FileSet {
    /// Their names below the folder of the data set, with `*` and `?`. The first that matches any file counts; all that
    /// it matches are read, in the order of their names.
    pub paths: Vec<String>,
    /// Expression that is true for the rows that belong to the split.
    pub filter: Option<String>,
    /// The key under which a JSON object has the rows.
    pub rows: Option<String>,
}

/// How a [`FileSet`] is written.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name of a file, a list of names, or a table `{ paths = …, where = …, rows = … }`"
)]
enum Written {
    One(String),
    Several(Vec<String>),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    paths: Paths,
    #[serde(rename = "where")]
    filter: Option<String>,
    rows: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Several(Vec<String>),
}

impl From<Written> for FileSet {
    fn from(written: Written) -> Self {
        let (paths, filter, rows) = match written {
            Written::One(path) | Written::Table(Table { paths: Paths::One(path), filter: None, rows: None }) => {
                (vec![path], None, None)
            }
            Written::Several(paths) => (paths, None, None),
            Written::Table(Table { paths: Paths::One(path), filter, rows }) => (vec![path], filter, rows),
            Written::Table(Table { paths: Paths::Several(paths), filter, rows }) => (paths, filter, rows),
        };
        Self { paths, filter, rows }
    }
}

/// What a name may match: `*` stays within a folder, as in a shell.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Files {
    /// Whether no file is named.
    pub fn is_empty(&self) -> bool {
        self.official().next().is_none() && self.all.is_none()
    }

    /// The files of every kind that there are.
    pub(crate) fn every(&self) -> impl Iterator<Item = &FileSet> {
        [&self.train, &self.valid, &self.test, &self.all, &self.shots].into_iter().flatten()
    }

    /// The splits that the data set has of its own.
    pub fn official(&self) -> impl Iterator<Item = (Split, &FileSet)> {
        let splits = [(Split::Train, &self.train), (Split::Valid, &self.valid), (Split::Test, &self.test)];
        splits.into_iter().filter_map(|(split, files)| Some((split, files.as_ref()?)))
    }
}

impl FileSet {
    /// The files below `folder` that hold the rows; none where no name matches.
    pub(crate) fn found(&self, folder: &Path) -> Vec<PathBuf> {
        let matching = |path: &String| {
            let pattern = Path::new(&Pattern::escape(&folder.to_string_lossy())).join(path);
            let found = glob::glob_with(&pattern.to_string_lossy(), OPTIONS).ok()?;
            let found: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| path.is_file()).collect();
            (!found.is_empty()).then_some(found)
        };
        self.paths.iter().find_map(matching).unwrap_or_default()
    }
}

/// Files that hold rows of a split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source<'a> {
    pub(crate) files: &'a FileSet,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) share: Share,
}

/// Which rows of a file belong to a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Every row.
    Whole,
    /// Every row of [`Split::All`], each question once; of that, those whose question hashes to the split.
    ByHash,
    /// To `valid` those whose question hashes to it, the others to `train`.
    Cut,
}

impl Share {
    /// Whether a row with `question` belongs to `split`, or to [`Split::All`] where that is split by hash.
    pub(crate) fn holds(self, split: Split, question: &str) -> bool {
        match self {
            Self::Whole | Self::ByHash => true,
            Self::Cut => (split == Split::Valid) == (Split::of(question) == Split::Valid),
        }
    }
}

impl Files {
    /// For each of the files that hold rows, the names that it may have: what a program that downloads the data set looks
    /// for.
    pub fn places(&self) -> Vec<Vec<String>> {
        let official: Vec<&FileSet> = self.official().map(|(_, files)| files).collect();
        let rows = if official.is_empty() { self.all.iter().collect() } else { official };
        let mut places: Vec<Vec<String>> =
            rows.into_iter().chain(&self.shots).map(|files| files.paths.clone()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether `folder` holds any of the files.
    pub fn are_in(&self, folder: &Path) -> bool {
        self.every().any(|files| !files.found(folder).is_empty())
    }

    /// Where the rows of `split` are below `folder`; several places for [`Split::All`].
    ///
    /// # Errors
    ///
    /// [`DatasetError::NoSplit`] where the data set has no such split, [`DatasetError::NoFile`] where its files are not
    /// there.
    pub(crate) fn sources(&self, name: &str, split: Split, folder: &Path) -> Result<Vec<Source<'_>>, DatasetError> {
        let sources = self.resolved(split, folder);
        if sources.is_empty() { Err(self.missing(name, self.holding(split), folder)) } else { Ok(sources) }
    }

    /// The sources of `split` below `folder`. Rows are split by hash only where there is nothing of any official split.
    fn resolved(&self, split: Split, folder: &Path) -> Vec<Source<'_>> {
        let found = |files, share| Source { files, paths: FileSet::found(files, folder), share };
        let mut official: Vec<_> = self.official().map(|(split, files)| (split, found(files, Share::Whole))).collect();
        official.retain(|(_, source)| !source.paths.is_empty());
        if official.is_empty() {
            let all = self.all.as_ref().map(|files| found(files, Share::ByHash));
            return all.into_iter().filter(|source| !source.paths.is_empty()).collect();
        }
        let holding = self.holding(split);
        let share = if self.cuts(split) { Share::Cut } else { Share::Whole };
        let of_split = official.into_iter().filter(|(of, _)| split == Split::All || *of == holding);
        of_split.map(|(_, source)| Source { share, ..source }).collect()
    }

    /// Whether `split` is one of the two parts into which the train split is cut.
    fn cuts(&self, split: Split) -> bool {
        self.valid_from_train && self.valid.is_none() && matches!(split, Split::Train | Split::Valid)
    }

    /// The split whose files have the rows of `split`.
    fn holding(&self, split: Split) -> Split {
        if self.cuts(split) { Split::Train } else { split }
    }

    fn missing(&self, name: &str, split: Split, folder: &Path) -> DatasetError {
        let has: Vec<String> = self.official().map(|(split, _)| split.to_string()).collect();
        let official = self.official().filter(|(of, _)| split == Split::All || *of == split);
        let wanted: Vec<&str> = official.flat_map(|(_, files)| names(files)).collect();
        if wanted.is_empty() && !has.is_empty() {
            return DatasetError::NoSplit { name: name.into(), split: split.to_string(), has: has.join(", ") };
        }
        let wanted: Vec<&str> = wanted.into_iter().chain(self.all.iter().flat_map(names)).collect();
        DatasetError::NoFile {
            name: name.into(),
            split: split.to_string(),
            folder: folder.into(),
            wanted: wanted.join(" or "),
        }
    }
}

fn names(files: &FileSet) -> impl Iterator<Item = &str> {
    files.paths.iter().map(String::as_str)
}
