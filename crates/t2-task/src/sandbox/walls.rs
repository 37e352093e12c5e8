//! What of the walls is prepared here, outside of the jail: the seccomp filters and the Landlock ruleset.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod landlock;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod seccomp;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) use self::{landlock::ruleset, seccomp::filters};

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
pub(super) use self::elsewhere::{filters, ruleset};

/// Systems that have no such walls, and Linux on processors that nobody has made a list of calls for.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))))]
mod elsewhere {
    use std::env::consts::{ARCH, OS};
    use std::os::fd::OwnedFd;

    use crate::sandbox::SandboxError;

    /// Refuses.
    pub(in crate::sandbox) fn filters() -> Result<Vec<String>, SandboxError> {
        let way_out = "use Linux on x86-64, 64-bit ARM or RISC-V, for example in a container or a virtual machine, or \
                       accept the risk with --unsafe-code-execution";
        Err(SandboxError::Unsupported { system: format!("{OS} ({ARCH})"), way_out })
    }

    /// Refuses. Nobody gets here without filters.
    pub(in crate::sandbox) fn ruleset(_: Vec<OwnedFd>) -> Result<OwnedFd, SandboxError> {
        filters().and_then(|_: Vec<String>| Err(SandboxError::wall("Landlock", "there is none")))
    }
}
