//! What a program must not leave behind: processes and files.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// Every file that a program of these tests tries to leave somewhere is called this.
pub(crate) const NAME: &str = "t2-trace-of-a-program";
/// The warm parent's processes: the one that this process started, and the first one of its jail.
const AT_REST: usize = 2;
/// How long what is about to end may take to do so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Fails if a process of the sandbox is left beside its warm parent, or a file where a program could have left one.
#[track_caller]
pub(crate) fn check_none(program: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut left = descendants(process::id());
    while left.len() > AT_REST && Instant::now() < deadline {
        thread::yield_now();
        left = descendants(process::id());
    }
    assert!(left.len() <= AT_REST, "{program} left {} processes behind: {left:?}", left.len() - AT_REST);
    let files = files();
    assert!(files.is_empty(), "{program} left files behind: {files:?}");
}

/// Files with the name that programs of these tests give theirs.
pub(crate) fn files() -> Vec<PathBuf> {
    let python = ["/usr/lib/python3", "/usr/local/lib", "/etc", "/root", "/home", "/run", "/dev"];
    let folders = ["/", "/tmp", "/var/tmp", "/dev/shm", ".", "..", "/box"].into_iter().chain(python);
    folders.map(|folder| PathBuf::from(folder).join(NAME)).filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// The processes that descend from another one, by their numbers, children before their own.
pub(crate) fn descendants(process: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = numbers.filter_map(|number| Some((number, parent(number)?))).collect();
    let mut family = vec![process];
    let mut at = 0;
    while at < family.len() {
        let children = parents.iter().filter(|(_, parent)| *parent == family[at]).map(|(number, _)| *number);
        family.extend(children.collect::<Vec<_>>());
        at += 1;
    }
    family.split_off(1)
}

/// The warm parent: the child of this process that leads a group of its own and was given its program by `-c`.
#[track_caller]
pub(crate) fn warm_parent() -> u32 {
    let is_warm = |number: &u32| {
        let said = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        stat(*number, 1) == Some(process::id().to_string())
            && stat(*number, 2) == Some(number.to_string())
            && said.split(|byte| *byte == 0).any(|word| word == b"-c")
    };
    descendants(process::id()).into_iter().find(is_warm).expect("a sandbox that has run has a warm parent")
}

/// The parent of a process that has not ended, or has ended and was not waited for.
fn parent(number: u32) -> Option<u32> {
    stat(number, 1)?.parse().ok()
}

/// Field `at` of what the kernel says of a process, after its name: the state, the parent, the group.
pub(crate) fn stat(process: u32, at: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    Some(stat.rsplit_once(')')?.1.split_whitespace().nth(at)?.into())
}
