//! Data sets of the Hub, as a session fetches them: some of their files.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use t2_session::source::{SourceError, dataset};
use t2_session::{Event, Sources};
use tempfile::TempDir;

use crate::support::{World, finish};

use super::server::{Files, Hub, Reply, Request, answer};
use super::{COMMIT, DATASET, GONE, TOKEN};

const ID: &str = "org/name";

/// A cache of its own.
struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Data sets from `endpoint`; nothing may be fetched without one.
    fn sources(&self, endpoint: Option<&str>) -> Sources {
        let hub = t2_session::Hub {
            endpoint: endpoint.unwrap_or_default().to_owned(),
            token: Some(TOKEN.to_owned()),
            cache: Some(self.0.path().to_owned()),
            offline: endpoint.is_none(),
        };
        Sources { cache: None, hub }
    }

    /// What is fetched from `hub`.
    fn online(&self, hub: &Hub, id: &str, wanted: &[&[&str]]) -> Result<PathBuf, SourceError> {
        dataset(id, &owned(wanted), &self.sources(Some(&hub.endpoint)), &())
    }

    fn offline(&self, id: &str, wanted: &[&[&str]]) -> Result<PathBuf, SourceError> {
        dataset(id, &owned(wanted), &self.sources(None), &())
    }

    /// The folder of a commit.
    fn snapshot(&self, commit: &str) -> PathBuf {
        self.0.path().join("datasets--org--name/snapshots").join(commit)
    }
}

fn owned(wanted: &[&[&str]]) -> Vec<Vec<String>> {
    wanted.iter().map(|places| places.iter().map(|&place| place.to_owned()).collect()).collect()
}

/// A data set in two layouts, its test questions in two parts.
fn files() -> Files {
    let names = ["README.md", "main/test-00000-of-00002.parquet", "main/test-00001-of-00002.parquet", "train.jsonl"];
    let content = |name: &str| (name.to_owned(), name.repeat(100).into_bytes());
    names.into_iter().chain(["socratic/test-00000-of-00001.parquet", "test.jsonl"]).map(content).collect()
}

const TEST: &[&str] = &["main/test-*.parquet", "test.jsonl"];
const TRAIN: &[&str] = &["main/train-*.parquet", "train.jsonl"];

#[track_caller]
fn check_error(result: Result<PathBuf, SourceError>, parts: &[&str]) {
    let error = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error:?} lacks one of {parts:?}");
}

/// The files that `dir` holds, by path, each as the Hub has it.
#[track_caller]
fn check_files(dir: &Path, expected: &[&str]) {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(dir).unwrap().to_str().unwrap().replace('\\', "/");
                    found.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
    }
    let whole: Files = files().into_iter().filter(|(name, _)| expected.contains(&name.as_str())).collect();
    assert_eq!(found, whole);
}

#[test]
fn the_files_that_are_wanted_are_downloaded_once_and_found_offline() {
    let (cache, hub) = (Cache::new(), Hub::serve_dataset(files()));
    let wanted = ["main/test-00000-of-00002.parquet", "main/test-00001-of-00002.parquet", "train.jsonl"];
    let dir = cache.online(&hub, ID, &[TEST, TRAIN]).unwrap();
    assert_eq!(dir, cache.snapshot(COMMIT));
    check_files(&dir, &wanted);
    let asked = hub.take_requests();
    assert!(asked.iter().all(|request| request.known), "{asked:?}");
    assert_eq!(asked.len(), 1 + wanted.len());
    assert_eq!(cache.online(&hub, ID, &[TEST, TRAIN]).unwrap(), dir);
    assert_eq!(hub.take_requests().len(), 1, "only the commit is asked for again");
    for id in [ID, "org/name@main", &format!("org/name@{COMMIT}")] {
        assert_eq!(cache.offline(id, &[TEST, TRAIN]).unwrap(), dir, "{id}");
        assert_eq!(cache.offline(id, &[TRAIN]).unwrap(), dir, "{id}");
    }
    assert!(hub.take_requests().is_empty());
}

