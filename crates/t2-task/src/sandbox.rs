//! Runs the Python programs that a model wrote, many in one go.
//!
//! One `python3` child runs `sandbox/driver.py`, which forks for each program and takes away its time, memory, files
//! and processes. Starting an interpreter takes some 20 ms and a fork 1 ms, so a batch costs little more than one
//! program. A program passes when its code and all its checks ran to the end: leaving early, with whatever exit code,
//! is not passing. A sandbox that is broken would grade everything wrong, so a limit that cannot be set is an error,
//! and two programs whose verdicts are known are graded with every batch.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::TaskError;

const DRIVER: &str = include_str!("sandbox/driver.py");

/// What a program must pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tests {
    /// Python that runs before the tests: imports, and the functions that the question itself gives.
    pub prelude: String,
    /// Python that raises unless the program is right: asserts, or functions and a call of them.
    pub code: String,
    /// Names that mean the program's own functions even where the prelude defines them.
    pub entry_points: Vec<String>,
}

impl Tests {
    /// Asserts, one an element.
    pub fn asserts(lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(Into::into).collect();
        Self { code: lines.join("\n"), ..Self::default() }
    }
}

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
    /// Why the program did not pass.
    #[serde(default)]
    why: String,
    /// Why the program could not be started under its limits.
    fault: Option<String>,
}

/// How the driver is run.
#[derive(Clone, Copy)]
struct Interpreter<'a> {
    /// The interpreter and its options; `-c` and the driver follow.
    command: &'a [&'a str],
    /// How many programs run at a time.
    workers: usize,
    /// How long the driver may be silent before it counts as stuck; a program takes 30 s at most.
    patience: Duration,
}

/// The interpreter on the PATH, isolated from the user's site packages, environment and modules.
const PYTHON: &[&str] = &["python3", "-I", "-S"];
const PATIENCE: Duration = Duration::from_secs(90);

/// Whether each program passes its checks. Equal programs are run once.
///
/// Two more programs are run with them, one that is right and one that is wrong. Only if these two are graded so do the
/// other verdicts count.
///
/// # Errors
///
/// [`TaskError::NoPython`] when there is no `python3` on the PATH, [`TaskError::Sandbox`] when the driver failed,
/// [`TaskError::Untrusted`] when its verdicts mean nothing.
pub fn passed(programs: &[Program]) -> Result<Vec<bool>, TaskError> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    passed_by(Interpreter { command: PYTHON, workers, patience: PATIENCE }, programs)
}

fn passed_by(interpreter: Interpreter<'_>, programs: &[Program]) -> Result<Vec<bool>, TaskError> {
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
    let verdicts = verdicts(interpreter, &unique)?;
    Ok(programs.iter().map(|program| verdicts[ids[program]]).collect())
}

/// A program that is right, and the same one with a last check that fails.
fn canaries() -> [Program; 2] {
    let code = "import collections, functools, itertools, math, random, re\n\
                class Box:\n    def __init__(self, x):\n        self.x = x\n\
                def f(x):\n    return math.floor(Box(x).x) + 3\n";
    ["assert f(1) == 4", "assert f(1) == 5"]
        .map(|check| Program { code: code.into(), checks: vec!["assert f(-3) == 0".into(), check.into()] })
}

