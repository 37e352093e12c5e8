//! Runs the Python programs that a model wrote, and trusts none of them.
//!
//! Every program has two processes. The one, the *subject*, has its code and nothing else. The other, the *judge*, has
//! the tests: it asks the subject for what they call, and gets plain values back, which it compares. A program never
//! sees a test, and the verdict is made where it cannot reach.
//!
//! Both are *cells*: on Linux, processes with namespaces of their own, a root that holds Python's library and an empty
//! scratch folder, no privileges, a Landlock ruleset and a seccomp filter, and limits of time, memory, threads and files.
//! A *warm parent*, an interpreter with its modules loaded, forks them in milliseconds. Where a wall cannot be put up,
//! nothing is graded. [The decision](https://github.com/t2-rs/t2/blob/main/docs/decisions/0016-a-sandbox-that-holds.md)
//! says what holds what.

#[cfg(unix)]
mod batch;
#[cfg(unix)]
mod cell;
mod error;
#[cfg(unix)]
mod python;
#[cfg(unix)]
mod trial;
#[cfg(unix)]
mod walls;
#[cfg(unix)]
mod warm;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::SandboxError;

/// What a program must pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Tests {
    /// Trusted Python that runs on the tests' side before them: imports, and the helpers that the question itself gives.
    pub prelude: String,
    /// Python that raises unless the program is right: asserts, or functions and a call of them.
    ///
    /// A name that neither this, nor the prelude, nor Python defines is the program's. What it is called with and what
    /// comes back goes by value; what is no plain value stays there, and is reached from here.
    pub code: String,
    /// Names that mean the program's own function even where the prelude defines them.
    pub entry_points: Vec<String>,
}

impl Tests {
    /// Asserts, one an element.
    pub fn asserts(lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(Into::into).collect();
        Self { code: lines.join("\n"), ..Self::default() }
    }
}

/// A program and what it must pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// Python source, usually one function. It runs as the module `program`, so not as `__main__`.
    pub code: String,
    /// What it must pass.
    pub tests: Tests,
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Its tests ran to the end.
    Passed,
    /// They did not.
    Failed {
        /// What went wrong, for people.
        why: String,
    },
}

impl Outcome {
    /// Whether the program passed its tests.
    pub fn is_passed(&self) -> bool {
        *self == Self::Passed
    }

    #[cfg(unix)]
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into() }
    }
}

/// What stands between a program and the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Walls {
    /// Namespaces, an empty root, no privileges, Landlock, seccomp and limits. On Linux alone; elsewhere nothing is run.
    #[default]
    All,
    /// Limits of time, memory and files, and nothing else: a program can read and write what its user can. Not on
    /// Windows, which has no such limits.
    None,
}

/// What a program may use up. Its tests, in their own process, may use as much again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time on a processor. It decides about slow programs, so that a busy machine changes no verdict.
    pub cpu_seconds: u64,
    /// Time that passes, from when a program is sent until its verdict: for programs that wait.
    pub wall: Duration,
    /// Address space, in bytes, the interpreter's own included.
    pub memory_bytes: u64,
    /// The stack, in bytes.
    pub stack_bytes: u64,
    /// Processes and threads, the cell itself and its keeper included. No program may start a process.
    pub threads: u64,
    /// Files open at a time.
    pub open_files: u64,
    /// What the scratch folder holds, in bytes.
    pub scratch_bytes: u64,
    /// Files and folders in the scratch folder.
    pub scratch_files: u64,
    /// The largest message between a program and its tests, in bytes: what one call takes or gives.
    pub message_bytes: u64,
    /// All messages between a program and its tests, in bytes.
    pub traffic_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            cpu_seconds: 5,
            wall: Duration::from_secs(15),
            memory_bytes: 512 * MIB,
            stack_bytes: 8 * MIB,
            threads: 64,
            open_files: 64,
            scratch_bytes: 16 * MIB,
            scratch_files: 1024,
            message_bytes: 16 * MIB,
            traffic_bytes: 64 * MIB,
        }
    }
}

/// How programs are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// What stands between a program and the machine.
    pub walls: Walls,
    /// What a program may use up.
    pub limits: Limits,
    /// The interpreter; `None` is the `python3` on the `PATH`. It must be Python 3.9 or newer.
    pub python: Option<PathBuf>,
    /// How many programs run at a time, at most 256; `None` is one per processor.
    pub workers: Option<usize>,
}

/// Runs programs, many at a time. It keeps its warm parent between batches, and ends it when dropped.
pub struct Sandbox {
    #[cfg_attr(not(unix), expect(dead_code, reason = "nothing is run here, whatever is configured"))]
    config: SandboxConfig,
    #[cfg(unix)]
    parent: batch::Parent,
}

impl Sandbox {
    /// A sandbox that starts nothing before the first batch.
    pub fn new(config: SandboxConfig) -> Self {
        Self {
            config,
            #[cfg(unix)]
            parent: batch::Parent::default(),
        }
    }

    /// What came of each program, in order. Equal programs are run once.
    ///
    /// Two more programs are run with them, one that is right and one that is wrong. Only if these two are graded so do
    /// the other verdicts count.
    ///
    /// # Errors
    ///
    /// [`SandboxError`] when a wall could not be put up, or when the programs could not be run as they should be. Then
    /// none of them is graded.
    pub fn run(&self, programs: &[Program]) -> Result<Vec<Outcome>, SandboxError> {
        #[cfg(unix)]
        return batch::run(&self.config, &self.parent, programs);
        #[cfg(not(unix))]
        match programs {
            [] => Ok(Vec::new()),
            _ => Err(SandboxError::Unsupported { system: std::env::consts::OS.into(), way_out: error::ONLY_UNIX }),
        }
    }
}

/// The sandbox of this process that has these walls, with the default limits.
pub fn shared(walls: Walls) -> &'static Sandbox {
    static WALLED: OnceLock<Sandbox> = OnceLock::new();
    static OPEN: OnceLock<Sandbox> = OnceLock::new();
    let shared = match walls {
        Walls::All => &WALLED,
        Walls::None => &OPEN,
    };
    shared.get_or_init(|| Sandbox::new(SandboxConfig { walls, ..SandboxConfig::default() }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// True, with a note, on a machine without Python, and on one for which there is no sandbox.
    pub(crate) fn python_is_missing() -> bool {
        let missing = shared(Walls::All)
            .run(&[Program::default()])
            .err()
            .filter(|e| matches!(e, SandboxError::NoPython { .. } | SandboxError::Unsupported { .. }));
        if let Some(error) = &missing {
            println!("skipped: {error}");
        }
        missing.is_some()
    }
}
