//! How the sandbox ends: not by Ctrl-C, and not later than the process that it works for.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::court::{failure, program, python_is_missing, session};
use crate::traces::descendants;

/// How long a busy machine may take to start or to end some processes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something to be so.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} took longer than {PATIENCE:?}");
        thread::yield_now();
    }
}

/// Field `at` of what the kernel says of a process, after its name.
fn stat(process: u32, at: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(at).unwrap().into()
}

#[test]
fn ctrl_c_at_a_terminal_does_not_reach_it() {
    if python_is_missing() {
        return;
    }
    let sandbox = session();
    assert_eq!(failure(&sandbox, program("", "")), None);
    // It goes to the group in the foreground: the warm parent leads one of its own.
    let parent = descendants(process::id())[0];
    assert_eq!(stat(parent, 2), parent.to_string());
}

#[test]
fn a_warm_parent_that_was_killed_is_replaced() {
    if python_is_missing() {
        return;
    }
    let sandbox = session();
    assert_eq!(failure(&sandbox, program("", "")), None);
    let parent = descendants(process::id())[0].to_string();
    assert!(Command::new("kill").args(["-KILL", &parent]).status().unwrap().success());
    assert_eq!(failure(&sandbox, program("", "")), None);
}

#[test]
fn it_ends_with_the_process_that_it_works_for() {
    if python_is_missing() {
        return;
    }
    let mut grader = Command::new(env::current_exe().unwrap())
        .args(["--exact", "ordinary::equal_programs_are_run_once"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The warm parent, the first process of its jail, and a cell.
    wait_until("a cell", || descendants(grader.id()).len() > 2);
    let family = descendants(grader.id());
    grader.kill().unwrap();
    grader.wait().unwrap();
    wait_until("the end", || family.iter().all(|number| !Path::new(&format!("/proc/{number}")).exists()));
}
