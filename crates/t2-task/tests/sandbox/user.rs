//! The same tests as another user: where they run as root, an ordinary user runs them again.

#![cfg(target_os = "linux")]

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::court::{alone, failure, program, python_is_missing};

/// The user and group of nobody in particular.
const NOBODY: u32 = 65534;
/// Where a system has the Python that everybody may use.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[test]
fn an_ordinary_user_is_as_safe() {
    // Whoever runs this owns its own process.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        println!("skipped: this is an ordinary user already");
        return;
    }
    let _alone = alone();
    let as_nobody = |command: &mut Command| {
        command.env_clear().env("PATH", PATH).current_dir("/").uid(NOBODY).gid(NOBODY).output().unwrap()
    };
    let asked = as_nobody(Command::new("sh").args(["-c", "command -v python3"]));
    if !asked.status.success() {
        println!("skipped: there is no python3 that every user may run");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("suite");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let skipped =
        ["without_walls", "equal_programs", "hostile::memory", "hostile::channel"].map(|name| format!("--skip={name}"));
    let ended = as_nobody(Command::new(copy).arg("--test-threads=1").args(skipped));
    let said = String::from_utf8_lossy(&ended.stdout);
    println!("{said}");
    assert!(ended.status.success() && !said.contains(" 0 passed"), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn a_cell_is_nobody_whoever_runs_it() {
    if python_is_missing() {
        return;
    }
    let code = "import os\ndef f(): return os.getresuid() + os.getresgid() + (len(os.getgroups()),)";
    assert_eq!(failure(&alone(), program(code, "assert f()[:6] == (1000,) * 6, f()")), None);
}
