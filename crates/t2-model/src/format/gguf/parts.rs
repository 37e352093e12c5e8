//! Models in several files: `name-00001-of-00003.gguf` and so on, as `llama-gguf-split` cuts them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::header::Header;
use super::metadata::Metadata;
use super::{MAX_SHOWN, Problem};

/// Which part a file is, from 0.
const NUMBER: &str = "split.no";
/// How many parts there are; 0 in a file that is whole.
const COUNT: &str = "split.count";
/// How many digits the number of a part has.
const NUMBER_DIGITS: usize = 5;
/// How many tensors there are in all parts.
const TENSORS: &str = "split.tensors.count";

/// The paths of the other parts of the model whose first is at `path` and has `metadata`.
pub(super) fn others(path: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>, Problem> {
    let count = metadata.u64(COUNT)?.unwrap_or(0);
    let number = metadata.u64(NUMBER)?.unwrap_or(0);
    if number > 0 {
        let number = number.saturating_add(1);
        return Err(match first(path, number, count) {
            Some(missing) => Problem::MissingPart { count, missing },
            None => Problem::NotTheFirstPart { number, count },
        });
    }
    if count <= 1 {
        return Ok(vec![]);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let end = ending(1, count);
    let Some(stem) = name.strip_suffix(&end) else {
        return Err(Problem::bad(COUNT, count, format!("a file called …{end}; give the file the name that it had")));
    };
    let other = |number| {
        let name = format!("{stem}{}", ending(number, count));
        let path = path.with_file_name(&name);
        if path.exists() { Ok(path) } else { Err(Problem::MissingPart { count, missing: name }) }
    };
    (2..=count).map(other).collect()
}

/// The name of the first part, where part `number` at `path` is called as one and the first is not beside it.
fn first(path: &Path, number: u64, count: u64) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let first = format!("{}{}", name.strip_suffix(&ending(number, count))?, ending(1, count));
    (!path.with_file_name(&first).exists()).then_some(first)
}

/// Whether the file at `path` is called as a part of a model of which an earlier part is beside it.
pub(super) fn is_later(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((start, count)) = name.strip_suffix(".gguf").and_then(|name| name.rsplit_once("-of-")) else {
        return false;
    };
    let Some((stem, number)) = start.rsplit_once('-') else { return false };
    let (Some(number), Some(count)) = (part_number(number), part_number(count)) else { return false };
    (1..number).any(|earlier| path.with_file_name(format!("{stem}{}", ending(earlier, count))).exists())
}

/// The number of a part as names have it.
fn part_number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|_| digits.len() == NUMBER_DIGITS)
}

/// How the name of a part ends.
fn ending(number: u64, count: u64) -> String {
    format!("-{number:05}-of-{count:05}.gguf")
}

/// Refuse a file with `metadata` as the part with the number `expected`, from 0.
pub(super) fn check_number(metadata: &Metadata, expected: usize) -> Result<(), Problem> {
    match metadata.u64(NUMBER)? {
        Some(number) if number == expected as u64 => Ok(()),
        number => {
            let found = number.map_or_else(|| "missing".to_owned(), |number| number.to_string());
            Err(Problem::bad(
                NUMBER,
                found,
                format!("{expected}, as its name says; the names of the parts are mixed up"),
            ))
        }
    }
}

/// Refuse parts that have a tensor twice, or not as many as the first says.
pub(super) fn check_together<'a>(mut parts: impl Iterator<Item = &'a Header> + Clone) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    let tensors = parts.clone().flat_map(|part| &part.tensors);
    if let Some(twice) = tensors.into_iter().find(|tensor| !names.insert(&tensor.name)) {
        let name: String = twice.name.chars().take(MAX_SHOWN).collect();
        return Err(Problem::Broken(format!("tensor `{name}` is in two parts")));
    }
    let declared = parts.next().map(|first| first.metadata.u64(TENSORS)).transpose()?.flatten();
    match declared {
        Some(declared) if declared != names.len() as u64 => {
            Err(Problem::bad(TENSORS, declared, format!("{}, as many as there are", names.len())))
        }
        _ => Ok(()),
    }
}
