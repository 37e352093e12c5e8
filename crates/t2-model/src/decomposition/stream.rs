//! The pipeline that weights go through. One thread reads them (or finds their factors on disk) and brings them to their
//! device, the caller's thread decomposes them and measures what was lost, and one more, or two beside a GPU, fetch
//! the factors and write them.
//!
//! The threads hand over directly, without a queue: whoever is done waits until the next one is free. So memory holds
//! at most one batch that is read, one that is decomposed, a set of factors that waits, and those that are written.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use burn::prelude::*;
use burn::tensor::{DType, TensorReadError};
use t2_linalg::{Attempt, Svd, SvdError, SvdSolver, ops, quality};

use super::manifest::{self, Entry};
use super::plan::{Group, plan};
use super::store::{self, Found, HostFactors, Key, Stored};
use super::weights::{Weight, Weights};
use super::{DecomposeConfig, DecomposeError, FactorType, Factors, Progress, Record, Report};

/// How a pipeline is set up: who decomposes the weights, where the factors go, who is told.
pub(super) struct Stream<'a> {
    pub(super) config: DecomposeConfig,
    pub(super) solver: &'a dyn SvdSolver,
    /// The folder to keep factors in and to find them again; nothing is kept when `None`.
    pub(super) cache: Option<&'a Path>,
    /// Where factors are kept in memory too, if the caller wants them there.
    pub(super) keep: Option<&'a mut BTreeMap<String, Factors>>,
    pub(super) progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl Stream<'_> {
    pub(super) fn run(self, weights: Weights<'_>) -> Result<Report, DecomposeError> {
        let Weights { targets, device, dtype, list } = weights;
        let device = device.ok_or(DecomposeError::NoTargets { targets })?;
        let dtype = match self.config.factors {
            FactorType::Base => dtype,
            FactorType::F32 => DType::F32,
        };
        let groups = plan(list, &device, self.config, self.solver)?;
        let report = Report {
            matrices: groups.iter().map(|group| group.weights.len()).sum(),
            memory: groups.iter().map(|group| group.memory).max().ok_or(DecomposeError::NoTargets { targets })?,
            ..Report::default()
        };
        let (cache, load) = (self.cache, self.keep.is_some());
        let pace = Pace::new(&groups);
        let (stream, entries, writers) = (self, Vec::new(), writers(&device));
        let mut work = Work { stream, device: device.clone(), dtype, report, pace, done: 0, entries };
        thread::scope(|scope| {
            let (send_read, read) = sync_channel(0);
            let (send_computed, computed) = sync_channel(0);
            scope.spawn(move || Reader { cache, device, dtype, load }.read(groups, &send_read));
            let writer = Writer { cache, computed: Mutex::new(Some(computed)) };
            let writer = Arc::new(writer);
            let writers = vec![writer; writers].into_iter().map(|writer| scope.spawn(move || writer.write()));
            let writers: Vec<_> = writers.collect();
            let outcome = work.on(&read, &send_computed);
            // With these ends of the channels gone, the reader's next send fails and the writers' loops are over: all
            // end. The writers are asked first, because an error of theirs is why decomposing stopped.
            drop((read, send_computed));
            let join = |writer: ScopedJoinHandle<'_, _>| {
                writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            writers.into_iter().map(join).collect::<Result<Vec<()>, DecomposeError>>()?;
            outcome
        })?;
        if let Some(dir) = cache {
            manifest::write(dir, work.entries)?;
        }
        Ok(work.report)
    }
}

/// What the reading thread hands over.
enum Read {
    /// A weight whose factors are on disk.
    Found { path: String, dims: [usize; 2], found: Box<Found> },
    /// A batch of weights of one shape, without factors on disk.
    Missing { dims: [usize; 2], batch: Vec<Missing> },
}

/// A weight that has no factors yet.
struct Missing {
    path: String,
    key: Key,
    /// There is a file for it, and it cannot be used.
    damaged: bool,
    /// `[d_in, d_out]`, f32, on the device.
    values: Tensor<2>,
}

type Reading = Result<Read, DecomposeError>;

/// The reading thread: reads weights, or their factors where these are on disk already.
struct Reader<'a> {
    cache: Option<&'a Path>,
    device: Device,
    /// Type of the factors.
    dtype: DType,
    /// Whether factors found on disk are to be loaded, and not only checked.
    load: bool,
}

