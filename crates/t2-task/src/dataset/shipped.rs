//! The descriptions that ship with the crate.

use super::spec::DatasetSpec;

/// The name and the TOML of every description that ships with the crate, in the order in which help texts list them.
pub const SPECS: &[(&str, &str)] = &[
    ("gsm8k", include_str!("../../specs/gsm8k.toml")),
    ("math", include_str!("../../specs/math.toml")),
    ("math-500", include_str!("../../specs/math-500.toml")),
    ("mbpp", include_str!("../../specs/mbpp.toml")),
    ("mbpp-sanitized", include_str!("../../specs/mbpp-sanitized.toml")),
    ("mbpp-pro", include_str!("../../specs/mbpp-pro.toml")),
    ("humaneval", include_str!("../../specs/humaneval.toml")),
    ("arc-easy", include_str!("../../specs/arc-easy.toml")),
    ("arc-challenge", include_str!("../../specs/arc-challenge.toml")),
    ("svamp", include_str!("../../specs/svamp.toml")),
    ("asdiv", include_str!("../../specs/asdiv.toml")),
    ("boolq", include_str!("../../specs/boolq.toml")),
    ("openbookqa", include_str!("../../specs/openbookqa.toml")),
    ("topic", include_str!("../../specs/topic.toml")),
];

/// The shipped description with this name.
pub fn shipped(name: &str) -> Option<DatasetSpec> {
    // A test parses every one of them.
    text(name).and_then(|text| DatasetSpec::parse(name, text).ok())
}

/// The TOML of a shipped description.
pub(crate) fn text(name: &str) -> Option<&'static str> {
    SPECS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the shipped descriptions.
pub(crate) fn names() -> Vec<&'static str> {
    SPECS.iter().map(|(name, _)| *name).collect()
}
