//! One build of the dependencies serves the demo and the tests.
//!
//! Cargo compiles a dependency once for each set of features it is asked for. The demo builds `t2` alone, the tests
//! build the workspace and its test dependencies: if one of those turns on a feature of a shared dependency, that
//! dependency and all that stand on it, Burn perhaps, are compiled twice. See `docs/decisions/`.

use std::collections::BTreeSet;

use super::{Args, Verdict};
use crate::spawn::{cargo, output};
use crate::test::PACKAGES;

/// Every dependency of the demo has the same features in the build of the tests.
pub(super) fn check(_: &Args) -> anyhow::Result<Verdict> {
    let demo = tree(&["--package", "t2-cli", "--edges", "normal,build"])?;
    let test = tree(&[&PACKAGES[..], &["--edges", "normal,build,dev"]].concat())?;
    Ok(Verdict::of(violations(&demo, &test)))
}

/// Every package of a dependency tree as `name version features`.
fn tree(selection: &[&str]) -> anyhow::Result<String> {
    let mut command = cargo(["tree", "--locked", "--prefix", "none", "--format", "{p} {f}"]);
    command.args(selection);
    output(command)
}

fn violations(demo: &str, test: &str) -> Vec<String> {
    let test = packages(test);
    let differing = packages(demo).into_iter().filter(|package| !test.contains(package));
    differing
        .map(|package| format!("{package}: the tests ask for other features of it, so it is compiled twice"))
        .collect()
}

fn packages(tree: &str) -> BTreeSet<&str> {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)").trim_end());
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_features_are_one_build() {
        let demo = "burn v0.22.1 std,flex\nserde v1.0.0 std (*)\n";
        let test = "serde v1.0.0 std\n\nburn v0.22.1 std,flex (*)\ncriterion v0.8.0 \n";
        assert_eq!(violations(demo, test), Vec::<String>::new());
    }

    #[test]
    fn another_feature_in_the_tests_is_a_second_build() {
        let found = violations("ciborium v0.2.2 std\n", "ciborium v0.2.2 default,std\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ciborium v0.2.2 std: "), "{found:?}");
    }
}
