//! Where a MODEL comes from: the bundled `tiny`, a folder, or the Hub.

mod bundled;
mod hub;

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::output::Output;

/// The name of the bundled model.
pub(crate) const BUNDLED: &str = "tiny";

/// The folder of the model `name`, unpacked or downloaded if need be.
pub(crate) fn locate(name: &str, out: &Output) -> anyhow::Result<PathBuf> {
    if name == BUNDLED {
        return bundled::unpack();
    }
    let folder = Path::new(name);
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    if folder.exists() {
        bail!("MODEL `{name}` is a file; give the folder that holds config.json and the weights");
    }
    match hub::HubId::parse(name) {
        Some(id) => hub::fetch(&id, out),
        None => bail!(
            "there is no model `{name}`; give `{BUNDLED}` (bundled), an existing folder, or a Hub id such as org/name"
        ),
    }
}
