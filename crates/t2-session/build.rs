//! Lists the files of the bundled model as `(name, bytes)` pairs, so that an installed binary carries it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where the bundled model lies, seen from this crate: in a published package, in the repository.
const FOLDERS: [&str; 2] = ["assets/tiny", "../../assets/tiny"];

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its folders by the environment")]
fn main() -> std::io::Result<()> {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let root = FOLDERS.iter().map(|folder| here.join(folder)).find(|folder| folder.is_dir());
    let mut files = vec![];
    if let Some(root) = &root {
        println!("cargo::rerun-if-changed={}", root.display());
        collect(root, &mut files)?;
        files.sort();
    } else {
        FOLDERS.iter().for_each(|folder| println!("cargo::rerun-if-changed={folder}"));
    }
    let mut list = String::from("&[\n");
    for path in &files {
        let name = path.strip_prefix(root.as_deref().unwrap_or(Path::new(""))).unwrap_or(path);
        let name = name.to_string_lossy().replace('\\', "/");
        writeln!(list, "    ({name:?}, include_bytes!({:?})),", path.canonicalize()?).map_err(std::io::Error::other)?;
    }
    list.push_str("]\n");
    std::fs::write(out.join("bundled.rs"), list)
}

/// Every file below `folder`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
