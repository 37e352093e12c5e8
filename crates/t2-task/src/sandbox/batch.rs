//! A batch of programs: each different one once, several at a time, and two first whose verdicts are known.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::error::SandboxError;
use super::warm::Warm;
use super::{Outcome, Program, SandboxConfig, Tests, python, trial};

/// The warm parent of a sandbox, once there is one.
#[derive(Default)]
pub(super) struct Parent(Mutex<Option<Arc<Warm>>>);

impl Parent {
    fn get(&self, config: &SandboxConfig) -> Result<Arc<Warm>, SandboxError> {
        let mut parent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(warm) = &*parent {
            return Ok(Arc::clone(warm));
        }
        let warm = Arc::new(Warm::start(&python::find(config.python.as_deref())?, config)?);
        Ok(Arc::clone(parent.insert(warm)))
    }

    /// Lets go of `warm`, so that the next batch starts another one.
    fn forget(&self, warm: &Arc<Warm>) {
        let mut parent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parent.as_ref().is_some_and(|held| Arc::ptr_eq(held, warm)) {
            *parent = None;
        }
    }
}

/// What came of each program, in order.
pub(super) fn run(config: &SandboxConfig, parent: &Parent, programs: &[Program]) -> Result<Vec<Outcome>, SandboxError> {
    let mut places: HashMap<&Program, usize> = HashMap::new();
    let mut unique = Vec::new();
    for program in programs {
        places.entry(program).or_insert_with(|| {
            unique.push(program);
            unique.len() - 1
        });
    }
    if unique.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes = match outcomes(config, &parent.get(config)?, parent, &unique) {
        // A parent that the system ended, for want of memory say, is replaced once.
        Err(SandboxError::Broken { .. }) => outcomes(config, &parent.get(config)?, parent, &unique)?,
        outcomes => outcomes?,
    };
    Ok(programs.iter().map(|program| outcomes[places[program]].clone()).collect())
}

fn outcomes(
    config: &SandboxConfig,
    warm: &Arc<Warm>,
    parent: &Parent,
    programs: &[&Program],
) -> Result<Vec<Outcome>, SandboxError> {
    let workers = config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)).max(1);
    let canaries = canaries();
    let batch: Vec<&Program> = canaries.iter().chain(programs.iter().copied()).collect();
    let trusted = side_by_side(workers, config, warm, &batch).and_then(|mut outcomes| {
        let programs = outcomes.split_off(canaries.len());
        trust(&outcomes).map(|()| programs)
    });
    trusted.inspect_err(|_| parent.forget(warm))
}

/// Runs programs, `workers` at a time. The first error ends the batch.
fn side_by_side(
    workers: usize,
    config: &SandboxConfig,
    warm: &Warm,
    programs: &[&Program],
) -> Result<Vec<Outcome>, SandboxError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, program)) = take(&next, programs) {
            let outcome = trial::run(warm, &config.limits, program).inspect_err(|_| {
                next.store(programs.len(), Ordering::Relaxed);
            })?;
            done.push((at, outcome));
        }
        Ok(done)
    };
    let done: Vec<Result<Vec<(usize, Outcome)>, SandboxError>> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers.min(programs.len())).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|worker| worker.join().expect("a worker returns its errors")).collect()
    });
    let mut outcomes = vec![Outcome::failed("it was not run"); programs.len()];
    for part in done {
        for (at, outcome) in part? {
            outcomes[at] = outcome;
        }
    }
    Ok(outcomes)
}

/// The next program that nobody has taken.
fn take<'a>(next: &AtomicUsize, programs: &[&'a Program]) -> Option<(usize, &'a Program)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, *programs.get(at)?))
}

/// A program that is right, and the same one with a last test that fails.
fn canaries() -> [Program; 2] {
    let code = "import collections, functools, itertools, math, random, re\n\
                class Box:\n    def __init__(self, x):\n        self.x = x\n\
                def f(x):\n    return math.floor(Box(x).x) + 3\n";
    ["assert f(1) == 4", "assert f(1) == 5"]
        .map(|last| Program { code: code.into(), tests: Tests::asserts(["assert f(-3) == 0", last]) })
}

/// Says what is wrong with the sandbox if a canary got the wrong verdict.
fn trust(canaries: &[Outcome]) -> Result<(), SandboxError> {
    let fault = match canaries {
        [Outcome::Passed, Outcome::Failed { .. }] => return Ok(()),
        [Outcome::Failed { why }, _] => format!("a program that is right was graded wrong ({why})"),
        _ => "a program that is wrong was graded right (does python3 pass over `assert`, as with -O?)".into(),
    };
    Err(SandboxError::Untrusted { fault })
}