fn verdicts(interpreter: Interpreter<'_>, programs: &[&Program]) -> Result<Vec<bool>, TaskError> {
    let canaries = canaries();
    let batch: Vec<&Program> = canaries.iter().chain(programs.iter().copied()).collect();
    let failed = |graded, detail| TaskError::Sandbox { graded, asked: programs.len(), detail };
    let mut driver = Driver::start(interpreter, requests(&batch)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TaskError::NoPython,
        _ => failed(0, error.to_string()),
    })?;
    let mut verdicts = vec![None; batch.len()];
    let graded = |verdicts: &[Option<bool>]| match verdicts.split_at(canaries.len()) {
        (canaries, programs) if canaries.iter().all(Option::is_some) => programs.iter().flatten().count(),
        _ => 0,
    };
    loop {
        match driver.lines.recv_timeout(interpreter.patience) {
            Ok(line) => {
                let Ok(verdict) = serde_json::from_slice::<Verdict>(&line) else { continue };
                trust(&verdict)?;
                if let Some(slot) = verdicts.get_mut(verdict.id) {
                    *slot = Some(verdict.ok);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let detail = format!("no program ended within {} s", interpreter.patience.as_secs_f32());
                return Err(failed(graded(&verdicts), detail));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let complete: Option<Vec<bool>> = verdicts.iter().copied().collect();
    let complete = complete.ok_or_else(|| failed(graded(&verdicts), driver.complaint()))?;
    Ok(complete[canaries.len()..].to_vec())
}

/// Says what is wrong with the sandbox if a canary, one of the first two programs, got the wrong verdict, or if any
/// program could not be run.
fn trust(verdict: &Verdict) -> Result<(), TaskError> {
    let fault = match (&verdict.fault, verdict.id, verdict.ok) {
        (Some(fault), ..) => format!("a program could not be started ({fault})"),
        (None, 0, false) => format!("a program that is right was graded wrong ({})", verdict.why),
        (None, 1, true) => {
            "a program that is wrong was graded right (does python3 pass over `assert`, as with -O?)".into()
        }
        _ => return Ok(()),
    };
    Err(TaskError::Untrusted { fault })
}

fn requests(programs: &[&Program]) -> Vec<u8> {
    let line = |(id, program)| {
        let line = serde_json::to_string(&Request { id, program }).expect("strings can be written as JSON");
        line + "\n"
    };
    programs.iter().copied().enumerate().map(line).collect::<String>().into_bytes()
}

/// A running driver. It is ended when this is dropped.
struct Driver {
    child: Child,
    lines: Receiver<Vec<u8>>,
    sent: Option<JoinHandle<io::Result<()>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Driver {
    /// Starts a driver. Each pipe has a thread of its own, so that a driver which neither reads nor writes does not
    /// block the caller.
    fn start(interpreter: Interpreter<'_>, requests: Vec<u8>) -> io::Result<Self> {
        let [program, args @ ..] = interpreter.command else {
            return Err(io::Error::other("there is no command to start"));
        };
        let mut command = Command::new(program);
        command.args(args).args(["-c", DRIVER, &interpreter.workers.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at a terminal goes to the whole group: it is the caller's to decide what becomes of the driver.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let piped = "was piped when the child was started";
        let mut stdin = child.stdin.take().expect(piped);
        let stdout = child.stdout.take().expect(piped);
        let mut stderr = child.stderr.take().expect(piped);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let sent = thread::spawn(move || stdin.write_all(&requests));
        let stderr = thread::spawn(move || {
            let mut complaints = Vec::new();
            // What was read before an error is still worth showing.
            let _ = stderr.read_to_end(&mut complaints);
            complaints
        });
        Ok(Self { child, lines, sent: Some(sent), stderr: Some(stderr) })
    }

    /// Why the driver ended early: its last line on standard error, or what the system says.
    fn complaint(&mut self) -> String {
        // The driver has closed its output and should have ended; this makes sure of it.
        let _ = self.child.kill();
        let status = self.child.wait();
        let complaints = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let complaints = String::from_utf8_lossy(&complaints).into_owned();
        let sent = self.sent.take().and_then(|thread| thread.join().ok());
        match (complaints.lines().rfind(|line| !line.trim().is_empty()), sent, status) {
            (Some(line), ..) => line.trim().into(),
            (None, Some(Err(error)), _) | (None, _, Err(error)) => error.to_string(),
            (None, _, Ok(status)) => status.to_string(),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // To kill a driver that has ended is an error, and does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        (
            "dataclass with postponed annotations",
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n\
             def f(x):\n    return P(x).x + 3",
            true,
        ),
        (
            "type hints",
            "import typing\nclass P:\n    x: 'Q'\nclass Q: pass\n\
             def f(x):\n    return x + 3 * (typing.get_type_hints(P)['x'] is Q)",
            true,
        ),
        (
            "pickles its own class",
            "import pickle\nclass P: pass\ndef f(x):\n    p = P()\n    p.x = x\n    \
             return pickle.loads(pickle.dumps(p)).x + 3",
            true,
        ),
        (
            "asks for input of its own",
            "import io, sys\ndef f(x):\n    sys.stdin = io.StringIO('3')\n    return x + int(input())",
            true,
        ),
        ("sets a variable", "import os\nos.environ['A'] = '3'\ndef f(x):\n    return x + int(os.environ['A'])", true),
        ("waits a little", "import time\ntime.sleep(0.001)\ndef f(x):\n    return x + 3", true),
        (
            "has a main guard",
            "def f(x):\n    return x + 3\nif __name__ == '__main__':\n    print(f(int(input())))",
            true,
        ),
        (
            "writes where it should not",
            "import os\nfor n in range(3, 9):\n    try: os.write(n, b'x')\n    except OSError: pass",
            false,
        ),
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

    #[cfg(unix)]
    #[test]
    fn ctrl_c_at_a_terminal_does_not_reach_the_driver() {
        if python_is_missing() {
            return;
        }
        // It goes to the group in the foreground: the driver leads one of its own.
        let leads = program("import os", &["assert os.getpgid(os.getppid()) == os.getppid()"]);
        assert_eq!(passed(&[leads]).unwrap(), [true]);
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

    /// The interpreter on the PATH with other arguments, and little patience.
    fn interpreter<'a>(command: &'a [&'a str]) -> Interpreter<'a> {
        Interpreter { command, workers: 4, patience: Duration::from_secs(20) }
    }

    #[test]
    fn ordinary_programs_pass_under_any_interpreter() {
        #[track_caller]
        fn check(command: &[&str], workers: usize, code: &str) {
            let programs: Vec<_> = (0..workers).map(|n| program(code, &[&format!("assert {n} >= 0")])).collect();
            let verdicts = passed_by(Interpreter { workers, ..interpreter(command) }, &programs).unwrap();
            assert_eq!(verdicts, vec![true; workers], "{command:?}, {code:?}");
        }
        if python_is_missing() {
            return;
        }
        let cache = tempfile::tempdir().unwrap();
        let prefix = format!("pycache_prefix={}", cache.path().display());
        let imports = "import time\ntime.sleep(0.1)\nimport fractions, statistics, queue";
        check(PYTHON, 40, imports);
        check(&["python3", "-I", "-S", "-X", &prefix], 1, imports);
        let ascii = ["env", "LC_ALL=C", "python3", "-I", "-S", "-X", "utf8=0"];
        check(&ascii, 1, "assert len('é→') == 2\nprint('é→')");
    }

    #[test]
    fn a_sandbox_that_cannot_be_trusted_grades_nothing() {
        #[track_caller]
        fn check(command: &[&str], expected: &[&str]) {
            let error = passed_by(interpreter(command), &[program("x = 1", &[])]).unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{command:?}: {error}");
        }
        if python_is_missing() {
            return;
        }
        /// Runs the driver after `first`.
        fn after(first: &str) -> String {
            format!("import builtins, os, resource, sys\n{first}\nexec(sys.argv[2])")
        }
        let refuses = after("def no(*_): raise ValueError('above the maximum')\nresource.setrlimit = no");
        let ignores = after("resource.setrlimit = lambda *_: None");
        let forgets = after("old = builtins.compile\nbuiltins.compile = lambda *_: old('1 / 0', 'x', 'exec')");
        let dies = after("os.setsid = lambda: os.kill(os.getpid(), 9)");
        for (command, expected) in [
            (&["python3", "-I", "-S", "-c", &refuses][..], &["RLIMIT_CPU cannot be set to 2", "above the maximum"][..]),
            (&["python3", "-I", "-S", "-c", &ignores], &["RLIMIT_CPU was set to 2 and is"]),
            (&["python3", "-I", "-S", "-c", &forgets], &["right was graded wrong", "ZeroDivisionError"]),
            (&["python3", "-I", "-S", "-c", &dies], &["could not be started", "SIGKILL"]),
            (&["python3", "-I", "-S", "-O"], &["wrong was graded right"]),
        ] {
            check(command, &[expected, &["nothing was graded", "Python 3.8"]].concat());
        }
    }

    #[test]
    fn a_driver_that_fails_or_hangs_is_an_error() {
        #[track_caller]
        fn check(script: &str, patience: Duration, expected: &str) {
            let command = ["sh", "-c", script, "sh"];
            let long = program(&"x = 1\n".repeat(100_000), &[]);
            let error = passed_by(Interpreter { patience, ..interpreter(&command) }, &[long]).unwrap_err().to_string();
            assert!(error.contains("graded 0 of 1 programs") && error.contains(expected), "{script}: {error}");
        }
        let long = Duration::from_secs(20);
        check("exec tail -f /dev/null", Duration::from_millis(50), "no program ended within 0.05 s");
        check("echo it is broken >&2; exit 3", long, "it is broken");
        check("cat > /dev/null; exit 3", long, "exit status: 3");
        check("echo '{\"id\": 2, \"ok\": true}' | cat; cat > /dev/null", long, "exit status: 0");
    }
}
