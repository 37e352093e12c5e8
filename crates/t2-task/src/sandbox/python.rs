//! Finding the interpreter, and asking it once what it is.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::SandboxError;

/// The interpreter that programs run in.
#[derive(Clone, Debug)]
pub(super) struct Python {
    /// The interpreter itself, where what is on the `PATH` is a script that looks for it.
    pub path: PathBuf,
    /// Where it finds its shared libraries, if it has to be told.
    pub library_path: Option<String>,
}

/// Without the user's site packages, environment and modules: what every interpreter here is started with.
pub(super) const ISOLATED: &[&str] = &["-I", "-S", "-B"];

const OLDEST: (u32, u32) = (3, 9);
/// Long enough for a slow disk, and short enough for a person who waits.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK: &str = r#"
import json, os, sys
try:
    import ctypes, resource
    missing = None
except ImportError as error:
    missing = str(error)
print(json.dumps({
    "version": sys.version_info[:2],
    "executable": os.path.realpath(sys.executable),
    "library_path": os.environ.get("LD_LIBRARY_PATH"),
    "missing": missing,
}))
"#;

#[derive(Deserialize)]
struct Answer {
    version: (u32, u32),
    executable: PathBuf,
    library_path: Option<String>,
    missing: Option<String>,
}

/// Finds `configured`, or the `python3` on the `PATH`.
pub(super) fn find(configured: Option<&Path>) -> Result<Python, SandboxError> {
    find_within(configured.unwrap_or(Path::new("python3")), PATIENCE)
}

fn find_within(python: &Path, patience: Duration) -> Result<Python, SandboxError> {
    let unusable = |problem: String| SandboxError::Python { python: python.display().to_string(), problem };
    let said = ask(python, patience).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SandboxError::NoPython { looked_for: python.display().to_string() },
        _ => unusable(error.to_string()),
    })?;
    let answer: Answer = serde_json::from_slice(&said)
        .map_err(|_| unusable(format!("asked for its version it said {:?}", String::from_utf8_lossy(&said))))?;
    match answer {
        Answer { version, .. } if version < OLDEST => {
            Err(unusable(format!("it is Python {}.{}", version.0, version.1)))
        }
        Answer { missing: Some(missing), .. } => Err(unusable(missing)),
        Answer { executable, library_path, .. } => Ok(Python { path: executable, library_path }),
    }
}

/// What the interpreter prints when asked, or an error where it says nothing in time.
fn ask(python: &Path, patience: Duration) -> io::Result<Vec<u8>> {
    answer(Command::new(python).args(ISOLATED).args(["-c", ASK]), patience)
}

/// What a command prints until it closes its output, on a socket: one can be read for a limited time.
fn answer(command: &mut Command, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(Stdio::null()).spawn()?;
    // The command holds the other end too, and with it that there is no end to read.
    command.stdout(Stdio::null());
    let said = read_until(&mut ours, deadline);
    // It has ended or is to end; to kill what has ended does no harm.
    let _ = child.kill();
    let _ = child.wait();
    said.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("it did not answer within {} s", patience.as_secs_f32()))
        }
        _ => error,
    })
}

fn read_until(socket: &mut UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut said, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut part) {
            Ok(0) => return Ok(said),
            Ok(read) => said.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(python: &str, patience: Duration, said: &str) {
        let error = find_within(Path::new(python), patience).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(python), "{python}: {error}");
    }

    #[test]
    fn what_is_no_python_is_an_error_that_says_so() {
        check("no-such-python3", PATIENCE, "was not found");
        check("true", PATIENCE, "it said \"\"");
        check("echo", PATIENCE, "asked for its version it said");
        // No process starts and answers in no time.
        check("true", Duration::ZERO, "did not answer within 0 s");
    }
    #[test]
    fn a_child_that_keeps_the_output_open_is_not_waited_for() {
        let started = Instant::now();
        let patience = Duration::from_millis(50);
        let error = answer(Command::new("sh").args(["-c", "sleep 20 &"]), patience).unwrap_err().to_string();
        assert!(error.contains("did not answer within 0.05 s"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
