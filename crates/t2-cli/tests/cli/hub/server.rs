//! Servers on this machine that answer as the Hub does, or as what stands in for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{COMMIT, DATASET, GONE, REPO, TOKEN};
use crate::support::{Done, World, finish};

/// The files of a repository by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What a server is asked.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    /// Whether it carried the token.
    pub(super) known: bool,
    /// First byte of the range asked for.
    pub(super) start: Option<usize>,
}

/// What it answers.
pub(super) struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// Bytes of the body after which the connection breaks.
    pub(super) breaks_after: usize,
}

impl Reply {
    pub(super) fn new(status: &'static str, headers: String, body: Vec<u8>) -> Self {
        Self { status, headers, body, breaks_after: usize::MAX }
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self::new("307 Temporary Redirect", format!("Location: {to}\r\n"), vec![])
    }

    /// The bytes that `request` asks for.
    pub(super) fn content(bytes: &[u8], request: &Request) -> Self {
        let Some(start) = request.start else { return Self::new("200 OK", String::new(), bytes.to_vec()) };
        let headers = format!("Content-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
        Self::new("206 Partial Content", headers, bytes[start..].to_vec())
    }
}

/// A server, and what it was asked.
pub(super) struct Hub {
    pub(super) endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    pub(super) fn answering(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let request = read(&stream);
                log.lock().unwrap().push(request.clone());
                write(stream, answer(&request));
            }
        });
        Self { endpoint, requests }
    }

    /// The Hub with one repository, which asks for a token.
    pub(super) fn serve(files: Files) -> Self {
        Self::answering(move |request| answer(request, &files, REPO))
    }

    /// The Hub with one data set, which asks for a token.
    pub(super) fn serve_dataset(files: Files) -> Self {
        Self::answering(move |request| answer(request, &files, DATASET))
    }

    /// What it was asked since the last time.
    pub(super) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// The files it was asked for since the last time.
    pub(super) fn take_files(&self) -> BTreeSet<String> {
        let file = |request: Request| Some(request.path.split_once(&format!("/resolve/{COMMIT}/"))?.1.to_owned());
        self.take_requests().into_iter().filter_map(file).collect()
    }

    pub(super) fn run(&self, world: &World, args: &[&str], edit: impl FnOnce(&mut Command)) -> Done {
        let mut command = world.command(args);
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_TOKEN", TOKEN);
        edit(&mut command);
        finish(&mut command, "")
    }
}

fn read(stream: &TcpStream) -> Request {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let known = headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    let range = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    Request { path, known, start: range.map(|(start, _)| start.parse().unwrap()) }
}

/// Answer and close the connection; the client may be gone.
fn write(mut stream: TcpStream, Reply { status, headers, body, breaks_after }: Reply) {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let sent = &body[..body.len().min(breaks_after)];
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// The Hub's answer when it has `files` in the repository `repo`, `org/name` or `datasets/org/name`.
pub(super) fn answer(request: &Request, files: &Files, repo: &str) -> Reply {
    let path = request.path.split('?').next().unwrap();
    let info = match repo.starts_with("datasets/") {
        true => format!("/api/{repo}/revision/"),
        false => format!("/api/models/{repo}/revision/"),
    };
    let resolve = format!("/{repo}/resolve/{COMMIT}/");
    if !request.known {
        return Reply::new("401 Unauthorized", String::new(), vec![]);
    }
    if path.strip_prefix(&info).is_some_and(|revision| ["main", COMMIT].contains(&revision)) {
        let siblings: Vec<Value> = files.keys().map(|name| json!({ "rfilename": name })).collect();
        return Reply::new("200 OK", String::new(), json!({ "sha": COMMIT, "siblings": siblings }).to_string().into());
    }
    match path.strip_prefix(&resolve).and_then(|name| files.get(name)).filter(|bytes| *bytes != GONE) {
        Some(bytes) => Reply::content(bytes, request),
        None => Reply::new("404 Not Found", String::new(), vec![]),
    }
}
