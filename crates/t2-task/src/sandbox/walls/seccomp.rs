//! Which system calls a cell may make.
//!
//! A list of what computing takes: memory, time, threads, signals to itself, and files that are open or can be opened.
//! Whatever is not on it fails with `EPERM`: processes, programs, sockets, mounts, namespaces, other processes' memory,
//! keys, modules, and every call that a later kernel adds.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc as sys;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::sandbox::SandboxError;

/// The filters of a cell, in hexadecimal, each to be enforced.
pub(in crate::sandbox) fn filters() -> Result<Vec<String>, SandboxError> {
    compiled().map_err(|error| SandboxError::wall("seccomp", &error.to_string()))
}

fn compiled() -> Result<Vec<String>, BackendError> {
    let arch = ARCH.try_into()?;
    let allow_list = SeccompFilter::new(rules()?, refuse(sys::EPERM), SeccompAction::Allow, arch)?;
    // The C library makes a thread by `clone3`, whose flags lie where no filter can read them, and falls back to `clone`
    // only where the kernel has no `clone3`.
    let unknown = [(sys::SYS_clone3, Vec::new())].into();
    let no_clone3 = SeccompFilter::new(unknown, SeccompAction::Allow, refuse(sys::ENOSYS), arch)?;
    [no_clone3, allow_list].into_iter().map(|filter| Ok(hex(&BpfProgram::try_from(filter)?))).collect()
}

fn refuse(error: i32) -> SeccompAction {
    SeccompAction::Errno(error.unsigned_abs())
}

fn hex(program: &BpfProgram) -> String {
    let byte = |byte: u8| format!("{byte:02x}");
    let instruction = |one: &seccompiler::sock_filter| {
        let [low, high] = one.code.to_ne_bytes();
        let [a, b, c, d] = one.k.to_ne_bytes();
        [low, high, one.jt, one.jf, a, b, c, d].map(byte).concat()
    };
    program.iter().map(instruction).collect()
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    for (call, argument, values) in ALLOWED_WITH {
        let of_value = |value: &u64| SeccompRule::new(vec![is(*argument, *value)?]);
        rules.insert(*call, values.iter().map(of_value).collect::<Result<_, BackendError>>()?);
    }
    // Limits may be lowered, but for that of time: who reaches one that is lower looks like one that the system ended.
    let another = || SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, sys::RLIMIT_CPU.into());
    let asks = || SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    let mut limits = Vec::new();
    for process in [0, ITSELF] {
        limits.push(SeccompRule::new(vec![is(0, process)?, another()?])?);
        limits.push(SeccompRule::new(vec![is(0, process)?, asks()?])?);
    }
    rules.insert(sys::SYS_prlimit64, limits);
    let thread = sys::CLONE_THREAD.unsigned_abs().into();
    let is_thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(sys::SYS_clone, vec![SeccompRule::new(vec![is_thread])?]);
    Ok(rules)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// The process that a cell is in its own namespace.
const ITSELF: u64 = 1;

/// Calls that are allowed with some values of one argument: the call, which argument, the values.
const ALLOWED_WITH: &[(i64, u8, &[u64])] = &[
    // To ask whether a file is a terminal, and to have it closed when a program is started.
    (sys::SYS_ioctl, 1, &[0x5401, 0x5413, 0x5450, 0x5451]),
    (sys::SYS_kill, 0, &[ITSELF]),
    (sys::SYS_tgkill, 0, &[ITSELF]),
    // To name memory or a thread, and to ask for the filter and for privileges.
    (sys::SYS_prctl, 0, &[15, 16, 21, 39, 0x5356_4d41]),
];

