//! Child processes: found on the path, started in the root of the repository, judged by their exit status.

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::Context;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// `program` with `args`, to be started in the root of the repository.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// `cargo` with `args`, to be started in the root of the repository.
pub(crate) fn cargo<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    command("cargo", args)
}

/// Runs `command` to its end, on our own standard streams.
///
/// # Errors
/// [`Failed`] if the command ends in anything but success; another error if it could not be started.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let line = line_of(&command);
    let status = command.status().with_context(|| format!("could not start `{line}`"))?;
    if status.success() { Ok(()) } else { Err(Failed { line, status }.into()) }
}

/// Replaces this process by `command` where the system can do that, so that signals reach the command and its exit code
/// is ours; elsewhere runs it to its end.
///
/// # Errors
/// As [`run`].
pub(crate) fn become_command(command: Command) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let mut command = command;
        let line = line_of(&command);
        Err(command.exec()).with_context(|| format!("could not start `{line}`"))
    }
    #[cfg(not(unix))]
    run(command)
}

/// What `command` writes to standard output.
///
/// # Errors
/// As [`run`], and if the output is not UTF-8.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let line = line_of(&command);
    let done = command.stderr(Stdio::inherit()).output().with_context(|| format!("could not start `{line}`"))?;
    if !done.status.success() {
        return Err(Failed { line, status: done.status }.into());
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{line}` wrote something that is not UTF-8"))
}

/// Whether `program` is installed: whether it can say its version.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A command that ran and did not succeed.
#[derive(Debug)]
pub(crate) struct Failed {
    line: String,
    status: ExitStatus,
}

impl Failed {
    /// The exit code for xtask itself: that of the command, or 1 if the command has none.
    pub(crate) fn exit_code(&self) -> u8 {
        self.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed ({})", self.line, self.status)
    }
}

impl std::error::Error for Failed {}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_command_and_keeps_its_code() {
        let error = run(cargo(["no-such-subcommand", "-q"])).unwrap_err();
        assert!(error.to_string().starts_with("`cargo no-such-subcommand -q` failed"), "{error}");
        assert_eq!(error.downcast_ref::<Failed>().map(Failed::exit_code), Some(101));
    }

    #[test]
    fn a_missing_program_is_not_installed() {
        assert!(is_installed("cargo"));
        assert!(!is_installed("no-such-program-anywhere"));
    }
}
