//! The warm parent: a Python process, in jail from its start, that forks cells on request.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;

use super::cell::{Cell, Line, Role};
use super::error::SandboxError;
use super::python::{ISOLATED, Python};
use super::{SandboxConfig, Walls, walls};

/// The harness, each part with the name that the others import it by, and after what it imports itself.
const BOOT: &str = include_str!("harness/boot.py");
const HARNESS: &[(&str, &str)] = &[
    ("syscalls", include_str!("harness/syscalls.py")),
    ("wire", include_str!("harness/wire.py")),
    ("judge", include_str!("harness/judge.py")),
    ("subject", include_str!("harness/subject.py")),
    ("probe", include_str!("harness/probe.py")),
    ("cell", include_str!("harness/cell.py")),
    ("keeper", include_str!("harness/keeper.py")),
    ("jail", include_str!("harness/jail.py")),
    ("warm", include_str!("harness/warm.py")),
];
/// Long enough for a busy machine to load an interpreter.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that is told to end may take to end its cells and to remove what they wrote.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the warm parent is told first.
#[derive(Serialize)]
struct Orders {
    walls: bool,
    filters: Vec<String>,
    limits: Bounds,
}

/// The limits that the system keeps; time that passes is watched from here.
#[derive(Serialize)]
struct Bounds {
    cpu_seconds: u64,
    memory_bytes: u64,
    stack_bytes: u64,
    threads: u64,
    open_files: u64,
    scratch_bytes: u64,
    scratch_files: u64,
}

/// A running warm parent. It ends, with all of its cells, when this is dropped, or when this process ends.
pub(super) struct Warm {
    pub(super) has_walls: bool,
    control: Mutex<UnixStream>,
    /// The control socket once more, to hang up on a warm parent that somebody is talking to.
    line: UnixStream,
    child: Mutex<Child>,
    /// Its standard error: a socket, which can be read for a time. All its processes hold the other end, so that it
    /// comes to an end with the last of them.
    stderr: UnixStream,
}

impl Warm {
    /// Starts a warm parent, and tries its walls from the inside before anything else is done there.
    pub(super) fn start(python: &Python, config: &SandboxConfig) -> Result<Self, SandboxError> {
        let filters = match config.walls {
            Walls::All => walls::filters()?,
            Walls::None => Vec::new(),
        };
        let starting = |error: io::Error| SandboxError::broken("starting", error);
        let (control, theirs) = UnixStream::pair().map_err(starting)?;
        let line = control.try_clone().map_err(starting)?;
        let (stderr, their_stderr) = UnixStream::pair().map_err(starting)?;
        let child = spawn(python, theirs, their_stderr).map_err(starting)?;
        let has_walls = config.walls == Walls::All;
        let warm = Self { has_walls, control: Mutex::new(control), line, child: Mutex::new(child), stderr };
        warm.settle(config, filters)?;
        if has_walls {
            warm.probe()?;
        }
        Ok(warm)
    }

    /// Asks for a cell.
    pub(super) fn cell(&self, role: Role) -> Result<Cell, SandboxError> {
        let asking = |error: io::Error| self.broken("asking for a process", &error);
        let (channel, their_channel) = UnixStream::pair().map_err(asking)?;
        let (leash, their_leash) = UnixStream::pair().map_err(asking)?;
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        send_files(&control, &[role as u8], &[their_channel.as_fd(), their_leash.as_fd()]).map_err(asking)?;
        Ok(Cell::new(channel, leash))
    }

    /// The error for a warm parent that has stopped working, with its last words.
    pub(super) fn broken(&self, doing: &'static str, detail: &dyn ToString) -> SandboxError {
        // It is of no use any more; whether it ended by itself makes no difference.
        let _ = self.line.shutdown(Shutdown::Both);
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill();
        let said = self.last_words();
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        SandboxError::broken(doing, last.map_or_else(|| detail.to_string(), |line| line.trim().into()))
    }

