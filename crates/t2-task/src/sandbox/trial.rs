//! One program before its judge: what goes to and fro between them, and what comes of it.

use std::time::Instant;

use super::cell::{Cell, Ending, Frame, Lost, Role};
use super::error::SandboxError;
use super::warm::Warm;
use super::{Limits, Outcome, Program};

/// The longest reason that is passed on, in bytes.
const WHY_BYTES: u64 = 4096;

/// Runs a program against its tests.
pub(super) fn run(warm: &Warm, limits: &Limits, program: &Program) -> Result<Outcome, SandboxError> {
    // Both are asked for before either is waited for: they start side by side.
    let mut cells = [warm.cell(Role::Subject)?, warm.cell(Role::Judge)?];
    let there = Instant::now() + super::cell::PATIENCE;
    for cell in &mut cells {
        cell.ready(there).map_err(|lost| lost.into_error(warm))?;
    }
    let [mut subject, mut judge] = cells;
    let mut trial = Trial { subject: &mut subject, judge: &mut judge, limits, deadline: Instant::now() + limits.wall };
    let met = trial.hold(program);
    let gone = |who: Role| matches!(&met, Err(Stopped { who: stopped, lost: Lost::Gone(_) }) if *stopped == who);
    let judged = judge.end(gone(Role::Judge)).map_err(|lost| lost.into_error(warm))?;
    let ended = subject.end(gone(Role::Subject)).map_err(|lost| lost.into_error(warm))?;
    let Stopped { who, lost } = match met {
        Ok(outcome) => return Ok(outcome),
        Err(stopped) => stopped,
    };
    let (name, ending) = match who {
        Role::Judge => ("its tests", judged),
        Role::Subject | Role::Probe => ("it", ended),
    };
    if warm.has_walls && is_taken(&lost, &ending, limits) {
        let detail = "the system ended a program, as it does for want of memory; run fewer at a time (`workers`)";
        return Err(SandboxError::broken("running programs", detail));
    }
    Ok(Outcome::failed(why(name, &lost, &ending, limits)))
}

/// A conversation between a judge and a subject, with what it may take.
struct Trial<'a> {
    subject: &'a mut Cell,
    judge: &'a mut Cell,
    limits: &'a Limits,
    deadline: Instant,
}

/// Who stopped talking, and how.
struct Stopped {
    who: Role,
    lost: Lost,
}

impl Trial<'_> {
    /// Passes each question of the judge to the subject, and each answer back, until there is a verdict.
    fn hold(&mut self, program: &Program) -> Result<Outcome, Stopped> {
        self.tell(Role::Subject, b'c', program.code.as_bytes())?;
        let case = serde_json::to_vec(&program.tests).expect("strings can be written as JSON");
        let loaded = self.hear(Role::Subject, WHY_BYTES)?;
        if loaded.tag != b'L' {
            return Ok(Outcome::failed(String::from_utf8_lossy(&loaded.body)));
        }
        self.tell(Role::Judge, b'c', &case)?;
        let mut left = self.limits.traffic_bytes;
        loop {
            let said = self.hear(Role::Judge, self.limits.message_bytes)?;
            match said.tag {
                b'P' => return Ok(Outcome::Passed),
                b'F' => return Ok(Outcome::failed(String::from_utf8_lossy(&said.body))),
                _ => self.tell(Role::Subject, said.tag, &said.body)?,
            }
            let answer = self.hear(Role::Subject, self.limits.message_bytes.min(left))?;
            left = left.saturating_sub((said.body.len() + answer.body.len()) as u64);
            self.tell(Role::Judge, answer.tag, &answer.body)?;
        }
    }

    fn cell(&mut self, who: Role) -> &mut Cell {
        match who {
            Role::Judge => self.judge,
            Role::Subject | Role::Probe => self.subject,
        }
    }

    fn tell(&mut self, who: Role, tag: u8, body: &[u8]) -> Result<(), Stopped> {
        let deadline = self.deadline;
        self.cell(who).send(tag, body, deadline).map_err(|lost| Stopped { who, lost })
    }

    fn hear(&mut self, who: Role, most: u64) -> Result<Frame, Stopped> {
        let deadline = self.deadline;
        self.cell(who).receive(most, deadline).map_err(|lost| Stopped { who, lost })
    }
}

const SIGKILL: i32 = 9;
/// What is said of a program that did not end in time.
pub(super) const LATE: &str = "took longer than";
/// What is said of a program that computed for too long.
pub(super) const SPENT: &str = "took more than";

/// Whether the system ended a cell for a reason of its own: no program in a cell can send itself this signal or lower
/// its limit of time, and its keeper did not send it.
fn is_taken(lost: &Lost, ending: &Ending, limits: &Limits) -> bool {
    matches!(lost, Lost::Gone(_))
        && ending.by_itself
        && ending.status & 0x7f == SIGKILL
        && !is_spent(ending.cpu_seconds, limits)
}

/// Whether a cell that was killed had used up its time on a processor. The system counts that by ticks of its clock,
/// which are more than was run where a machine is busy.
fn is_spent(cpu_seconds: f64, limits: &Limits) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a limit of seconds is small")]
    let limit = limits.cpu_seconds as f64;
    cpu_seconds > limit / 2.0
}

/// Why a conversation stopped, by how the one who stopped it ended.
fn why(name: &str, lost: &Lost, ending: &Ending, limits: &Limits) -> String {
    match (lost, ending.status & 0x7f) {
        (Lost::Late, _) => format!("{name} {LATE} {} s", limits.wall.as_secs_f32()),
        (Lost::Gone(_), SIGKILL) if is_spent(ending.cpu_seconds, limits) => {
            format!("{name} {SPENT} {} s of processor time", limits.cpu_seconds)
        }
        (Lost::Gone(_), _) if !ending.by_itself => format!("{name} closed its channel"),
        (Lost::Gone(_), 0) => format!("{name} left early, with exit status {}", ending.status >> 8),
        (Lost::Gone(_), signal) => format!("{name} was ended by signal {signal}"),
        (lost, _) => lost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[track_caller]
    fn check(status: i32, cpu_seconds: f64, by_itself: bool, taken: bool) {
        let limits = Limits { cpu_seconds: 5, ..Limits::default() };
        let ending = Ending { status, cpu_seconds, by_itself };
        let gone = Lost::Gone(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(is_taken(&gone, &ending, &limits), taken, "{ending:?}");
        assert!(!is_taken(&Lost::Late, &ending, &limits), "{ending:?}, late");
    }

    #[test]
    fn a_cell_that_the_system_ended_says_nothing_of_its_program() {
        check(SIGKILL, 0.1, true, true);
        check(SIGKILL, 4.9, true, false);
        check(SIGKILL, 0.1, false, false);
        check(11, 0.1, true, false);
        check(0, 0.1, true, false);
    }
}
