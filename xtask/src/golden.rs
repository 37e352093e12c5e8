//! `cargo xtask golden`: runs the scripts `crates/*/tests/golden/make*.py` that made the golden files.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::spawn::{command, root, run as spawn};

/// `cargo xtask golden`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The Python to use: that of a virtual environment with the packages each script names at its top.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Only the scripts whose path contains this.
    filter: Option<String>,
}

/// Makes the golden files again.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut scripts = scripts(root())?;
    if let Some(filter) = &args.filter {
        scripts.retain(|script| script.to_string_lossy().contains(filter.as_str()));
    }
    ensure!(!scripts.is_empty(), "no script crates/*/tests/golden/make*.py matches; drop the filter to run them all");
    for script in scripts {
        println!("{}", script.display());
        spawn(command(&args.python, [script]))?;
    }
    Ok(())
}

/// The scripts, relative to `root` and in order.
fn scripts(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for package in entries(&root.join("crates"))? {
        let golden = package.join("tests").join("golden");
        if !golden.is_dir() {
            continue;
        }
        found.extend(entries(&golden)?.into_iter().filter(|path| is_maker(path)));
    }
    found.sort();
    Ok(found.iter().filter_map(|path| path.strip_prefix(root).ok().map(Path::to_path_buf)).collect())
}

fn is_maker(path: &Path) -> bool {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    path.extension().is_some_and(|end| end == "py") && stem.is_some_and(|stem| stem.starts_with("make"))
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> { folder.read_dir()?.map(|entry| Ok(entry?.path())).collect() };
    read().with_context(|| format!("could not list {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_makers_are_run() {
        assert!(is_maker(Path::new("golden/make.py")));
        assert!(is_maker(Path::new("golden/make_llama.py")));
        assert!(!is_maker(Path::new("golden/shapes.py")));
        assert!(!is_maker(Path::new("golden/make.json")));
    }
}
