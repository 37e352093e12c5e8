//! Why programs could not be graded.

/// Windows has neither the walls nor the limits.
#[cfg(not(unix))]
pub(super) const ONLY_UNIX: &str = "use Linux, for example in WSL 2 or a virtual machine";

/// Why a batch of programs was not graded. No program is graded by halves: what is missing is missing for all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// No Python interpreter was found.
    #[error(
        "{looked_for} was not found, so programs cannot be graded; install Python 3.9 or newer (`apt install python3`), or \
         put it on the PATH"
    )]
    NoPython {
        /// What was looked for.
        looked_for: String,
    },
    /// What was found is no Python that can be used.
    #[error("{python} cannot run programs: {problem}; the sandbox needs Python 3.9 or newer, with its module ctypes")]
    Python {
        /// The interpreter.
        python: String,
        /// What is wrong with it.
        problem: String,
    },
    /// This system has no walls to put up.
    #[error("programs that a model wrote are not run on {system}: the sandbox is made of what Linux has; {way_out}")]
    Unsupported {
        /// The system.
        system: String,
        /// What to do instead.
        way_out: &'static str,
    },
    /// A wall could not be put up, or does not hold.
    #[error(
        "nothing was graded: the sandbox could not put up the wall `{wall}` ({why}); {way_out}, or accept the risk with \
         --unsafe-code-execution"
    )]
    Wall {
        /// Which wall.
        wall: String,
        /// What the system said.
        why: String,
        /// What usually helps.
        way_out: &'static str,
    },
    /// The interpreter that programs are forked from ended or fell silent.
    #[error("nothing was graded: the sandbox stopped working while {doing}: {detail}; if it happens again, report it")]
    Broken {
        /// What it was asked for.
        doing: &'static str,
        /// What is known of why.
        detail: String,
    },
    /// A program whose verdict is known got another one.
    #[error("nothing was graded, because the sandbox cannot be trusted here: {fault}; try another python3 on the PATH")]
    Untrusted {
        /// What went wrong.
        fault: String,
    },
}

#[cfg(unix)]
impl SandboxError {
    /// The error for a wall that is missing.
    pub(super) fn wall(wall: &str, why: &str) -> Self {
        let way_out = WAYS_OUT.iter().find(|(part, _)| wall.contains(part)).map_or(ELSEWHERE, |(_, way_out)| way_out);
        Self::Wall { wall: wall.into(), why: why.into(), way_out }
    }

    pub(super) fn broken(doing: &'static str, detail: impl ToString) -> Self {
        Self::Broken { doing, detail: detail.to_string() }
    }
}

#[cfg(unix)]
const ELSEWHERE: &str = "use a Linux machine or virtual machine that allows it";
/// A part of a wall's name, and what usually helps.
#[cfg(unix)]
const WAYS_OUT: &[(&str, &str)] = &[
    (
        "namespace",
        "let users make namespaces (`sysctl user.max_user_namespaces`, on Debian `kernel.unprivileged_userns_clone=1`, on \
         Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`; in a container `--security-opt seccomp=unconfined \
         --security-opt apparmor=unconfined`)",
    ),
    (
        "root",
        "let user namespaces mount (in a container `--security-opt apparmor=unconfined`), and mount /proc and /tmp",
    ),
    (
        "Landlock",
        "use Linux 5.13 or newer with Landlock switched on (`landlock` in /sys/kernel/security/lsm, or `lsm=` at boot)",
    ),
    ("seccomp", "use a Linux with seccomp filters, on x86-64, AArch64 or RISC-V"),
    ("limit", "raise the hard limits of this process (`ulimit -H -a` shows them)"),
    ("processes", "let this user have more processes (`ulimit -u`, or the container's limit of processes)"),
];
