//! Bringing a program before the sandbox, one test at a time.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use t2_task::sandbox::{Limits, Outcome, Program, Sandbox, SandboxConfig, SandboxError, Tests, Walls};

/// The time that a program of these tests may take.
pub(crate) const WALL: Duration = Duration::from_secs(2);

/// The sandbox of all tests here, for the one who holds it. Whoever starts processes or counts them holds it, also where
/// it is not what runs them: what is left of them is looked for afterwards.
pub(crate) fn alone() -> MutexGuard<'static, Sandbox> {
    static SANDBOX: OnceLock<Mutex<Sandbox>> = OnceLock::new();
    let sandbox = SANDBOX.get_or_init(|| Mutex::new(Sandbox::new(strict())));
    sandbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Limits that a program which does nothing but wait reaches soon.
pub(crate) fn strict() -> SandboxConfig {
    let limits = Limits { cpu_seconds: 1, wall: WALL, ..Limits::default() };
    let walls = if cfg!(target_os = "linux") { Walls::All } else { Walls::None };
    SandboxConfig { walls, limits, ..SandboxConfig::default() }
}

/// A program with tests that nothing is needed for.
pub(crate) fn program(code: &str, tests: &str) -> Program {
    Program { code: code.into(), tests: Tests::asserts([tests]) }
}

/// True, with a note, on a machine without Python, and on one for which there is no sandbox. Whatever else is wrong, the tests are there to say.
pub(crate) fn python_is_missing() -> bool {
    let missing = alone()
        .run(&[program("", "")])
        .err()
        .filter(|e| matches!(e, SandboxError::NoPython { .. } | SandboxError::Unsupported { .. }));
    if let Some(error) = &missing {
        println!("skipped: {error}");
    }
    missing.is_some()
}

/// Why `program` failed, or nothing where it passed.
pub(crate) fn failure(sandbox: &Sandbox, program: Program) -> Option<String> {
    match sandbox.run(&[program]).unwrap().remove(0) {
        Outcome::Passed => None,
        Outcome::Failed { why } => Some(why),
    }
}
