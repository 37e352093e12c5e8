//! Data sets of the Hub: those of their files that are wanted.
//!
//! Data sets lie in many layouts: in the authors' own files, or in the parts that the Hub makes of them,
//! `main/test-00000-of-00002.parquet`. So what is wanted is a list of files, and each of them a list of places where it
//! may be.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::snapshot::{Snapshot, Wish};
use super::{Hub, Kind, RepoId, cache};
use crate::event::Watch;
use crate::source::SourceError;

/// Files that are named, at most, when the one that is wanted is not there.
const LISTED: usize = 20;

/// `*` stands for any part of the name of a file or folder.
const WITHIN_A_NAME: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A file, or several parts of one, and where it may be: in the first of these places that has it.
struct Wanted(Vec<Pattern>);

/// The folder of the data set `id` in the cache, with the files that are `wanted`, downloaded if need be.
pub(crate) fn fetch(hub: &Hub, id: &str, wanted: &[Vec<String>], watch: &dyn Watch) -> Result<PathBuf, SourceError> {
    let id = RepoId::parse(Kind::Dataset, id).ok_or_else(|| {
        SourceError::hub(format!("`{id}` is no data set of the Hub; give an id such as org/name or org/name@revision"))
    })?;
    let wanted = wanted.iter().map(|places| Wanted::parse(places)).collect::<Result<Vec<_>, _>>()?;
    let named: Vec<String> = wanted.iter().map(|file| file.in_words(" or ")).collect();
    let what = format!("{} of {}@{}", named.join(" and "), id.name, id.revision);
    let is_in = |dir: &Path| {
        let files = cache::files(dir);
        wanted.iter().all(|file| !file.among(&files).is_empty())
    };
    let snapshot = Snapshot::open(hub, &id, &Wish { what, is_in: &is_in }, watch)?;
    let files = snapshot.names();
    let mut found = vec![];
    for file in &wanted {
        match file.among(&files) {
            parts if parts.is_empty() => return Err(file.lacking(&id.name, &files)),
            parts => found.extend(parts),
        }
    }
    found.into_iter().try_for_each(|file| snapshot.get(file, watch))?;
    snapshot.point()?;
    Ok(snapshot.dir().to_owned())
}

impl Wanted {
    fn parse(places: &[String]) -> Result<Self, SourceError> {
        let pattern = |place: &String| {
            Pattern::new(place).map_err(|error| {
                SourceError::hub(format!(
                    "`{place}` names no files ({error}); give a path, with `*` for any part of a name"
                ))
            })
        };
        Ok(Self(places.iter().map(pattern).collect::<Result<_, _>>()?))
    }

    /// Those of `files` that are wanted, all parts of a file that says how many it has; none, where they are not there.
    fn among<'a>(&self, files: &'a [String]) -> Vec<&'a str> {
        let all = |place: &Pattern| {
            let names = files.iter().map(String::as_str);
            names.filter(|name| place.matches_with(name, WITHIN_A_NAME)).collect::<Vec<_>>()
        };
        self.0.iter().map(all).find(|parts| !parts.is_empty() && are_all_parts(parts)).unwrap_or_default()
    }

    fn in_words(&self, between: &str) -> String {
        self.0.iter().map(Pattern::as_str).collect::<Vec<_>>().join(between)
    }

    /// The error that the repository `name` with these `files` lacks it.
    fn lacking(&self, name: &str, files: &[String]) -> SourceError {
        let mut known = files[..files.len().min(LISTED)].join(", ");
        if known.is_empty() {
            known = "no files".to_owned();
        }
        if files.len() > LISTED {
            known.push_str(&format!(" and {} more", files.len() - LISTED));
        }
        SourceError::hub(format!("{name} has no {}; it has {known}", self.in_words(" and no ")))
    }
}

/// True unless a file says that it has parts which are not among `files`.
fn are_all_parts(files: &[&str]) -> bool {
    let set = |file: &str| {
        let (start, rest) = file.rsplit_once("-of-")?;
        let (stem, _) = start.rsplit_once('-')?;
        let count: usize = rest.get(..5)?.parse().ok()?;
        Some((stem.to_owned(), count))
    };
    let sets: Vec<_> = files.iter().filter_map(|file| set(file)).collect();
    sets.iter().all(|one| sets.iter().filter(|other| *other == one).count() == one.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_in_the_first_place_that_has_it_whole() {
        #[track_caller]
        fn check(places: &[&str], files: &[&str], expected: &[&str]) {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            assert_eq!(Wanted::parse(&owned(places)).unwrap().among(&owned(files)), expected, "{places:?}");
        }
        let parts = ["main/test-00000-of-00002.parquet", "main/test-00001-of-00002.parquet"];
        check(&["main/test-*.parquet", "test.jsonl"], &[&parts[..], &["test.jsonl"]].concat(), &parts);
        check(&["main/test-*.parquet", "test.jsonl"], &[parts[1], "test.jsonl"], &["test.jsonl"]);
        check(&["main/test-*.parquet"], &parts[..1], &[]);
        check(&["main/*.parquet"], &["main/a-0-of-00001-5a5a.parquet"], &["main/a-0-of-00001-5a5a.parquet"]);
        check(&["*.jsonl"], &["main/test.jsonl", ".hidden.jsonl", "a.jsonl", "b.jsonl"], &["a.jsonl", "b.jsonl"]);
        check(&["test.jsonl"], &["latest.jsonl", "Test.jsonl", "test.jsonl.gz"], &[]);
        check(&[], &["test.jsonl"], &[]);
    }
}
