//! The arrows of `docs/architecture.md`: which crate may depend on which, and on what none of them may.

use anyhow::Context;
use serde_json::Value;

use super::{Args, Verdict};
use crate::spawn::{cargo, output};

/// Each member of the workspace with the members it may use; it may also use those that these may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("t2-chat", &[]),
    ("t2-linalg", &[]),
    ("t2-task", &["t2-chat"]),
    ("t2-model", &["t2-chat", "t2-linalg"]),
    ("t2-rl", &["t2-task", "t2-model"]),
    ("t2-dispatch", &["t2-model"]),
    ("t2-session", &["t2-rl", "t2-dispatch"]),
    ("t2-cli", &["t2-session"]),
    ("t2-benches", &["t2-rl", "t2-dispatch"]),
    ("xtask", &[]),
];

/// Dependencies that only some members may have, by the beginning of the dependency's name.
const RESERVED: &[Reserved] = &[
    Reserved { prefix: "anyhow", members: &["t2-cli", "xtask"], why: "a library has an error type of its own" },
    Reserved { prefix: "clap", members: &["t2-cli", "xtask"], why: "a library reads no command line" },
    Reserved { prefix: "indicatif", members: &["t2-cli"], why: "a library does not print" },
    Reserved { prefix: "tracing-subscriber", members: &["t2-cli"], why: "a library does not print" },
    Reserved { prefix: "ureq", members: &["t2-session"], why: "models are fetched in t2-session" },
    Reserved { prefix: "faer", members: &["t2-linalg", "t2-benches"], why: "matrices are decomposed in t2-linalg" },
    Reserved {
        prefix: "tokenizers",
        members: &["t2-model"],
        why: "text becomes tokens in t2-model, and a task knows none",
    },
    Reserved {
        prefix: "burn",
        members: &["t2-linalg", "t2-model", "t2-rl", "t2-dispatch", "t2-session", "t2-cli", "t2-benches"],
        why: "xtask builds in seconds, and a task knows no tensors",
    },
    Reserved { prefix: "cubecl", members: &["t2-linalg", "t2-cli"], why: "kernels are written in t2-linalg" },
];

struct Reserved {
    prefix: &'static str,
    members: &'static [&'static str],
    why: &'static str,
}

/// A member of the workspace and what it depends on, tests and build scripts included.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    name: String,
    dependencies: Vec<String>,
}

/// The members depend on each other as drawn.
pub(super) fn check(_: &Args) -> anyhow::Result<Verdict> {
    let metadata = output(cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
    Ok(Verdict::of(violations(&members(&metadata)?)))
}

/// The members in what `cargo metadata --no-deps` wrote.
fn members(metadata: &str) -> anyhow::Result<Vec<Member>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata wrote no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> anyhow::Result<Member> {
    let name = name_of(package)?;
    let dependencies = package["dependencies"].as_array().with_context(|| format!("{name} lists no dependencies"))?;
    Ok(Member { name, dependencies: dependencies.iter().map(name_of).collect::<anyhow::Result<_>>()? })
}

fn name_of(value: &Value) -> anyhow::Result<String> {
    value["name"].as_str().map(str::to_owned).context("a package in cargo metadata has no name")
}

fn violations(members: &[Member]) -> Vec<String> {
    let is_member = |name: &String| members.iter().any(|member| member.name == *name);
    let mut found = Vec::new();
    for Member { name, dependencies } in members {
        let Some(allowed) = reachable(name) else {
            found.push(format!("{name} has no arrows; draw them in docs/architecture.md and in xtask's arrows.rs"));
            continue;
        };
        let undrawn = dependencies.iter().filter(|to| is_member(to) && !allowed.contains(&to.as_str()));
        found.extend(undrawn.map(|to| format!("{name} -> {to}: there is no such arrow in docs/architecture.md")));
        found.extend(dependencies.iter().filter_map(|to| reserved(name, to)));
    }
    found
}

/// The members that `name` may use, directly or through another; none if its arrows are not drawn.
fn reachable(name: &str) -> Option<Vec<&'static str>> {
    let direct = |name: &str| ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let mut found = direct(name)?.to_vec();
    let mut at = 0;
    while at < found.len() {
        found.extend(direct(found[at]).unwrap_or_default());
        at += 1;
    }
    Some(found)
}

