//! Expert files on disk: one by name, or a whole folder.

use std::path::{Path, PathBuf};

use t2_model::adapter::Expert;

use crate::error::SessionError;

/// Folder of a model that holds experts made for it.
pub const FOLDER: &str = "experts";
/// What expert files are called.
const EXTENSION: &str = "safetensors";

/// Read the expert at `path`. A name that is no file is looked for among the experts of the model in `model_dir`.
///
/// # Errors
///
/// [`SessionError::Expert`] when there is no such file, or it is no expert.
pub fn load(path: &Path, model_dir: Option<&Path>) -> Result<Expert, SessionError> {
    let own = model_dir.map(|dir| dir.join(FOLDER).join(path).with_added_extension(EXTENSION));
    let path = own.filter(|own| !path.is_file() && own.exists()).unwrap_or_else(|| path.to_owned());
    Ok(Expert::load(&path)?)
}

/// Read the experts of `dir`, sorted by file name. Of files that hold the same expert one is taken.
///
/// # Errors
///
/// [`SessionError::Read`] for a folder that cannot be read, [`SessionError::NoExperts`] for one without experts, and
/// [`SessionError::Expert`] for a file that is none.
pub fn load_folder(dir: &Path) -> Result<Vec<Expert>, SessionError> {
    let failed = |source| SessionError::Read { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>();
    let mut files = files.map_err(failed)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == EXTENSION));
    files.sort();
    let mut experts: Vec<Expert> = vec![];
    for file in &files {
        let expert = Expert::load(file)?;
        if experts.iter().all(|known| known.hash() != expert.hash() || known.info.name != expert.info.name) {
            experts.push(expert);
        }
    }
    if experts.is_empty() { Err(SessionError::NoExperts { dir: dir.to_owned() }) } else { Ok(experts) }
}
