//! What is asked of the Hub over HTTP: which commit and files a revision has, and the files.
//!
//! Redirects are followed wherever they lead, as mirrors, renamed repositories and the Hub's own storage need it; the
//! token stays with the host it is for. What a file is comes with the list of files, not from headers that a redirect
//! may lose.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use super::{Hub, RepoId};

/// Times a broken connection is taken up again.
const RETRIES: u32 = 3;
/// Longest wait for a connection, for an answer, or for the next bytes of one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 18;

/// Told the bytes so far and in all (0 while unknown); breaking off ends the download.
type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// The connection to the Hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// Why the Hub gave nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It was not there, or broke off.
    Unreachable(String),
    /// It answered, with a status other than success.
    Status(u16),
    /// The caller broke off.
    Interrupted,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<ureq::Error> for Refusal {
    fn from(error: ureq::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// What a revision is.
#[derive(Debug)]
pub(super) struct Info {
    /// Its commit.
    pub(super) sha: String,
    /// Its files by name.
    pub(super) files: BTreeMap<String, RemoteFile>,
}

/// A file as the Hub lists it; a mirror may know its name alone.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteFile {
    /// Length in bytes.
    pub(super) size: Option<u64>,
    /// Hash of the content, in hexadecimal: its name among the blobs of the cache.
    pub(super) blob: Option<String>,
}

impl Client {
    pub(super) fn new(hub: &Hub) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("t2/", env!("CARGO_PKG_VERSION")))
            // A range of a compressed file is none of the file.
            .accept_encoding("identity")
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE));
        Self { agent: config.build().into(), endpoint: hub.endpoint.clone(), token: hub.token.clone() }
    }

    /// Commit and files of a revision.
    pub(super) fn info(&self, id: &RepoId) -> Result<Info, Refusal> {
        let url = format!("{}/{}?blobs=true", self.endpoint, id.info_path());
        let json = self.get(&url, 0)?.body_mut().read_to_vec()?;
        let listed: Listed = serde_json::from_slice(&json).map_err(|error| {
            Refusal::Unreachable(format!("it answers with something else than a {}: {error}", id.kind.word()))
        })?;
        let files = listed.siblings.into_iter().filter(Sibling::is_inside).map(Sibling::into_named).collect();
        Ok(Info { sha: listed.sha, files })
    }

    /// Append to `part` what it lacks of the file at `path`, as [`RepoId::file_path`] has it.
    pub(super) fn download(
        &self,
        path: &str,
        remote: &RemoteFile,
        part: &File,
        progress: Progress<'_>,
    ) -> Result<(), Refusal> {
        let url = format!("{}/{path}", self.endpoint);
        let mut attempt = 0;
        loop {
            match self.append(&url, remote, part, progress) {
                Err(Refusal::Unreachable(_)) if attempt < RETRIES => {
                    let end = Instant::now() + Duration::from_secs(1 << attempt);
                    while Instant::now() < end {
                        if progress(part.metadata()?.len(), remote.size.unwrap_or(0)).is_break() {
                            return Err(Refusal::Interrupted);
                        }
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// One attempt of [`download`](Self::download).
    fn append(&self, url: &str, remote: &RemoteFile, mut part: &File, progress: Progress<'_>) -> Result<(), Refusal> {
        let mut len = part.metadata()?.len();
        if remote.size.is_some_and(|size| size < len) {
            part.set_len(0)?;
            len = 0;
        }
        if remote.size != Some(len) {
            let mut response = self.get(url, len)?;
            if len > 0 && !continues_at(&response, len) {
                part.set_len(0)?;
                len = 0;
            }
            let rest = response.body().content_length();
            let end = remote.size.or(rest.map(|rest| len + rest));
            let mut body = response.body_mut().as_reader();
            let mut buffer = vec![0; BUFFER];
            loop {
                if progress(len, end.unwrap_or(0)).is_break() {
                    return Err(Refusal::Interrupted);
                }
                match body.read(&mut buffer)? {
                    0 => break,
                    read => {
                        part.write_all(&buffer[..read])?;
                        len += read as u64;
                    }
                }
            }
            if let Some(end) = end.filter(|&end| end != len) {
                return Err(Refusal::Unreachable(format!("it sent {len} of {end} bytes")));
            }
        }
        Ok(part.sync_all()?)
    }

    /// The answer to a request for `url`, from the byte `start` on if the server can do that.
    fn get(&self, url: &str, start: u64) -> Result<Response<Body>, Refusal> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = request.call()?;
        match response.status().as_u16() {
            200..300 => Ok(response),
            // What is left of another file: start over.
            416 if start > 0 => self.get(url, 0),
            status @ (408 | 429 | 500..) => Err(Refusal::Unreachable(format!("it answered {status}"))),
            status => Err(Refusal::Status(status)),
        }
    }
}

/// True when `response` is the rest of a file from the byte `start` on.
fn continues_at(response: &Response<Body>, start: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    response.status().as_u16() == 206 && range.is_none_or(|range| range.starts_with(&format!("bytes {start}-")))
}

/// What the Hub says about a revision.
#[derive(Deserialize)]
struct Listed {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// What git keeps elsewhere.
#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

impl Sibling {
    /// True for a path that stays inside the folder it is put in.
    fn is_inside(&self) -> bool {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        !self.rfilename.is_empty() && Path::new(&self.rfilename).components().all(plain)
    }

    fn into_named(self) -> (String, RemoteFile) {
        let blob = self.lfs.map_or(self.blob_id, |lfs| lfs.sha256);
        // It becomes the name of a file.
        let blob = blob.filter(|hash| !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        (self.rfilename, RemoteFile { size: self.size, blob })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_known_by_the_hash_that_other_tools_know_them_by() {
        let named = |json: &str| serde_json::from_str::<Sibling>(json).unwrap().into_named().1;
        let plain = named(r#"{"rfilename": "a", "size": 3, "blobId": "c0ffee"}"#);
        assert_eq!((plain.size, plain.blob.as_deref()), (Some(3), Some("c0ffee")));
        let large =
            named(r#"{"rfilename": "a", "blobId": "c0ffee", "lfs": {"sha256": "5a5a", "size": 3, "pointerSize": 1}}"#);
        assert_eq!(large.blob.as_deref(), Some("5a5a"));
        assert_eq!(named(r#"{"rfilename": "a"}"#).blob, None);
        assert_eq!(named(r#"{"rfilename": "a", "blobId": "../../x"}"#).blob, None);
    }

    #[test]
    fn no_file_lies_outside_its_folder() {
        let inside = |name: &str| serde_json::from_value::<Sibling>(json!({ "rfilename": name })).unwrap().is_inside();
        assert!(["a", "a/b.c", "a..b", ".a"].into_iter().all(inside));
        assert!(!["", "/a", "../a", "a/../../b", "./a"].into_iter().any(inside));
    }
}