#[test]
fn a_model_of_the_same_name_is_another() {
    let cache = Cache::new();
    let refused = cache.online(&Hub::serve(files()), ID, &[TEST]);
    check_error(refused, &["there is no data set org/name@main on the Hub", "check the name"]);
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let (cache, hub) = (Cache::new(), Hub::serve_dataset(files()));
    let missing = cache.online(&hub, ID, &[TRAIN, &["main/valid-*.parquet", "valid.jsonl"]]);
    let listed = "it has README.md, main/test-00000-of-00002.parquet, ";
    check_error(missing, &["org/name has no main/valid-*.parquet and no valid.jsonl", listed]);
    assert!(hub.take_files().is_empty(), "nothing is downloaded");
    check_error(cache.online(&hub, "org/name@v2", &[TEST]), &["no data set org/name@v2", "the revision"]);
    check_error(cache.online(&hub, "gsm8k", &[TEST]), &["`gsm8k` is no data set", "org/name@revision"]);
    check_error(cache.online(&hub, ID, &[&["test[.jsonl"]]), &["`test[.jsonl` names no files", "`*`"]);
    let many = (0..30).map(|at| (format!("{at:02}.csv"), vec![])).collect();
    check_error(cache.online(&Hub::serve_dataset(many), ID, &[TEST]), &["19.csv and 10 more"]);
}

#[test]
fn a_refusal_says_what_to_do() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        // A data set behind a licence tells everybody what files it has.
        let gated = Hub::answering(move |request| match request.path.contains("/resolve/") {
            true => Reply::new(status, String::new(), vec![]),
            false => answer(request, &files(), DATASET),
        });
        let refused = Cache::new().online(&gated, ID, &[TRAIN]);
        check_error(refused, &["cannot download train.jsonl", &status[..3], "accept its licence", "HF_TOKEN"]);
    }
}

#[test]
fn without_the_hub_only_what_is_complete_will_do() {
    let cache = Cache::new();
    let not_cached = "main/test-*.parquet or test.jsonl of org/name@main is not in the cache";
    check_error(cache.offline(ID, &[TEST]), &[not_cached, "HF_HUB_OFFLINE is set"]);
    let mut broken = files();
    broken.insert("main/test-00001-of-00002.parquet".into(), GONE.to_vec());
    let failed = cache.online(&Hub::serve_dataset(broken), ID, &[TRAIN, TEST]);
    check_error(failed, &["cannot download main/test-00001-of-00002.parquet"]);
    check_error(cache.offline(ID, &[TEST]), &[not_cached]);
    assert_eq!(cache.offline(ID, &[TRAIN]).unwrap(), cache.snapshot(COMMIT));
    check_error(cache.offline("org/name@v2", &[TRAIN]), &["org/name@v2 is not in the cache"]);

    // The discard port, where nothing listens.
    let unreachable = cache.sources(Some("http://127.0.0.1:9"));
    check_error(dataset(ID, &owned(&[TEST]), &unreachable, &()), &[not_cached, "cannot be reached", "the network"]);
    let notes = RefCell::new(vec![]);
    let watch = |event: Event<'_>| {
        if let Event::Note(text) = event {
            notes.borrow_mut().push(text.to_owned());
        }
        ControlFlow::Continue(())
    };
    assert_eq!(dataset(ID, &owned(&[TRAIN]), &unreachable, &watch).unwrap(), cache.snapshot(COMMIT));
    assert!(notes.take().iter().any(|note| note.contains("using the cached copy of org/name")));
}

