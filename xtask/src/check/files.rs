//! Rules about files: what they are called, how they open, how long they are, and that none names a place on one
//! machine.

use super::sources::{Source, sources};
use super::{Args, Verdict};

/// Names that say nothing about what is inside; `noun.rs` beside a folder `noun/` replaces `mod.rs`.
const NAMELESS: &[&str] = &["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs", "base.rs", "misc.rs"];

/// How a file opens: with `//!`, or, at the root of a crate, with the README in its place.
const OPENINGS: &[&str] = &["//!", "#![doc = include_str!("];

/// The longest a Rust file may be, tests included. From about 400 lines on, look for the seam.
const MAX_LINES: usize = 450;

/// Folders that exist on one machine and not on the next. In two parts, so that this file obeys its own rule.
const MACHINE_FOLDERS: &[(&str, &str)] =
    &[("/", "work/"), ("/", "tmp/"), ("/", "root/"), ("/", "home/"), ("/", "Users/"), ("/", "mnt/")];

/// Every file follows the rules.
pub(super) fn check(_: &Args) -> anyhow::Result<Verdict> {
    Ok(Verdict::of(sources()?.iter().flat_map(violations).collect()))
}

fn violations(source: &Source) -> Vec<String> {
    let mut found = machine_paths(source);
    if source.is_rust() {
        found.extend(nameless(source));
        found.extend(unopened(source));
        found.extend(too_long(source));
    }
    found
}

fn nameless(source: &Source) -> Option<String> {
    let is_nameless = NAMELESS.contains(&source.name());
    is_nameless.then(|| format!("{}: name the file after the noun inside it", source.path))
}

fn unopened(source: &Source) -> Option<String> {
    let is_opened = OPENINGS.iter().any(|opening| source.text.starts_with(opening));
    (!is_opened).then(|| format!("{}:1: open the file with `//!` and say what lives here", source.path))
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MAX_LINES).then(|| format!("{}: {lines} lines, at most {MAX_LINES}; look for the seam", source.path))
}

fn machine_paths(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for (slash, rest) in MACHINE_FOLDERS {
            let folder = format!("{slash}{rest}");
            if names_folder(line, &folder) {
                found.push(format!("{}:{}: names {folder}, a place on one machine", source.path, number + 1));
            }
        }
    }
    found
}

/// Whether an absolute path in `line` begins with `folder`; `target/tmp/x` and `https://host/work/x` do not.
fn names_folder(line: &str, folder: &str) -> bool {
    let is_part_of_a_path = |c: char| c.is_alphanumeric() || "._-~})]>".contains(c);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(is_part_of_a_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let found = violations(&source);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (violation, part) in found.iter().zip(expected) {
            assert!(violation.contains(part), "{violation:?} does not contain {part:?}");
        }
    }

    #[test]
    fn a_good_file_passes() {
        check("crates/t2-linalg/src/jacobi.rs", "//! Jacobi.\n", &[]);
        check("docs/svd.md", "# SVD\n", &[]);
    }

    #[test]
    fn nameless_files_are_refused() {
        check("crates/t2-model/src/svf/mod.rs", "//! x\n", &["after the noun"]);
        check("crates/t2-model/src/utils.rs", "//! x\n", &["after the noun"]);
        check("crates/t2-model/src/modulus.rs", "//! x\n", &[]);
    }

    #[test]
    fn a_file_opens_by_saying_what_it_holds() {
        check("xtask/src/main.rs", "fn main() {}\n", &["main.rs:1: open the file"]);
        check("xtask/src/main.rs", "", &["main.rs:1: open the file"]);
        check("crates/t2-linalg/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n", &[]);
    }

    #[test]
    fn a_long_file_is_refused_only_if_it_is_rust() {
        let lines = |count: usize| "//! x\n".repeat(count);
        check("benches/src/lib.rs", &lines(MAX_LINES), &[]);
        check("benches/src/lib.rs", &lines(MAX_LINES + 1), &["451 lines"]);
        check("CHANGELOG.md", &lines(MAX_LINES + 1), &[]);
    }

    #[test]
    fn places_on_one_machine_are_refused_with_their_line() {
        let line = |rest: &str| format!("# Title\nsee {}{rest}\n", '/');
        check("docs/a.md", &line("tmp/x"), &["docs/a.md:2: names"]);
        check("docs/a.md", &line("home/ada/x"), &["docs/a.md:2: names"]);
        check("docs/a.md", &format!("target{}tmp/x", '/'), &[]);
        check("docs/a.md", &format!("https://host{}work/x", '/'), &[]);
        check("docs/a.md", &format!("$OUT{}tmp/x {{out}}{}tmp/y", '/', '/'), &[]);
        check("docs/a.md", &format!("file://{}root/x", '/'), &["docs/a.md:1"]);
    }
}