impl Reader<'_> {
    /// Hand over every weight to the thread that decomposes. Ends early, with an error, when that thread has stopped.
    fn read(&self, groups: Vec<Group<'_>>, to: &SyncSender<Reading>) -> Result<(), SendError<Reading>> {
        for Group { dims, weights, batch: full, .. } in groups {
            let mut batch = Vec::with_capacity(full);
            for weight in weights {
                match self.one(weight) {
                    Err(error) => to.send(Err(error))?,
                    Ok(Ok((path, found))) => to.send(Ok(Read::Found { path, dims, found }))?,
                    Ok(Err(missing)) => batch.push(missing),
                }
                if batch.len() == full {
                    to.send(Ok(Read::Missing { dims, batch: std::mem::take(&mut batch) }))?;
                }
            }
            if !batch.is_empty() {
                to.send(Ok(Read::Missing { dims, batch }))?;
            }
        }
        Ok(())
    }

    /// The factors of a weight from the disk, or else its values, to be decomposed.
    fn one(&self, weight: Weight<'_>) -> Result<Result<(String, Box<Found>), Missing>, DecomposeError> {
        let Weight { path, dims, read } = weight;
        let values = match read() {
            Ok(values) => values,
            Err(source) => return Err(DecomposeError::Read { path, source }),
        };
        let key = Key::of(&values, dims, self.dtype);
        let damaged = match self.cache.map_or(Stored::Missing, |dir| store::find(dir, &key, self.load)) {
            Stored::Found(found) => return Ok(Ok((path, found))),
            Stored::Damaged => true,
            Stored::Missing => false,
        };
        let values = Tensor::from_data(TensorData::new(values, dims), (&self.device, DType::F32));
        Ok(Err(Missing { path, key, damaged, values }))
    }
}

/// Factors on their way to the disk, on the device.
struct Computed {
    path: String,
    key: Key,
    factors: Factors,
    record: Record,
}

/// How many threads fetch factors from `device` and write them: one alone cannot keep up with a GPU.
pub(super) fn writers(device: &Device) -> usize {
    if ops::places(device, DType::F32) { 2 } else { 1 }
}

/// What the writing threads share.
struct Writer<'a> {
    /// The folder for factors, if there is one.
    cache: Option<&'a Path>,
    /// Where factors come from; none once a thread has failed, so that no more are computed.
    computed: Mutex<Option<Receiver<Computed>>>,
}

impl Writer<'_> {
    /// Write factors until no more come. An error ends the other threads, too.
    fn write(&self) -> Result<(), DecomposeError> {
        let Some(dir) = self.cache else { return Ok(()) };
        let queue = || self.computed.lock().unwrap_or_else(PoisonError::into_inner);
        let next = || queue().as_ref().and_then(|computed| computed.recv().ok());
        let outcome = std::iter::from_fn(next).try_for_each(|computed| computed.write(dir));
        if outcome.is_err() {
            queue().take();
        }
        outcome
    }
}

impl Computed {
    fn write(self, dir: &Path) -> Result<(), DecomposeError> {
        let Self { path, key, factors, record } = self;
        let start = Instant::now();
        let on_host = factors.into_host().map_err(|source| DecomposeError::Svd { path, source: source.into() })?;
        let fetched = start.elapsed();
        store::write(dir, &key, &on_host, record)?;
        tracing::debug!(?fetched, written = ?(start.elapsed() - fetched), "factors");
        Ok(())
    }
}

/// The state of the thread that decomposes what the reading thread hands over.
struct Work<'a> {
    stream: Stream<'a>,
    device: Device,
    /// Type of the factors.
    dtype: DType,
    report: Report,
    pace: Pace,
    done: usize,
    entries: Vec<Entry>,
}

