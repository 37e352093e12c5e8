//! What a failure looks like: one sentence on stderr and an exit code.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::interrupt;

/// The command did not do what it was asked.
const FAILURE: u8 = 1;

/// Report `result` and say how the process ends: 0, 1 on failure, 130 when the user broke off.
pub(crate) fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return if interrupt::requested() { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS };
    };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "error: {}", sentence(&error));
    ExitCode::from(if interrupt::requested() { interrupt::EXIT_CODE } else { FAILURE })
}

/// The error and its causes in one line; a cause that the line already quotes is left out.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Make a bug end the way an error does: one line, no backtrace.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let _ = writeln!(
            io::stderr(),
            "error: internal: {message}{}; please report it with the command you ran",
            place.unwrap_or_default()
        );
        end(FAILURE.into());
    }));
}

/// End the process now. For the panic hook and the second Ctrl-C; everything else returns.
#[expect(clippy::exit, reason = "neither a panic nor a second Ctrl-C can return to main")]
pub(crate) fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// The reader of our output went away, as `t2 … | head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|e| e.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let inner = anyhow::anyhow!("no such\nfile");
        assert_eq!(sentence(&inner), "no such file");
        let quoted = anyhow::anyhow!("no such file").context("cannot read x: no such file; look elsewhere");
        assert_eq!(sentence(&quoted), "cannot read x: no such file; look elsewhere");
        let context = anyhow::anyhow!("disk full").context("cannot write y");
        assert_eq!(sentence(&context), "cannot write y: disk full");
    }
}