/// A hub that says of every file how long it is and what its content is called, as the real one does.
fn listing(commit: &'static str, files: Files) -> impl Fn(&Request) -> Reply {
    move |request| match request.path.contains("/resolve/") {
        true => {
            let request = Request { path: request.path.replace(commit, COMMIT), ..request.clone() };
            answer(&request, &files, DATASET)
        }
        false => {
            let hash = |bytes: &[u8]| format!("{:040x}", bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
            let siblings: Vec<Value> = files
                .iter()
                .map(|(name, bytes)| json!({ "rfilename": name, "size": bytes.len(), "blobId": hash(bytes) }))
                .collect();
            Reply::new("200 OK", String::new(), json!({ "sha": commit, "siblings": siblings }).to_string().into())
        }
    }
}

#[test]
fn an_interrupted_download_is_taken_up() {
    let cache = Cache::new();
    let hub = Hub::answering(listing(COMMIT, files()));
    let breaks = |event: Event<'_>| match event {
        Event::Downloading { done, .. } if done > 0 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let interrupted = dataset(ID, &owned(&[TRAIN]), &cache.sources(Some(&hub.endpoint)), &breaks);
    assert!(matches!(interrupted, Err(SourceError::Interrupted { file }) if file == "train.jsonl"));

    // What is left of it is cut short, as a process that was killed would have left it.
    let blobs = cache.0.path().join("datasets--org--name/blobs");
    let part = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    assert!(part.to_str().unwrap().ends_with(".incomplete"), "{part:?}");
    crate::support::truncate(&part, 1000);
    hub.take_requests();
    check_files(&cache.online(&hub, ID, &[TRAIN]).unwrap(), &["train.jsonl"]);
    let starts = hub.take_requests().into_iter().map(|request| request.start);
    assert_eq!(starts.collect::<Vec<_>>(), [None, Some(1000)]);
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let listed = listing(COMMIT, files());
    let asked = AtomicUsize::new(0);
    let hub = Hub::answering(move |request| {
        let mut reply = listed(request);
        if request.path.ends_with("train.jsonl") && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            reply.breaks_after = 500;
        }
        reply
    });
    check_files(&Cache::new().online(&hub, ID, &[TRAIN]).unwrap(), &["train.jsonl"]);
    let starts = hub.take_requests().into_iter().skip(1).map(|request| request.start);
    assert_eq!(starts.collect::<Vec<_>>(), [None, Some(500)]);
}

#[test]
fn a_commit_that_changes_one_file_costs_that_file() {
    const NEXT: &str = "89abcdef89abcdef89abcdef89abcdef89abcdef";
    let cache = Cache::new();
    let before = cache.online(&Hub::answering(listing(COMMIT, files())), ID, &[TEST, TRAIN]).unwrap();
    let mut changed = files();
    changed.insert("train.jsonl".into(), b"{}".to_vec());
    let hub = Hub::answering(listing(NEXT, changed));
    let after = cache.online(&hub, ID, &[TEST, TRAIN]).unwrap();
    assert_eq!(after, cache.snapshot(NEXT));
    let asked: BTreeSet<_> = hub.take_requests().into_iter().skip(1).map(|request| request.path).collect();
    assert_eq!(asked, [format!("/datasets/org/name/resolve/{NEXT}/train.jsonl")].into());
    assert_eq!(std::fs::read(after.join("train.jsonl")).unwrap(), b"{}");
    check_files(&before, &["main/test-00000-of-00002.parquet", "main/test-00001-of-00002.parquet", "train.jsonl"]);
    assert_eq!(cache.offline(ID, &[TRAIN]).unwrap(), after, "the branch is at its last commit");
}

#[test]
fn a_task_of_the_hub_is_evaluated_and_then_found_offline() {
    let world = World::new();
    let toml = "name = \"sums\"\nhub = \"org/name\"\ngrader = \"exact\"\nquestion = \"{{ q }}\"\nreference = \"{{ a }}\"\n\
                [files]\ntest = [\"data/test-*.parquet\", \"test.jsonl\"]\n";
    world.write("sums.toml", toml);
    let rows = b"{\"q\": \"what is one\", \"a\": \"two\"}\n{\"q\": \"what is two\", \"a\": \"two\"}\n";
    let hub = Hub::serve_dataset([("test.jsonl".to_owned(), rows.to_vec())].into());
    let args = ["eval", "model", "--task", "sums.toml", "--max-new-tokens", "2", "--json", "-q"];
    let online = hub.run(&world, &args, |_| {});
    assert_eq!(online.code, 0, "{online:?}");
    assert_eq!(serde_json::from_str::<Value>(&online.stdout).unwrap()["n"], 2);
    drop(hub);
    let offline = finish(world.command(&args).env("HF_HUB_OFFLINE", "1"), "");
    assert_eq!(offline.code, 0, "{offline:?}");
}
