//! Models of the Hub, from a server on this machine that speaks its protocol.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use safetensors::tensor::SafeTensors;
use serde_json::{Value, json};

use crate::support::{Done, World, finish};

const REPO: &str = "org/name";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// Content of a file that is listed and cannot be had.
const GONE: &[u8] = b"";

/// A request: its path and whether it carried the token.
type Request = (String, bool);

/// The Hub with one repository, which asks for a token.
struct Hub {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    fn serve(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &files, &log);
            }
        });
        Self { endpoint, requests }
    }

    /// Paths asked for so far.
    fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    fn run(&self, world: &World, args: &[&str], edit: impl FnOnce(&mut Command)) -> Done {
        let mut command = world.command(args);
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_TOKEN", TOKEN);
        edit(&mut command);
        finish(&mut command, "")
    }
}

/// Answer one request and close the connection.
fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, log: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let known = headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    log.lock().unwrap().push((path.clone(), known));
    let info = format!("/api/models/{REPO}/revision/");
    let resolve = format!("/{REPO}/resolve/{COMMIT}/");
    let (status, extra, body) = if !known {
        ("401 Unauthorized", String::new(), vec![])
    } else if let Some(revision) = path.strip_prefix(&info).filter(|revision| ["main", COMMIT].contains(revision)) {
        let siblings: Vec<Value> = files.keys().map(|name| json!({ "rfilename": name })).collect();
        let _ = revision;
        ("200 OK", String::new(), json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes())
    } else if let Some((name, bytes)) =
        path.strip_prefix(&resolve).and_then(|name| files.get_key_value(name)).filter(|(_, bytes)| *bytes != GONE)
    {
        let range = headers["range"].strip_prefix("bytes=").unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse::<usize>().map_or(bytes.len(), |end| end + 1);
        let extra = format!(
            "ETag: \"etag-of-{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{}\r\n",
            end - 1,
            bytes.len()
        );
        ("206 Partial Content", extra, bytes[start..end].to_vec())
    } else {
        ("404 Not Found", String::new(), vec![])
    };
    let head = format!("HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
}

fn files(world: &World) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(world.path("model")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: BTreeMap<String, Vec<u8>> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.insert("pytorch_model.bin".into(), vec![0; 100]);
    files
}

/// The same files with the weights in two shards.
fn sharded(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let bytes = files.remove("model.safetensors").unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut map = BTreeMap::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let views: Vec<_> = tensors.tensors().into_iter().enumerate().filter(|(i, _)| i % 2 == shard).collect();
        map.extend(views.iter().map(|(_, (tensor, _))| (tensor.clone(), name.clone())));
        let views = views.into_iter().map(|(_, named)| named);
        files.insert(name, safetensors::serialize(views, None).unwrap());
    }
    files.insert("model.safetensors.index.json".into(), json!({ "weight_map": map }).to_string().into_bytes());
    files
}

const INFO: [&str; 5] = ["info", REPO, "--json", "-q", "--seed=1"];

fn hash(done: &Done) -> String {
    assert_eq!(done.code, 0, "{done:?}");
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    json["model"]["hash"].as_str().unwrap().to_owned()
}

#[test]
fn a_model_is_downloaded_once() {
    let world = World::new();
    let local = world.json(&["info", "model"])["model"]["hash"].clone();
    let hub = Hub::serve(files(&world));
    assert_eq!(hash(&hub.run(&world, &INFO, |_| {})), local);
    let first = hub.take_requests();
    assert!(first.iter().all(|(_, known)| *known), "{first:?}");
    assert!(first.iter().any(|(path, _)| path.ends_with("/model.safetensors")));
    assert!(!first.iter().any(|(path, _)| path.contains("pytorch")), "{first:?}");
    assert_eq!(hash(&hub.run(&world, &INFO, |_| {})), local);
    assert_eq!(hub.take_requests().len(), 1, "only the commit is asked for again");
    assert!(world.path("hf/hub/models--org--name/refs/main").exists());
}

#[test]
fn a_sharded_model_works_offline_afterwards() {
    let world = World::new();
    let local = world.json(&["info", "model"])["model"]["hash"].clone();
    let hub = Hub::serve(sharded(files(&world)));
    let offline = |command: &mut Command| {
        command.env("HF_HUB_OFFLINE", "1");
    };
    let refused = hub.run(&world, &INFO, offline);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("HF_HUB_OFFLINE is set"), "{refused:?}");
    assert!(hub.take_requests().is_empty());

    let at = format!("{REPO}@{COMMIT}");
    assert_eq!(hash(&hub.run(&world, &["info", &at, "--json", "-q"], |_| {})), local);
    assert_eq!(hash(&hub.run(&world, &INFO, |_| {})), local);
    hub.take_requests();
    assert_eq!(hash(&hub.run(&world, &INFO, offline)), local);
    assert_eq!(hash(&hub.run(&world, &["info", &at, "--json", "-q"], offline)), local);
    assert!(hub.take_requests().is_empty());
}

#[test]
fn an_unreachable_hub_leaves_the_cache() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    let unreachable = |command: &mut Command| {
        // The discard port, where nothing listens.
        command.env("HF_ENDPOINT", "http://127.0.0.1:9");
    };
    let failed = hub.run(&world, &INFO, unreachable);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("cannot be reached") && failed.stderr.contains("no folder org/name"), "{failed:?}");
    let online = hash(&hub.run(&world, &INFO, |_| {}));
    let noted = hub.run(&world, &["info", REPO, "--json"], unreachable);
    assert_eq!(hash(&noted), online);
    assert!(noted.stderr.contains("using the cached copy"), "{noted:?}");
}

#[test]
fn a_refusal_says_what_to_do() {
    let world = World::new();
    let hub = Hub::serve(files(&world));
    let no_token = hub.run(&world, &INFO, |command| {
        command.env_remove("HF_TOKEN");
    });
    assert_eq!(no_token.code, 1);
    assert!(no_token.stderr.contains("HF_TOKEN") && no_token.stderr.contains("401"), "{no_token:?}");
    for name in ["org/other", "org/name@v9"] {
        let missing = hub.run(&world, &["info", name], |_| {});
        assert_eq!(missing.code, 1);
        assert!(missing.stderr.contains("check the name and the revision"), "{missing:?}");
    }
}

#[test]
fn a_download_that_was_cut_off_is_completed() {
    let world = World::new();
    let local = world.json(&["info", "model"])["model"]["hash"].clone();
    let whole = files(&world);
    let mut partial = whole.clone();
    partial.insert("model.safetensors".into(), GONE.to_vec());
    let failed = Hub::serve(partial).run(&world, &INFO, |_| {});
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("cannot download model.safetensors of org/name"), "{failed:?}");
    assert!(!world.path("hf/hub/models--org--name/refs/main").exists());
    assert_eq!(hash(&Hub::serve(whole).run(&world, &INFO, |_| {})), local);
}
