//! Runs the Python programs that a model wrote, many in one go.
//!
//! One `python3` child runs `sandbox/driver.py`, which forks for each program and takes away its time, memory, files and
//! processes. Starting an interpreter takes some 20 ms and a fork 1 ms, so a batch costs little more than one
//! program. A program passes when its code and all its checks ran to the end: leaving early, with whatever exit
//! code, is not passing.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::{Child, Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use crate::task::TaskError;

const DRIVER: &str = include_str!("sandbox/driver.py");

/// A program and what it must satisfy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Program {
    /// Python source, usually one function.
    pub code: String,
    /// Python statements run after the code, in the same namespace; usually asserts.
    pub checks: Vec<String>,
}

/// What the driver reads: one of these a line.
#[derive(Serialize)]
struct Request<'a> {
    id: usize,
    #[serde(flatten)]
    program: &'a Program,
}

/// What the driver writes: one of these a line.
#[derive(Deserialize)]
struct Verdict {
    id: usize,
    ok: bool,
}

/// Whether each program passes its checks. Equal programs are run once.
///
/// # Errors
///
/// [`TaskError::NoPython`] when there is no `python3` on the PATH, [`TaskError::Sandbox`] when the driver failed.
pub fn passed(programs: &[Program]) -> Result<Vec<bool>, TaskError> {
    let mut ids: HashMap<&Program, usize> = HashMap::new();
    let mut unique = Vec::new();
    for program in programs {
        ids.entry(program).or_insert_with(|| {
            unique.push(program);
            unique.len() - 1
        });
    }
    if unique.is_empty() {
        return Ok(Vec::new());
    }
    let verdicts = verdicts(&unique)?;
    Ok(programs.iter().map(|program| verdicts[ids[program]]).collect())
}

fn verdicts(programs: &[&Program]) -> Result<Vec<bool>, TaskError> {
    let failed = |graded: usize, detail: String| TaskError::Sandbox { graded, asked: programs.len(), detail };
    let mut child = start().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TaskError::NoPython,
        _ => failed(0, error.to_string()),
    })?;
    let sent = send(&mut child, programs);
    let output = child.wait_with_output().map_err(|error| failed(0, error.to_string()))?;
    let mut verdicts = vec![None; programs.len()];
    let lines = output.stdout.split(|byte| *byte == b'\n');
    for verdict in lines.filter_map(|line| serde_json::from_slice::<Verdict>(line).ok()) {
        if let Some(slot) = verdicts.get_mut(verdict.id) {
            *slot = Some(verdict.ok);
        }
    }
    let graded = verdicts.iter().flatten().count();
    let complete: Option<Vec<bool>> = verdicts.into_iter().collect();
    complete.ok_or_else(|| failed(graded, explain(sent, &output)))
}

/// The interpreter, isolated from the user's site packages, environment and modules.
fn start() -> io::Result<Child> {
    let mut command = Command::new("python3");
    command.args(["-I", "-S", "-c", DRIVER]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Sends all programs and closes the pipe. The driver reads all before it writes, so neither side waits for the other.
fn send(child: &mut Child, programs: &[&Program]) -> io::Result<()> {
    let mut lines = Vec::new();
    for (id, program) in programs.iter().enumerate() {
        serde_json::to_writer(&mut lines, &Request { id, program })?;
        lines.push(b'\n');
    }
    let mut stdin = child.stdin.take().expect("stdin was piped when the child was started");
    stdin.write_all(&lines)
}

fn explain(sent: io::Result<()>, output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty());
    match (last, sent) {
        (Some(line), _) => line.trim().into(),
        (None, Err(error)) => error.to_string(),
        (None, Ok(())) => output.status.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// True, with a note, on a machine without Python.
    pub(crate) fn python_is_missing() -> bool {
        let missing = matches!(passed(&[program("x = 1", &[])]), Err(TaskError::NoPython));
        if missing {
            println!("skipped: {}", TaskError::NoPython);
        }
        missing
    }

    fn program(code: &str, checks: &[&str]) -> Program {
        Program { code: code.into(), checks: checks.iter().map(|check| (*check).into()).collect() }
    }

    const CASES: &[(&str, &str, bool)] = &[
        ("right", "def f(x):\n    return x + 3", true),
        ("wrong", "def f(x):\n    return x - 3", false),
        ("right only once", "def f(x):\n    return 4", false),
        ("imports", "import math, collections, re, itertools\ndef f(x):\n    return math.floor(x) + 3", true),
        ("prints", "def f(x):\n    print(x)\n    return x + 3", true),
        ("no function", "x = 1", false),
        ("empty", "", false),
        ("syntax error", "def f(x)\n    return x + 3", false),
        ("zero byte", "def f(x):\n    return x + 3\0", false),
        ("infinite loop", "def f(x):\n    while True:\n        pass", false),
        ("deep recursion", "def f(x):\n    return f(x)", false),
        ("memory bomb", "def f(x):\n    y = [0] * 10**9\n    return x + 3", false),
        ("fork bomb", "import os\ndef f(x):\n    os.fork()\n    return x + 3", false),
        ("sys.exit", "import sys\nsys.exit(0)", false),
        ("os._exit", "import os\nos._exit(0)", false),
        ("exit in the function", "def f(x):\n    raise SystemExit(0)", false),
        ("writes a file", "def f(x):\n    open('note', 'w').write('x')\n    return x + 3", false),
        ("writes a file by os", "import os\ndef f(x):\n    os.open('note', os.O_CREAT)\n    return x + 3", false),
        ("sleeps", "import time\ntime.sleep(9)\ndef f(x):\n    return x - 3", false),
        ("removes a file", "import os\nos.rmdir('.')\ndef f(x):\n    return x + 3", false),
        ("starts a process", "import os\nos.system('true')\ndef f(x):\n    return x + 3", false),
        ("kills its parent", "import os\nos.kill(os.getppid(), 9)\ndef f(x):\n    return x + 3", false),
        ("opens a socket", "import socket\nsocket.socket()\ndef f(x):\n    return x + 3", false),
    ];

    #[test]
    fn verdicts_fit_the_programs() {
        if python_is_missing() {
            return;
        }
        let programs: Vec<_> =
            CASES.iter().map(|(_, code, _)| program(code, &["assert f(1) == 4", "assert f(-3) == 0"])).collect();
        let passed = passed(&programs).unwrap();
        for ((name, _, expected), passed) in CASES.iter().zip(passed) {
            assert_eq!(passed, *expected, "{name}");
        }
    }

    #[test]
    fn a_large_batch_keeps_its_order() {
        if python_is_missing() {
            return;
        }
        let programs: Vec<_> =
            (0..200).map(|n| program("def f(x):\n    return x % 3", &[&format!("assert f({n}) == 0")])).collect();
        let passed = passed(&programs).unwrap();
        assert!(passed.iter().enumerate().all(|(n, ok)| *ok == (n % 3 == 0)), "{passed:?}");
    }

    #[test]
    fn equal_programs_are_run_once() {
        if python_is_missing() {
            return;
        }
        let slow = program("while True:\n    pass", &[]);
        let started = std::time::Instant::now();
        assert_eq!(passed(&vec![slow; 50]).unwrap(), [false; 50]);
        assert!(started.elapsed().as_secs() < 60, "{:?} for one program of 2 s", started.elapsed());
        assert_eq!(passed(&[]).unwrap(), Vec::<bool>::new());
    }
}
