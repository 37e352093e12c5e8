//! A batch of programs: each different one once, several at a time, and two first whose verdicts are known.

use std::collections::HashMap;
use std::io;
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
        // A parent that the system ended, for want of memory say, or that was too slow, is replaced once.
        Err(SandboxError::Broken { .. } | SandboxError::Untrusted { .. }) => {
            outcomes(config, &parent.get(config)?, parent, &unique)?
        }
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
    let canaries = canaries();
    let batch: Vec<&Program> = canaries.iter().chain(programs.iter().copied()).collect();
    let trusted = side_by_side(workers(config), config, warm, &batch).and_then(|mut outcomes| {
        let programs = outcomes.split_off(canaries.len());
        trust(&outcomes).map(|()| programs)
    });
    trusted.inspect_err(|_| parent.forget(warm))
}

/// How many programs run at a time. A keeper that has 1024 files open cannot hold the leashes of many more.
fn workers(config: &SandboxConfig) -> usize {
    const MOST: usize = 256;
    config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)).clamp(1, MOST)
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
    let done = thread::scope(|scope| {
        let start = |_| {
            let started = thread::Builder::new().spawn_scoped(scope, work);
            started.inspect_err(|_| next.store(programs.len(), Ordering::Relaxed))
        };
        let running = (0..workers.min(programs.len())).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(running.into_iter().map(|worker| worker.join().expect("a worker returns its errors")).collect::<Vec<_>>())
    });
    let done = done.map_err(|error: io::Error| SandboxError::broken("starting a thread", error))?;
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
        [Outcome::Failed { why }, _] if [trial::LATE, trial::SPENT].iter().any(|late| why.contains(late)) => {
            format!("a program that is right was too late ({why}); the machine may have too much to do")
        }
        [Outcome::Failed { why }, _] => format!("a program that is right was graded wrong ({why})"),
        _ => "a program that is wrong was graded right (does python3 pass over `assert`, as with -O?)".into(),
    };
    Err(SandboxError::Untrusted { fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(right: Outcome, wrong: Outcome, fault: Option<&str>) {
        let said = trust(&[right, wrong]).err().map(|error| error.to_string());
        match (&said, fault) {
            (None, None) => {}
            (Some(said), Some(fault)) if said.contains(fault) => {}
            _ => panic!("{said:?}, expected {fault:?}"),
        }
    }

    #[test]
    fn a_verdict_that_came_too_late_is_told_from_a_wrong_one() {
        let failed = || Outcome::failed("AssertionError");
        check(Outcome::Passed, failed(), None);
        check(failed(), failed(), Some("was graded wrong (AssertionError)"));
        check(Outcome::failed("it took longer than 15 s"), failed(), Some("was too late (it took longer than 15 s)"));
        check(Outcome::failed("it took more than 5 s of processor time"), failed(), Some("was too late"));
        check(Outcome::Passed, Outcome::Passed, Some("was graded right"));
    }

    #[test]
    fn no_more_run_at_a_time_than_a_keeper_can_hold() {
        for (wanted, run) in [(0, 1), (7, 7), (100_000, 256)] {
            assert_eq!(workers(&SandboxConfig { workers: Some(wanted), ..SandboxConfig::default() }), run);
        }
    }
}
