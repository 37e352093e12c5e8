//! Sandboxes that are broken on purpose. Each refuses the whole batch and says what is missing; none gives a verdict.

#![cfg(target_os = "linux")]

use std::thread;

use libc::{ENOSYS, EPERM};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use t2_task::sandbox::{Limits, Program, Sandbox, SandboxConfig};
use t2_task::{Settings, Split, find};

use crate::court::{alone, program, python_is_missing, strict};

/// A program that is right: nothing but the sandbox is in the way of its verdict.
fn right() -> Program {
    program("def f(x): return x + 3", "assert f(1) == 4")
}

#[track_caller]
fn check(config: SandboxConfig, said: &[&str]) {
    let _alone = alone();
    let error = Sandbox::new(config.clone()).run(&[right()]).unwrap_err().to_string();
    for part in said {
        assert!(error.contains(part), "{config:?}: {error}, expected {part:?}");
    }
}

/// What a kernel without some feature, or a container that forbids it, says to those who ask for it.
struct Kernel {
    /// The call that fails.
    call: i64,
    /// The argument that it fails for, and its value; `None` is every call.
    argument: Option<(u8, u64)>,
    /// How it fails.
    error: i32,
}

impl Kernel {
    fn without(call: i64, error: i32) -> Self {
        Self { call, argument: None, error }
    }

    fn without_the(call: i64, argument: (u8, u64)) -> Self {
        Self { call, argument: Some(argument), error: EPERM }
    }

    /// Makes the kernel one of this kind for a thread and all that it starts.
    fn enter(&self) {
        let is = |(at, value)| {
            let condition = SeccompCondition::new(at, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value).unwrap();
            SeccompRule::new(vec![condition]).unwrap()
        };
        let rules = [(self.call, self.argument.into_iter().map(is).collect())].into();
        let error = SeccompAction::Errno(self.error.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, error, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }
}

#[test]
fn a_wall_that_cannot_be_put_up_is_named_with_the_way_out() {
    if python_is_missing() {
        return;
    }
    const MOUNT_SETATTR: i64 = 442;
    const NO_NEW_PRIVS: u64 = 38;
    const SET_SECCOMP: u64 = 22;
    const DROP_BOUND: u64 = 24;
    let _alone = alone();
    for (kernel, wall, way_out) in [
        (Kernel::without(libc::SYS_unshare, EPERM), "namespaces", "sysctl user.max_user_namespaces"),
        (Kernel::without(libc::SYS_unshare, ENOSYS), "namespaces", "seccomp=unconfined"),
        (Kernel::without(libc::SYS_mount, EPERM), "root", "let user namespaces mount"),
        (Kernel::without(MOUNT_SETATTR, ENOSYS), "root", "let user namespaces mount"),
        (Kernel::without(libc::SYS_pivot_root, EPERM), "root", "let user namespaces mount"),
        (Kernel::without(libc::SYS_umount2, EPERM), "root", "let user namespaces mount"),
        (Kernel::without(libc::SYS_sethostname, EPERM), "root", "let user namespaces mount"),
        (Kernel::without(libc::SYS_landlock_create_ruleset, ENOSYS), "Landlock", "Linux 5.13 or newer"),
        (Kernel::without(libc::SYS_landlock_add_rule, EPERM), "Landlock", "Linux 5.13 or newer"),
        (Kernel::without(libc::SYS_landlock_restrict_self, EPERM), "Landlock", "Linux 5.13 or newer"),
        (Kernel::without_the(libc::SYS_prctl, (0, SET_SECCOMP)), "seccomp", "with seccomp filters"),
        (Kernel::without_the(libc::SYS_prctl, (0, NO_NEW_PRIVS)), "privileges", "a Linux machine"),
        (Kernel::without_the(libc::SYS_prctl, (0, DROP_BOUND)), "Operation not permitted", "a Linux machine"),
        (Kernel::without_the(libc::SYS_prlimit64, (1, libc::RLIMIT_NOFILE.into())), "limit RLIMIT_NOFILE", "ulimit -H"),
        (Kernel::without_the(libc::SYS_prlimit64, (1, libc::RLIMIT_AS.into())), "limit RLIMIT_AS", "ulimit -H -a"),
        (Kernel::without_the(libc::SYS_prlimit64, (1, libc::RLIMIT_CPU.into())), "limit RLIMIT_CPU", "ulimit -H -a"),
    ] {
        let call = kernel.call;
        let broken = thread::spawn(move || {
            kernel.enter();
            Sandbox::new(strict()).run(&[right()])
        });
        let error = broken.join().unwrap().expect_err(&format!("without call {call} it grades")).to_string();
        for said in [wall, way_out, "nothing was graded", "--unsafe-code-execution"] {
            assert!(error.contains(said), "without call {call}: {error}, expected {said:?}");
        }
    }
}

#[test]
fn an_interpreter_that_is_none_is_named() {
    let python = |path: &str| SandboxConfig { python: Some(path.into()), ..strict() };
    check(python("no-such-python"), &["no-such-python", "was not found", "apt install python3"]);
    check(python("/"), &["/ cannot run programs", "Python 3.9"]);
    check(python("true"), &["true cannot run programs", "Python 3.9"]);
    check(python("echo"), &["echo cannot run programs"]);
}

#[test]
fn a_scratch_folder_that_holds_nothing_is_refused() {
    if python_is_missing() {
        return;
    }
    let scratch = |scratch_bytes, scratch_files| SandboxConfig {
        limits: Limits { scratch_bytes, scratch_files, ..Limits::default() },
        ..SandboxConfig::default()
    };
    check(scratch(0, 9), &["scratch folder", "no room"]);
    check(scratch(1 << 20, 0), &["scratch folder", "no room"]);
    // There is room for the folder itself, so that it cannot be written to.
    check(scratch(1 << 20, 1), &["No space left"]);
}

#[test]
fn limits_that_python_cannot_start_in_are_refused() {
    if python_is_missing() {
        return;
    }
    let limits = |limits| SandboxConfig { limits, ..SandboxConfig::default() };
    let _alone = alone();
    for too_little in [
        Limits { memory_bytes: 1 << 20, ..Limits::default() },
        Limits { threads: 1, ..Limits::default() },
        Limits { message_bytes: 1, ..Limits::default() },
    ] {
        assert!(Sandbox::new(limits(too_little.clone())).run(&[right()]).is_err(), "{too_little:?} grades");
    }
}

#[test]
fn a_refusal_is_an_error_for_tasks_too() {
    if python_is_missing() {
        return;
    }
    let _alone = alone();
    let graded = thread::spawn(|| {
        Kernel::without(libc::SYS_unshare, EPERM).enter();
        let task = find("tiny-code", &Settings::default()).unwrap();
        let examples = task.load(Split::Test, 1).unwrap();
        task.rewards(&[(&examples[0], &examples[0].reference)])
    });
    let error = graded.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("namespaces") && error.contains("nothing was graded"), "{error}");
}
