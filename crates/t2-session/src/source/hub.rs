//! Models and data sets of the Hugging Face Hub, kept in the cache that every Hugging Face tool shares.
//!
//! A snapshot is fetched by its commit, and a branch is only pointed at another commit once what was wanted is there: a
//! download that was cut off never takes the place of what was complete.

mod cache;
mod client;
pub(crate) mod dataset;
pub(crate) mod model;
mod snapshot;

use std::path::PathBuf;

/// The branch that is meant where no revision is named.
const MAIN: &str = "main";

/// The Hub that models and data sets are fetched from, and the folder they are kept in.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// What the user identifies by.
    pub token: Option<String>,
    /// The cache of models and data sets; `None` where there is no home folder.
    pub cache: Option<PathBuf>,
    /// True when nothing may be fetched.
    pub offline: bool,
}

/// What a repository is for. The Hub keeps them apart: `org/name` may be a model and a data set too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Dataset,
}

/// A repository, at a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RepoId {
    kind: Kind,
    /// `org/name`.
    name: String,
    revision: String,
}

impl Default for Hub {
    /// The public Hub, without a token, and without a cache, which a download needs.
    fn default() -> Self {
        Self { endpoint: "https://huggingface.co".to_owned(), token: None, cache: None, offline: false }
    }
}

impl Kind {
    /// What people call one.
    fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        }
    }

    /// What the Hub and its cache call all of them.
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

impl RepoId {
    /// `org/name[@revision]`; `None` for anything else.
    fn parse(kind: Kind, text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (org, rest) = name.split_once('/')?;
        let all = is_plain(org) && is_plain(rest) && revision.split('/').all(is_plain);
        all.then(|| Self { kind, name: name.to_owned(), revision: revision.to_owned() })
    }

    /// Where the Hub says what the revision is.
    fn info_path(&self) -> String {
        format!("api/{}/{}/revision/{}", self.kind.plural(), self.name, self.revision.replace('/', "%2F"))
    }

    /// Where the Hub has the file `file` of a commit.
    fn file_path(&self, commit: &str, file: &str) -> String {
        let prefix = match self.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        format!("{prefix}{}/resolve/{commit}/{}", self.name, percent_encoding::utf8_percent_encode(file, ESCAPED))
    }

    /// The folder of the repository in the cache.
    fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.name.replace('/', "--"))
    }

    /// What an answer of `status` means for the repository.
    fn refused(&self, status: u16) -> String {
        let Self { kind, name, revision } = self;
        match (status, kind) {
            (401 | 403, _) => format!(
                "the Hub refuses access to {name} (status {status}); check the name, accept its licence on the Hub, or set \
                 HF_TOKEN"
            ),
            (404, Kind::Model) => {
                format!(
                    "there is no folder {name}, and no {name}@{revision} on the Hub; check the name and the revision"
                )
            }
            (404, Kind::Dataset) => {
                format!("there is no data set {name}@{revision} on the Hub; check the name and the revision")
            }
            _ => format!("the Hub answered {status} for {name}@{revision}; try again later"),
        }
    }
}

/// What is escaped in the address of a file.
const ESCAPED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// True for a part of an id or a path that leads nowhere else.
fn is_plain(part: &str) -> bool {
    let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plain && !part.starts_with('.') && !part.contains("..") && !part.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_where_every_tool_has_them() {
        #[track_caller]
        fn check(kind: Kind, info: &str, file: &str, folder: &str) {
            let id = RepoId::parse(kind, "org/name@refs/pr/1").unwrap();
            assert_eq!((id.info_path().as_str(), id.folder().as_str()), (info, folder));
            assert_eq!(id.file_path("c0ffee", "a b/c#1-_.~é.json"), file);
        }
        check(
            Kind::Model,
            "api/models/org/name/revision/refs%2Fpr%2F1",
            "org/name/resolve/c0ffee/a%20b/c%231-_.~%C3%A9.json",
            "models--org--name",
        );
        check(
            Kind::Dataset,
            "api/datasets/org/name/revision/refs%2Fpr%2F1",
            "datasets/org/name/resolve/c0ffee/a%20b/c%231-_.~%C3%A9.json",
            "datasets--org--name",
        );
    }
}
