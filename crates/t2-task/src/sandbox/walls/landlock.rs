//! The second wall around files: a Landlock ruleset for what the jail holds.
//!
//! The jail's mounts say the same. Landlock says it in another part of the kernel, and of a process rather than a place.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope,
};

use crate::sandbox::SandboxError;

/// A ruleset that cells enforce on themselves, for the files that a jail shows: its root, which may be read; the null
/// device, which may be read and written; and the folder that the scratch folder is in, which may be written.
pub(in crate::sandbox) fn ruleset(shown: Vec<OwnedFd>) -> Result<OwnedFd, SandboxError> {
    let shown = <[OwnedFd; 3]>::try_from(shown).map_err(|shown| {
        SandboxError::broken("starting", format!("the jail showed {} files, expected 3", shown.len()))
    })?;
    let ruleset = rules(shown).map_err(|error| SandboxError::wall("Landlock", &error.to_string()))?;
    ruleset.ok_or_else(|| SandboxError::wall("Landlock", "the kernel has none"))
}

/// What the first Landlock could do is required; what later ones added is used where it is there: truncating, networks,
/// devices, signals.
fn rules([root, null, scratch]: [OwnedFd; 3]) -> Result<Option<OwnedFd>, RulesetError> {
    let reading = AccessFs::from_read(ABI::V1);
    let writing = AccessFs::from_all(ABI::V6) & !AccessFs::IoctlDev;
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::from_all(ABI::V6))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rule(PathBeneath::new(root, reading & !AccessFs::Execute))?
        .add_rule(PathBeneath::new(null, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rule(PathBeneath::new(scratch, writing))?;
    Ok(created.into())
}
