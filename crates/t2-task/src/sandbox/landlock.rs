//! The second wall around files: a Landlock ruleset for what the jail holds.
//!
//! The jail's mounts say the same. Landlock says it in another part of the kernel, and of a process rather than a place.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope,
};

/// The files of a jail that rules are made for, opened by its warm parent.
pub(super) struct Shown {
    /// The root: may be read.
    pub root: OwnedFd,
    /// The null device: may be read and written.
    pub null: OwnedFd,
    /// The folder that the scratch folder is in: may be written.
    pub scratch: OwnedFd,
}

/// A ruleset that cells enforce on themselves; `None` where the kernel has no Landlock.
///
/// What the first Landlock could do is required; what later ones added is used where it is there: truncating, networks,
/// devices, signals.
pub(super) fn ruleset(shown: &Shown) -> Result<Option<OwnedFd>, RulesetError> {
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
        .add_rule(PathBeneath::new(&shown.root, reading & !AccessFs::Execute))?
        .add_rule(PathBeneath::new(&shown.null, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rule(PathBeneath::new(&shown.scratch, writing))?;
    Ok(created.into())
}