    /// What was said on standard error, until it comes to its end or the time is up.
    fn last_words(&self) -> String {
        let deadline = Instant::now() + FAREWELL;
        let (mut said, mut part) = (Vec::new(), [0; 4096]);
        while said.len() < 1 << 16 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stderr.set_read_timeout(Some(left)).is_err() {
                break;
            }
            match (&self.stderr).read(&mut part) {
                Ok(0) => break,
                Ok(read) => said.extend_from_slice(&part[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was read before an error is still worth showing.
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Says what is wanted, and waits until the jail stands.
    fn settle(&self, config: &SandboxConfig, filters: Vec<String>) -> Result<(), SandboxError> {
        let deadline = Instant::now() + PATIENCE;
        let broken = |lost: &dyn ToString| self.broken("starting", lost);
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = Orders { walls: config.walls == Walls::All, filters, limits: bounds(config) };
        let orders = serde_json::to_vec(&orders).expect("numbers and strings can be written as JSON");
        let mut line = Line::new(&mut control);
        line.send(b'o', &orders, deadline).map_err(|lost| broken(&lost))?;
        let (said, files) = line.receive_files(deadline).map_err(|lost| broken(&lost))?;
        if said == b'!' {
            return Err(line.receive(1 << 16, deadline).map_or_else(|lost| broken(&lost), |frame| frame.refusal()));
        }
        match config.walls {
            Walls::All => {
                let ruleset = walls::ruleset(files)?;
                send_files(&control, b"l", &[ruleset.as_fd()]).map_err(|error| broken(&error))
            }
            Walls::None => Ok(()),
        }
    }

    /// Has a cell try what no program may do.
    fn probe(&self) -> Result<(), SandboxError> {
        const NOTHING: &[u8] = b"[]";
        let deadline = Instant::now() + PATIENCE;
        let mut cell = self.cell(Role::Probe)?;
        cell.ready(deadline).map_err(|lost| lost.into_error(self))?;
        let asked = cell.send(b'?', b"", deadline).and_then(|()| cell.receive(1 << 16, deadline));
        let found = asked.map_err(|lost| self.broken("trying its own walls", &lost))?;
        cell.end(false).map_err(|lost| lost.into_error(self))?;
        if found.body == NOTHING { Ok(()) } else { Err(found.first_refusal()) }
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        // It ends at the end of its input, and in any case when killed; an error means that it has ended.
        let _ = self.line.shutdown(Shutdown::Both);
        // Nobody wants to know what it says; they end when it and all that it started have ended.
        self.last_words();
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn spawn(python: &Python, control: UnixStream, stderr: UnixStream) -> io::Result<Child> {
    let mut command = Command::new(&python.path);
    command.args(ISOLATED).args(["-c", BOOT]).args(HARNESS.iter().flat_map(|(name, source)| [name, source]));
    command.env_clear().envs(python.library_path.iter().map(|path| ("LD_LIBRARY_PATH", path))).current_dir("/");
    command.stdin(OwnedFd::from(control)).stdout(Stdio::null()).stderr(OwnedFd::from(stderr));
    // Ctrl-C at a terminal goes to the whole group: it is the caller's to decide what becomes of the sandbox.
    command.process_group(0);
    command.spawn()
}

fn bounds(config: &SandboxConfig) -> Bounds {
    let limits = &config.limits;
    Bounds {
        cpu_seconds: limits.cpu_seconds,
        memory_bytes: limits.memory_bytes,
        stack_bytes: limits.stack_bytes,
        threads: limits.threads,
        open_files: limits.open_files,
        scratch_bytes: limits.scratch_bytes,
        scratch_files: limits.scratch_files,
    }
}

/// Sends a byte, and open files with it.
fn send_files(mut socket: &UnixStream, byte: &[u8; 1], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !attached.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("more files than there is room for"));
    }
    sendmsg(socket, &[io::IoSlice::new(byte)], &mut attached, SendFlags::NOSIGNAL)?;
    socket.flush()
}
