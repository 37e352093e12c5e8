//! A cell as seen from here: the channel to it, and the leash that it lives on.

use std::fmt;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;

use super::error::SandboxError;
use super::warm::Warm;

/// What a cell is for, by the byte that the warm parent knows it by.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub(super) enum Role {
    /// Runs the tests.
    Judge = b'j',
    /// Runs the program.
    Subject = b's',
    /// Tries the walls.
    Probe = b'p',
}

/// How long a cell may take to be there, or to be gone. A fork takes milliseconds; this is for a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process takes from closing its files to its end, on a machine that is busy.
const LAST_MOMENTS: Duration = Duration::from_millis(500);
/// The largest report on the end of a cell.
const MOST_REPORTED: u64 = 1 << 16;

/// A message, as it is on a channel: a tag, and what follows.
pub(super) struct Frame {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Lost {
    /// The time was up.
    Late,
    /// The other side is gone.
    Gone(io::Error),
    /// The message is longer than may be.
    Long { bytes: u64, most: u64 },
    /// Not a message: a wall could not be put up.
    Refused(SandboxError),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(f, "it did not answer in time"),
            Self::Gone(error) => write!(f, "it is gone ({error})"),
            Self::Long { bytes, most } => write!(f, "it sent {bytes} bytes at once, at most {most} are allowed"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl Lost {
    /// The error for a cell that could not be had.
    pub(super) fn into_error(self, warm: &Warm) -> SandboxError {
        match self {
            Self::Refused(error) => error,
            lost => warm.broken("starting a process", &lost),
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    wall: String,
    why: String,
}

impl Frame {
    /// The error that a message about a missing wall stands for.
    pub(super) fn refusal(&self) -> SandboxError {
        match serde_json::from_slice::<Refusal>(&self.body) {
            Ok(Refusal { wall, why }) => SandboxError::wall(&wall, &why),
            Err(_) => SandboxError::broken("starting", String::from_utf8_lossy(&self.body)),
        }
    }

    /// Like [`Frame::refusal`], for the first of a list.
    pub(super) fn first_refusal(&self) -> SandboxError {
        match serde_json::from_slice::<Vec<Refusal>>(&self.body).as_deref() {
            Ok([Refusal { wall, why }, ..]) => SandboxError::wall(wall, why),
            _ => SandboxError::broken("trying its own walls", String::from_utf8_lossy(&self.body)),
        }
    }
}

/// How a cell ended, in its keeper's words.
#[derive(Debug, Deserialize)]
pub(super) struct Ending {
    /// What `wait` said.
    pub status: i32,
    /// Time on a processor.
    pub cpu_seconds: f64,
    /// Whether it ended before it was ended.
    #[serde(skip)]
    pub by_itself: bool,
}

/// A cell. Dropping it ends it.
pub(super) struct Cell {
    channel: UnixStream,
    leash: UnixStream,
}

impl Cell {
    pub(super) fn new(channel: UnixStream, leash: UnixStream) -> Self {
        Self { channel, leash }
    }

    /// Waits until the walls stand, or says which one does not. Nothing may be sent before.
    pub(super) fn ready(&mut self, deadline: Instant) -> Result<(), Lost> {
        match self.receive(MOST_REPORTED, deadline) {
            Ok(Frame { tag: b'r', .. }) => Ok(()),
            Ok(frame) => Err(Lost::Refused(frame.refusal())),
            // The keeper knows why there is no cell.
            Err(lost) => match self.report(PATIENCE) {
                Ok(frame) if frame.tag == b'!' => Err(Lost::Refused(frame.refusal())),
                _ => Err(lost),
            },
        }
    }

    pub(super) fn send(&mut self, tag: u8, body: &[u8], deadline: Instant) -> Result<(), Lost> {
        Line::new(&mut self.channel).send(tag, body, deadline)
    }

    pub(super) fn receive(&mut self, most: u64, deadline: Instant) -> Result<Frame, Lost> {
        Line::new(&mut self.channel).receive(most, deadline)
    }

    /// Ends the cell, if it has not ended, and waits until nothing of it is left. One whose channel came to its end is
    /// `gone`, and is given the time to end by itself.
    pub(super) fn end(mut self, gone: bool) -> Result<Ending, Lost> {
        let last = if gone { self.report(LAST_MOMENTS).ok() } else { None };
        let by_itself = last.is_some();
        let frame = match last {
            Some(frame) => frame,
            None => {
                // An error means that the keeper is gone already, which the report will show.
                let _ = self.leash.shutdown(Shutdown::Write);
                self.report(PATIENCE)?
            }
        };
        match serde_json::from_slice(&frame.body) {
            Ok(ending) if frame.tag == b'e' => Ok(Ending { by_itself, ..ending }),
            _ => Err(Lost::Refused(frame.refusal())),
        }
    }

    fn report(&mut self, patience: Duration) -> Result<Frame, Lost> {
        Line::new(&mut self.leash).receive(MOST_REPORTED, Instant::now() + patience)
    }
}

/// A socket that messages go over, each within a deadline.
pub(super) struct Line<'a>(&'a mut UnixStream);

impl<'a> Line<'a> {
    pub(super) fn new(socket: &'a mut UnixStream) -> Self {
        Self(socket)
    }

    /// Writes a frame: its length in four bytes, its tag, its body.
    pub(super) fn send(&mut self, tag: u8, body: &[u8], deadline: Instant) -> Result<(), Lost> {
        let most = u64::from(u32::MAX - 1);
        let length = u32::try_from(body.len() + 1).map_err(|_| Lost::Long { bytes: body.len() as u64, most })?;
        let head = [&length.to_le_bytes()[..], &[tag]].concat();
        for mut left in [&head[..], body] {
            while !left.is_empty() {
                self.0.set_write_timeout(Some(until(deadline)?)).map_err(Lost::Gone)?;
                let written = retried(self.0.write(left))?;
                left = &left[written..];
            }
        }
        Ok(())
    }

    /// Reads a frame whose body has `most` bytes or fewer.
    pub(super) fn receive(&mut self, most: u64, deadline: Instant) -> Result<Frame, Lost> {
        let mut head = [0; 5];
        self.fill(&mut head, deadline)?;
        let [a, b, c, d, tag] = head;
        let bytes = u64::from(u32::from_le_bytes([a, b, c, d])).saturating_sub(1);
        if bytes > most {
            return Err(Lost::Long { bytes, most });
        }
        let mut body = vec![0; usize::try_from(bytes).map_err(|_| Lost::Long { bytes, most })?];
        self.fill(&mut body, deadline)?;
        Ok(Frame { tag, body })
    }

    /// Reads a byte, and the files that come with it.
    pub(super) fn receive_files(&mut self, deadline: Instant) -> Result<(u8, Vec<OwnedFd>), Lost> {
        self.0.set_read_timeout(Some(until(deadline)?)).map_err(Lost::Gone)?;
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut byte)];
        let read =
            recvmsg(&*self.0, into, &mut attached, RecvFlags::CMSG_CLOEXEC).map_err(|error| lost(error.into()))?;
        let files = attached.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let files = files.collect();
        if read.bytes == 0 { Err(ended()) } else { Ok((byte[0], files)) }
    }

    fn fill(&mut self, mut left: &mut [u8], deadline: Instant) -> Result<(), Lost> {
        while !left.is_empty() {
            self.0.set_read_timeout(Some(until(deadline)?)).map_err(Lost::Gone)?;
            let read = match self.0.read(left) {
                Ok(0) => return Err(ended()),
                read => retried(read)?,
            };
            left = &mut left[read..];
        }
        Ok(())
    }
}

/// The time until `deadline`, which is not none.
fn until(deadline: Instant) -> Result<Duration, Lost> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Lost::Late) } else { Ok(left) }
}

/// How far a call got: nowhere, where it was only interrupted.
fn retried(result: io::Result<usize>) -> Result<usize, Lost> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        result => result.map_err(lost),
    }
}

fn lost(error: io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Lost::Late,
        _ => Lost::Gone(error),
    }
}

fn ended() -> Lost {
    Lost::Gone(io::ErrorKind::UnexpectedEof.into())
}
