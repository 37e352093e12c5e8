//! Programs that attack the machine, the grader or the verdict. None passes, none outlives its limit by more than a
//! second, none leaves anything behind, and the sandbox grades on.
//!
//! An attack that fails for a mistake of its own proves nothing. So those that can be let loose without harm are also
//! run where nothing stops them, and must succeed there.

#![cfg(target_os = "linux")]

mod channel;
mod files;
mod insides;
mod kernel;
mod memory;
mod processes;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use t2_task::sandbox::{Sandbox, SandboxConfig, Walls};

use crate::court::{WALL, alone, failure, program, python_is_missing};
use crate::traces;

/// What every attack pretends to be: a function that adds three.
const TESTS: &str = "assert f(1) == 4\nassert f(-3) == 0\n";
/// What a program may take beyond its limit.
const GRACE: Duration = Duration::from_secs(1);
/// How often an attack that took too long is tried.
const TRIES: usize = 3;

/// An attack: its name, how it is known to be one, and its code.
type Attack = (&'static str, Known, &'static str);

/// How it is known that an attack would succeed if nothing stopped it.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// It is not tried: it would do harm, or needs what this user may not do.
    Untried,
    /// The code is the body of a function that does what no program may and returns something true, if it can. It does
    /// so in a sandbox without walls.
    Loose,
    /// The same, untried.
    LooseUntried,
    /// It fools a grader that runs program and tests as one script, and goes by how that ends.
    Fools,
}

/// The program of an attack. One that does harm is right only if it did.
fn written((_, known, code): Attack) -> String {
    match known {
        Known::Untried | Known::Fools => code.into(),
        Known::Loose | Known::LooseUntried => format!(
            "import ctypes, os, socket, subprocess, sys\nlibc = ctypes.CDLL(None)\n\
             def harm():\n    {}\ntry:\n    done = bool(harm())\nexcept BaseException:\n    done = False\n\
             def f(x): return x + 3 if done else None\n",
            code.replace('\n', "\n    ")
        ),
    }
}

#[track_caller]
fn check(attack: Attack) {
    let name = attack.0;
    let sandbox = alone();
    // A machine that is busy, or a warm parent that is replaced, makes one of them late, an attack all of them.
    let mut times = Vec::new();
    while times.last().is_none_or(|took| *took >= WALL + GRACE) {
        assert!(times.len() < TRIES, "{name} took {times:?}, its limit is {WALL:?}");
        let started = Instant::now();
        let why = failure(&sandbox, program(&written(attack), TESTS));
        times.push(started.elapsed());
        assert!(why.is_some(), "{name} passed");
        traces::check_none(name);
        println!("{name}: {times:?}, {}", why.unwrap_or_default());
    }
}

fn check_all(attacks: &[Attack]) {
    if python_is_missing() {
        return;
    }
    for attack in attacks {
        check(*attack);
    }
    let right = program("def f(x): return x + 3", TESTS);
    assert_eq!(failure(&alone(), right), None, "a program after all of them");
}

fn every() -> impl Iterator<Item = Attack> {
    let all =
        [channel::ATTACKS, files::ATTACKS, insides::ATTACKS, kernel::ATTACKS, memory::ATTACKS, processes::ATTACKS];
    all.into_iter().flatten().copied()
}

/// `all(map(…))` takes the error for the end of what there is to ask.
#[test]
fn a_program_that_stops_an_iteration_does_not_end_the_tests() {
    if python_is_missing() {
        return;
    }
    for (code, tests, said) in [
        ("def f(x): raise StopIteration", "assert all(map(lambda x: f(x) == x + 3, [1, 2]))", "stopped an iteration"),
        ("def f(x): return iter(())", "assert all(map(lambda x: next(f(x)) == x + 3, [1, 2]))", "no next element"),
    ] {
        let why = failure(&alone(), program(code, tests));
        assert!(why.as_ref().is_some_and(|why| why.contains(said)), "{tests}: {why:?}");
    }
}

#[test]
fn attacks_succeed_where_nothing_stops_them() {
    if python_is_missing() {
        return;
    }
    let _alone = alone();
    let sandbox = Sandbox::new(SandboxConfig { walls: Walls::None, ..SandboxConfig::default() });
    for attack in every().filter(|(_, known, _)| *known == Known::Loose) {
        let why = failure(&sandbox, program(&written(attack), TESTS));
        assert_eq!(why, None, "{} fails without walls too", attack.0);
        for file in traces::files() {
            fs::remove_file(file).unwrap();
        }
    }
    for attack in every().filter(|(_, known, _)| *known == Known::Fools) {
        let script = format!("{}\n{TESTS}", attack.2);
        let ended = Command::new("python3").args(["-I", "-c", &script]).stderr(Stdio::null()).status().unwrap();
        assert!(ended.success(), "{} fools nobody: {ended}", attack.0);
    }
}