/// Calls that are allowed whatever they are called with, on every processor.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // memory
    sys::SYS_brk, sys::SYS_madvise, sys::SYS_membarrier, sys::SYS_mincore, sys::SYS_mmap, sys::SYS_mprotect,
    sys::SYS_mremap, sys::SYS_msync, sys::SYS_munmap,
    // files that are open
    sys::SYS_close, sys::SYS_close_range, sys::SYS_copy_file_range, sys::SYS_dup, sys::SYS_dup3, sys::SYS_fallocate,
    sys::SYS_fchdir, sys::SYS_fchmod, sys::SYS_fcntl, sys::SYS_fdatasync, sys::SYS_fstat,
    sys::SYS_fstatfs, sys::SYS_fsync, sys::SYS_ftruncate, sys::SYS_getdents64, sys::SYS_lseek, sys::SYS_pread64,
    sys::SYS_preadv, sys::SYS_pwrite64, sys::SYS_pwritev, sys::SYS_read, sys::SYS_readv, sys::SYS_sendfile,
    sys::SYS_write, sys::SYS_writev,
    // files by their names
    sys::SYS_chdir, sys::SYS_faccessat, sys::SYS_faccessat2, sys::SYS_fchmodat, sys::SYS_getcwd, sys::SYS_linkat,
    sys::SYS_mkdirat, sys::SYS_newfstatat, sys::SYS_openat, sys::SYS_readlinkat, sys::SYS_renameat2, sys::SYS_statfs,
    sys::SYS_statx, sys::SYS_symlinkat, sys::SYS_truncate, sys::SYS_umask, sys::SYS_unlinkat, sys::SYS_utimensat,
    // waiting
    sys::SYS_clock_getres, sys::SYS_clock_gettime, sys::SYS_clock_nanosleep, sys::SYS_epoll_create1,
    sys::SYS_epoll_ctl, sys::SYS_epoll_pwait, sys::SYS_eventfd2, sys::SYS_futex, sys::SYS_getitimer,
    sys::SYS_gettimeofday, sys::SYS_nanosleep, sys::SYS_pipe2, sys::SYS_ppoll, sys::SYS_pselect6, sys::SYS_sched_yield,
    sys::SYS_setitimer, sys::SYS_times,
    // threads, signals, the end
    sys::SYS_clone3, sys::SYS_exit, sys::SYS_exit_group, sys::SYS_get_robust_list, sys::SYS_restart_syscall,
    sys::SYS_rseq, sys::SYS_rt_sigaction, sys::SYS_rt_sigpending, sys::SYS_rt_sigprocmask, sys::SYS_rt_sigreturn,
    sys::SYS_rt_sigsuspend, sys::SYS_rt_sigtimedwait, sys::SYS_set_robust_list, sys::SYS_set_tid_address,
    sys::SYS_sigaltstack, sys::SYS_wait4, sys::SYS_waitid,
    // who and where this is
    sys::SYS_getcpu, sys::SYS_getegid, sys::SYS_geteuid, sys::SYS_getgid, sys::SYS_getgroups, sys::SYS_getpgid,
    sys::SYS_getpid, sys::SYS_getppid, sys::SYS_getpriority, sys::SYS_getrandom, sys::SYS_getresgid, sys::SYS_getresuid,
    sys::SYS_getrusage, sys::SYS_getsid, sys::SYS_gettid, sys::SYS_getuid, sys::SYS_sched_getaffinity, sys::SYS_sysinfo,
    sys::SYS_uname, sys::SYS_capget,
];

/// The older names of some of these calls, which only this processor has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = &[
    sys::SYS_access, sys::SYS_alarm, sys::SYS_arch_prctl, sys::SYS_chmod, sys::SYS_creat, sys::SYS_dup2,
    sys::SYS_epoll_wait, sys::SYS_getpgrp, sys::SYS_getrlimit, sys::SYS_link, sys::SYS_lstat, sys::SYS_mkdir,
    sys::SYS_open, sys::SYS_pause, sys::SYS_pipe, sys::SYS_poll, sys::SYS_readlink, sys::SYS_rename,
    sys::SYS_renameat, sys::SYS_rmdir, sys::SYS_select, sys::SYS_stat, sys::SYS_symlink,
    sys::SYS_time, sys::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[i64] = &[sys::SYS_renameat];
#[cfg(target_arch = "riscv64")]
const ALLOWED_HERE: &[i64] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_short_enough_for_the_kernel() {
        const MOST_INSTRUCTIONS: usize = 4096;
        for filter in filters().unwrap() {
            assert!(filter.len() % 16 == 0 && filter.len() / 16 < MOST_INSTRUCTIONS, "{} digits", filter.len());
        }
    }

    #[test]
    fn what_harms_others_is_not_on_the_list() {
        let rules = rules().unwrap();
        for (name, call) in [
            ("execve", sys::SYS_execve),
            ("socket", sys::SYS_socket),
            ("ptrace", sys::SYS_ptrace),
            ("mount", sys::SYS_mount),
            ("unshare", sys::SYS_unshare),
            ("bpf", sys::SYS_bpf),
            ("io_uring_setup", sys::SYS_io_uring_setup),
            ("keyctl", sys::SYS_keyctl),
            ("flock", sys::SYS_flock),
            ("process_vm_readv", sys::SYS_process_vm_readv),
        ] {
            assert!(!rules.contains_key(&call), "{name}");
        }
    }
}