fn reserved(name: &str, dependency: &str) -> Option<String> {
    let covers = |prefix: &str| dependency == prefix || dependency.starts_with(&format!("{prefix}-"));
    let rule = RESERVED.iter().find(|rule| covers(rule.prefix) && !rule.members.contains(&name))?;
    Some(format!("{name} -> {dependency}: {}; only {} may", rule.why, rule.members.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(graph: &[(&str, &[&str])], expected: &[&str]) {
        let member = |(name, dependencies): &(&str, &[&str])| Member {
            name: (*name).to_owned(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        };
        let found = violations(&graph.iter().map(member).collect::<Vec<_>>());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(found, start)| found.starts_with(start)), "{found:?}");
    }

    #[test]
    fn the_graph_as_drawn_is_clean() {
        check(
            &[
                ("t2-linalg", &["burn", "faer"]),
                ("t2-chat", &["serde"]),
                ("t2-task", &["t2-chat"]),
                ("t2-model", &["burn", "t2-chat", "t2-linalg"]),
                ("t2-rl", &["burn", "t2-task", "t2-model", "t2-linalg"]),
                ("t2-dispatch", &["t2-model", "t2-chat"]),
                ("t2-session", &["ureq", "t2-rl", "t2-dispatch", "t2-linalg"]),
                ("t2-cli", &["anyhow", "t2-session", "t2-rl", "t2-task", "t2-linalg"]),
                ("xtask", &["anyhow", "clap"]),
            ],
            &[],
        );
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_refused() {
        check(
            &[("t2-linalg", &["t2-model"]), ("t2-model", &["t2-linalg"]), ("t2-rl", &[])],
            &["t2-linalg -> t2-model"],
        );
        check(&[("t2-rl", &["t2-dispatch"]), ("t2-dispatch", &["t2-rl"])], &["t2-rl -> t2-d", "t2-dispatch -> t2-rl"]);
        check(&[("t2-model", &["t2-cli"]), ("t2-cli", &[])], &["t2-model -> t2-cli"]);
        check(&[("t2-task", &["t2-model"]), ("t2-model", &[])], &["t2-task -> t2-model"]);
        check(&[("xtask", &["t2-cli"]), ("t2-cli", &[])], &["xtask -> t2-cli"]);
    }

    #[test]
    fn a_new_member_must_draw_its_arrows() {
        check(&[("t2-vision", &["t2-linalg"]), ("t2-linalg", &[])], &["t2-vision has no arrows"]);
    }

    #[test]
    fn reserved_dependencies_are_refused() {
        check(&[("t2-model", &["anyhow"])], &["t2-model -> anyhow: a library has an error type"]);
        check(&[("t2-rl", &["indicatif", "clap"])], &["t2-rl -> indicatif", "t2-rl -> clap"]);
        check(&[("t2-task", &["burn", "tokenizers"])], &["t2-task -> burn", "t2-task -> tokenizers"]);
        check(&[("xtask", &["burn-tensor", "burnt"])], &["xtask -> burn-tensor"]);
    }

    #[test]
    fn every_arrow_points_to_a_member_and_none_in_a_circle() {
        for (name, _) in ARROWS {
            let found = reachable(name).expect("it is in the table");
            assert!(!found.contains(name), "{name} reaches itself");
            assert!(found.iter().all(|to| ARROWS.iter().any(|(from, _)| from == to)), "{name} -> {found:?}");
        }
    }

    #[test]
    fn metadata_is_read_with_every_kind_of_dependency() {
        let metadata = r#"{"packages": [{"name": "a", "dependencies": [
            {"name": "b", "kind": null}, {"name": "c", "kind": "dev"}, {"name": "d", "kind": "build"}
        ]}]}"#;
        let dependencies = ["b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(members(metadata).unwrap(), [Member { name: "a".to_owned(), dependencies }]);
        assert!(members("{}").is_err());
    }
}
