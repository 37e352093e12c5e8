//! Times the engine, reading prompts and decoding, in batches of the base model, of one expert and of a mixture for each
//! row: `decoding/{device}/{read|decode}/{rows}x{tokens}/{mix}`.
//!
//! That a row is what it would be alone is proved in the tests of t2-model. `peers/engine.py` times the same work on a
//! whole model, beside others.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use t2_benches::decoding::{Bench, MIXED, Mix};
use t2_benches::devices::{Named, devices};
use t2_benches::random::{self, SHAPE_MID};

/// What is timed; about a minute in all.
const WORK: [Work; 6] = [
    Work::read(1, 512, &[Mix::Base]),
    Work::read(8, 64, &Mix::ALL),
    Work::decode(1, &[Mix::Base]),
    Work::decode(8, &Mix::ALL),
    Work::decode(32, &[Mix::Base]),
    Work::decode(128, &[Mix::Base]),
];
/// Most rows on a GPU made of software, which would take minutes over more.
const ROWS_IN_SOFTWARE: usize = 8;

/// A batch under several mixes, of which one part is timed.
struct Work {
    part: Part,
    rows: usize,
    prompt_len: usize,
    mixes: &'static [Mix],
}

#[derive(Clone, Copy)]
enum Part {
    Read,
    Decode,
}

impl Work {
    /// Reading prompts, up to the first token of each.
    const fn read(rows: usize, prompt_len: usize, mixes: &'static [Mix]) -> Self {
        Self { part: Part::Read, rows, prompt_len, mixes }
    }

    /// The tokens after the first, behind short prompts.
    const fn decode(rows: usize, mixes: &'static [Mix]) -> Self {
        Self { part: Part::Decode, rows, prompt_len: 16, mixes }
    }

    /// Tokens of a row that are timed.
    fn tokens(&self) -> usize {
        match self.part {
            Part::Read => self.prompt_len,
            Part::Decode => 16,
        }
    }

    fn id(&self, mix: Mix) -> BenchmarkId {
        let part = match self.part {
            Part::Read => "read",
            Part::Decode => "decode",
        };
        BenchmarkId::new(part, format!("{}x{}/{}", self.rows, self.tokens(), mix.name()))
    }

    fn time(&self, bench: &Bench, mix: Mix) -> Duration {
        let prompts = random::prompts(self.rows, self.prompt_len, SHAPE_MID.vocab);
        let run = |new_tokens| bench.run(&prompts, new_tokens, mix).expect("prompts that fit the model");
        match self.part {
            Part::Read => run(1).first,
            Part::Decode => run(1 + self.tokens()).rest,
        }
    }
}

fn decoding(criterion: &mut Criterion) {
    for Named { name, device, is_cpu } in devices() {
        let most = if is_cpu && name != "cpu" { ROWS_IN_SOFTWARE } else { usize::MAX };
        let bench = Bench::with_experts(SHAPE_MID.init(&device), MIXED);
        let mut group = criterion.benchmark_group(format!("decoding/{name}"));
        group.sampling_mode(SamplingMode::Flat);
        for work in WORK.iter().filter(|work| work.rows <= most) {
            group.throughput(Throughput::Elements((work.rows * work.tokens()) as u64));
            for &mix in work.mixes {
                group.bench_function(work.id(mix), |bencher| {
                    bencher.iter_custom(|iterations| (0..iterations).map(|_| work.time(&bench, mix)).sum());
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = decoding
}
criterion_main!(benches);
