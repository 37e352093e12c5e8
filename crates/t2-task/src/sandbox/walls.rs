//! What of the walls is prepared here, outside of the jail: the seccomp filters and the Landlock ruleset.

use super::error::SandboxError;

/// The seccomp filters of a cell, each in hexadecimal.
#[cfg(target_os = "linux")]
pub(super) fn filters() -> Result<Vec<String>, SandboxError> {
    super::seccomp::filters().map_err(|error| SandboxError::wall("seccomp", &error.to_string()))
}

/// Refuses: this system has no walls.
#[cfg(not(target_os = "linux"))]
pub(super) fn filters() -> Result<Vec<String>, SandboxError> {
    let way_out = "use Linux, for example in a container or a virtual machine, or accept the risk with \
                   --unsafe-code-execution";
    Err(SandboxError::Unsupported { system: std::env::consts::OS, way_out })
}