impl Work<'_> {
    fn on(&mut self, read: &Receiver<Reading>, to: &SyncSender<Computed>) -> Result<(), DecomposeError> {
        let total = self.report.matrices;
        let mut idle = Instant::now();
        for read in read {
            tracing::debug!(waited = ?idle.elapsed(), "weights");
            match read? {
                Read::Found { path, dims, found } => {
                    self.pace.skip(dims);
                    self.report.cached += 1;
                    self.take(path, dims, *found);
                }
                Read::Missing { dims, batch } => {
                    let (start, matrices) = (Instant::now(), batch.len());
                    self.decompose(dims, batch, to)?;
                    self.pace.work(dims, matrices, start.elapsed());
                }
            }
            let progress = Progress { done: self.done, total, remaining: self.pace.remaining() };
            if (self.stream.progress)(progress).is_break() && self.done < total {
                return Err(self.interrupted());
            }
            idle = Instant::now();
        }
        Ok(())
    }

    fn interrupted(&self) -> DecomposeError {
        DecomposeError::Interrupted { done: self.done, total: self.report.matrices }
    }

    /// Count a weight whose factors were found on disk, and keep them in memory if wanted.
    fn take(&mut self, path: String, dims: [usize; 2], Found { key, record, factors }: Found) {
        self.count(&path, &key, dims, record);
        if let (Some(keep), Some(HostFactors { u, s, vt })) = (&mut self.stream.keep, factors) {
            let vectors = (&self.device, self.dtype);
            let factors = Factors {
                u: Tensor::from_data(u, vectors),
                s: Tensor::from_data(s, (&self.device, DType::F32)),
                vt: Tensor::from_data(vt, vectors),
            };
            keep.insert(path, factors);
        }
    }

    /// Decompose weights of one shape. If some of them cannot be, the factors of the others are kept all the same.
    fn decompose(
        &mut self,
        dims: [usize; 2],
        batch: Vec<Missing>,
        to: &SyncSender<Computed>,
    ) -> Result<(), DecomposeError> {
        let a = Tensor::stack::<3>(batch.iter().map(|missing| missing.values.clone()).collect(), 0);
        let batch: Vec<_> = batch.into_iter().map(|Missing { path, key, damaged, .. }| (path, key, damaged)).collect();
        let paths: Vec<String> = batch.iter().map(|(path, ..)| path.clone()).collect();
        let failed = |source: SvdError| {
            let path = paths[source.index().unwrap_or(0)].clone();
            DecomposeError::Svd { path, source }
        };
        let start = Instant::now();
        let Attempt { svd, failed: without, solver } = self.stream.solver.svd_each(a.clone()).map_err(failed)?;
        let solved = start.elapsed();
        let losses = quality::loss(&a, &svd).map_err(failed)?;
        let measured = start.elapsed() - solved;
        drop(a);
        for (index, ((path, key, damaged), loss)) in batch.into_iter().zip(losses).enumerate() {
            if without.iter().any(|error| error.index() == Some(index)) {
                continue;
            }
            if !(loss.relative_error.is_finite() && loss.skew.is_finite()) {
                return Err(failed(SvdError::Other("the solver gave factors that are not finite".into())));
            }
            let record = Record {
                residual: loss.relative_error as f32,
                orthogonality: loss.skew as f32,
                solver: Some(solver.to_owned()),
            };
            let factors = Factors::new(&svd, index, self.dtype);
            let kept = self.stream.keep.is_some().then(|| factors.clone());
            if self.stream.cache.is_some() {
                let computed = Computed { path: path.clone(), key: key.clone(), factors, record: record.clone() };
                if to.send(computed).is_err() {
                    // A writing thread stopped on an error of its own, which `run` reports.
                    return Err(self.interrupted());
                }
            }
            self.report.repaired += usize::from(damaged);
            self.count(&path, &key, dims, record);
            if let (Some(keep), Some(factors)) = (&mut self.stream.keep, kept) {
                keep.insert(path, factors);
            }
        }
        let handed = start.elapsed() - solved - measured;
        tracing::debug!(?dims, ?solved, ?measured, ?handed, "a batch");
        without.into_iter().next().map_or(Ok(()), |error| Err(failed(error)))
    }

    fn count(&mut self, path: &str, key: &Key, dims: [usize; 2], record: Record) {
        let Record { residual, orthogonality, solver } = &record;
        let solver = solver.as_deref().unwrap_or("an unknown solver");
        tracing::info!(path, solver, residual, orthogonality, "decomposed");
        self.done += 1;
        self.report.add(&record);
        self.entries.push(Entry::new(path, key, dims, record));
    }
}

impl Factors {
    /// The factors of matrix `index` of a batch, with singular vectors of type `dtype`.
    fn new(svd: &Svd, index: usize, dtype: DType) -> Self {
        let pick = |factor: &Tensor<3>| factor.clone().narrow(0, index, 1).squeeze_dim(0).cast(dtype);
        Self { u: pick(&svd.u), s: svd.s.clone().narrow(0, index, 1).squeeze_dim(0), vt: pick(&svd.vt) }
    }

    fn into_host(self) -> Result<HostFactors, TensorReadError> {
        let Self { u, s, vt } = self;
        Ok(HostFactors { u: u.try_into_data()?, s: s.try_into_data()?, vt: vt.try_into_data()? })
    }
}

/// Estimates the time left. Work is counted in `d_in d_out k` for a matrix, as its operations grow with that.
struct Pace {
    ahead: f64,
    behind: f64,
    spent: Duration,
}

impl Pace {
    fn new(groups: &[Group<'_>]) -> Self {
        let ahead = groups.iter().map(|group| operations(group.dims) * group.weights.len() as f64).sum();
        Self { ahead, behind: 0.0, spent: Duration::ZERO }
    }

    /// A matrix was found on disk.
    fn skip(&mut self, dims: [usize; 2]) {
        self.ahead -= operations(dims);
    }

    /// Matrices of one shape were decomposed, which `took` this long.
    fn work(&mut self, dims: [usize; 2], matrices: usize, took: Duration) {
        let operations = operations(dims) * matrices as f64;
        self.ahead -= operations;
        self.behind += operations;
        self.spent += took;
    }

    fn remaining(&self) -> Option<Duration> {
        (self.behind > 0.0).then(|| self.spent.mul_f64(self.ahead.max(0.0) / self.behind))
    }
}

fn operations([d_in, d_out]: [usize; 2]) -> f64 {
    d_in as f64 * d_out as f64 * d_in.min(d_out) as f64
}
