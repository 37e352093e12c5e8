//! How the sandbox ends: not by Ctrl-C, and not later than the process that it works for.

#![cfg(target_os = "linux")]

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use t2_task::sandbox::Outcome;

use crate::court::{alone, failure, program, python_is_missing};
use crate::traces::{descendants, stat, warm_parent};

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

#[test]
fn ctrl_c_at_a_terminal_does_not_reach_it() {
    if python_is_missing() {
        return;
    }
    let sandbox = alone();
    assert_eq!(failure(&sandbox, program("", "")), None);
    // It goes to the group in the foreground: the warm parent leads one of its own.
    let parent = warm_parent();
    assert_eq!(stat(parent, 2), Some(parent.to_string()));
}

#[test]
fn a_warm_parent_that_was_killed_is_replaced() {
    if python_is_missing() {
        return;
    }
    let sandbox = alone();
    assert_eq!(failure(&sandbox, program("", "")), None);
    let parent = warm_parent().to_string();
    assert!(Command::new("kill").args(["-KILL", &parent]).status().unwrap().success());
    assert_eq!(failure(&sandbox, program("", "")), None);
}

#[test]
fn it_ends_with_the_process_that_it_works_for() {
    if python_is_missing() {
        return;
    }
    let _alone = alone();
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

/// The second time around, nobody ends it, and it is late.
#[test]
fn a_cell_that_the_system_ends_is_no_failure_of_its_program() {
    if python_is_missing() {
        return;
    }
    let sandbox = alone();
    let parent = warm_parent();
    let slow = program("import time\ntime.sleep(99)", "");
    let why = thread::scope(|scope| {
        let run = scope.spawn(|| failure(&sandbox, slow));
        // The warm parent, the first process of its jail, and cells. Some belong to the two programs that come first.
        wait_until("a cell", || descendants(parent).len() > 1);
        for cell in &descendants(parent)[1..] {
            let _ = Command::new("kill").args(["-KILL", &cell.to_string()]).stderr(Stdio::null()).status().unwrap();
        }
        run.join().unwrap()
    });
    assert!(why.as_ref().is_some_and(|why| why.contains("took longer than")), "{why:?}");
}

#[test]
fn many_at_once_get_right_verdicts_or_none_when_the_parent_is_killed() {
    if python_is_missing() {
        return;
    }
    let sandbox = alone();
    let sandbox = &*sandbox;
    let parent = warm_parent().to_string();
    thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || {
                let programs =
                    [n, n + 1].map(|m| program(&format!("def f(): return {n}"), &format!("assert f() == {m}")));
                if let Ok(outcomes) = sandbox.run(&programs) {
                    let passed: Vec<_> = outcomes.iter().map(Outcome::is_passed).collect();
                    assert_eq!(passed, [true, false], "{outcomes:?}");
                }
            });
        }
        let _ = Command::new("kill").args(["-KILL", &parent]).status().unwrap();
    });
}
