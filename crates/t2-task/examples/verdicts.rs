//! Grades the programs of a file, says how fast, and lists those that another grader judged otherwise.
//!
//! `cargo run --release --package t2-task --example verdicts -- programs.jsonl`
//!
//! A line of the file is a program, its tests, a name for people, and what the other grader said:
//! `{"name": "HumanEval/0 right", "code": "…", "tests": {"prelude": "…", "code": "…", "entry_points": ["f"]}, "passed": true}`.
//! `tests/sandbox/programs.py` writes such files.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use serde::Deserialize;
use t2_task::sandbox::{Outcome, Program, Sandbox, SandboxConfig};

#[derive(Deserialize)]
struct Judged {
    name: String,
    #[serde(flatten)]
    program: Program,
    passed: bool,
}

#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example is a program of its own")]
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which file? programs.jsonl, say")?;
    let judged: Vec<Judged> = fs::read_to_string(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let programs: Vec<Program> = judged.iter().map(|judged| judged.program.clone()).collect();
    let sandbox = Sandbox::new(SandboxConfig::default());
    let cold = timed(|| sandbox.run(&programs[..1]))?;
    let warm = timed(|| sandbox.run(&programs[..1]))?;
    let (outcomes, took) = timed(|| sandbox.run(&programs))?;
    println!("the first one, with the start of the sandbox and two canaries: {:?}; again: {:?}", cold.1, warm.1);
    println!("{} programs in {took:?}, {:.1} a second", programs.len(), programs.len() as f64 / took.as_secs_f64());
    println!("{} passed", outcomes.iter().filter(|outcome| outcome.is_passed()).count());
    let mut disagreements = 0;
    for (judged, outcome) in judged.iter().zip(&outcomes).filter(|(j, outcome)| j.passed != outcome.is_passed()) {
        disagreements += 1;
        match outcome {
            Outcome::Passed => println!("{}: failed there, passes here", judged.name),
            Outcome::Failed { why } => println!("{}: passed there, fails here: {why}", judged.name),
        }
    }
    println!("{disagreements} disagreements");
    Ok(())
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let started = Instant::now();
    Ok((work()?, started.elapsed()))
}
