//! The engine: whatever comes and goes beside it, a request gets the tokens that it would get alone, read anew for each.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::module::Module;
use burn::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_model::decoder::{Decoder, DecoderConfig, Outgrown, RopeConfig, RopeScaling};
use t2_model::generate::{
    Engine, EngineConfig, Event, FinishReason, GenerateError, Request, RequestId, Sampling, ScoreRequest, Under,
};

use crate::tiny;
use crate::world::{SHARED, STOP, VOCAB, World, prompt, request};

/// What rounding leaves of log-probabilities near -4 in another order of sums.
const ROUNDING: f32 = 2e-5;

/// Tokens of every request that got any, and why it ended.
type Done = BTreeMap<RequestId, (Vec<u32>, Option<FinishReason>)>;

fn take(events: Vec<Event>, done: &mut Done) {
    for event in events {
        let Event::Token { request, id, finish, .. } = event else { panic!("{event:?}") };
        let (ids, how) = done.entry(request).or_default();
        assert_eq!(*how, None, "no token comes after the last");
        ids.push(id);
        *how = finish;
    }
}

#[track_caller]
fn assert_scored(found: &[f32], expected: &[f32]) {
    let is_near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < ROUNDING);
    assert!(found.len() == expected.len() && is_near, "{found:?} is not {expected:?}");
}

/// An engine, what was asked of it, and what came of that.
struct Schedule<'w> {
    /// What each request gets alone.
    alone: &'w World,
    engine: Engine<'w, Decoder>,
    under: Vec<Under>,
    rng: ChaCha8Rng,
    asked: Vec<(RequestId, Request, usize)>,
    given: Vec<(RequestId, ScoreRequest, usize)>,
    cancelled: Vec<RequestId>,
    done: Done,
    scored: BTreeMap<RequestId, Vec<f32>>,
}

impl<'w> Schedule<'w> {
    fn new(world: &'w World, alone: &'w World, mut rng: ChaCha8Rng) -> Self {
        let config = EngineConfig {
            slots: rng.random_range(1..6),
            chunk: rng.random_range(1..30),
            memory: rng.random_ratio(1, 2).then_some(120_000),
            merge: rng.random(),
        };
        let (engine, under) = world.engine(config);
        let (asked, given, cancelled, done, scored) = (vec![], vec![], vec![], Done::new(), BTreeMap::new());
        Self { alone, engine, under, rng, asked, given, cancelled, done, scored }
    }

    /// Ask for a few completions and a score, and cancel something.
    fn ask(&mut self) {
        let Self { engine, under, rng, .. } = self;
        for _ in 0..rng.random_range(0..3) {
            let row = rng.random_range(0..under.len());
            let sampling = if rng.random_ratio(1, 4) { Sampling::PLAIN } else { Sampling::GREEDY };
            let (seed, max_new_tokens) = (rng.random(), rng.random_range(1..9));
            let request = Request { seed, sampling, max_new_tokens, ..request(prompt(rng), under[row]) };
            self.asked.push((engine.submit(request.clone()).unwrap(), request, row));
        }
        if rng.random() {
            let (row, ids) = (rng.random_range(0..under.len()), [prompt(rng), prompt(rng)].concat());
            let request = ScoreRequest { from: rng.random_range(1..ids.len()), ids, under: under[row] };
            self.given.push((engine.score(request.clone()).unwrap(), request, row));
        }
        if rng.random_ratio(1, 8) && !self.asked.is_empty() {
            let (id, ..) = self.asked[rng.random_range(0..self.asked.len())];
            let has_ended = self.done.get(&id).is_some_and(|(_, finish)| finish.is_some());
            let has_left = has_ended || self.cancelled.contains(&id);
            assert_eq!(engine.cancel(id), !has_left);
            self.cancelled.extend((!has_left).then_some(id));
        }
    }

    fn step(&mut self) {
        let mut events = self.engine.step().unwrap();
        events.retain(|event| match event {
            Event::Scored { request, logprobs } => self.scored.insert(*request, logprobs.clone()).is_some(),
            _ => true,
        });
        take(events, &mut self.done);
    }

    /// Each request got what it gets alone.
    fn compare(mut self) {
        for (id, request, row) in self.given {
            assert_scored(&self.scored[&id], &self.alone.scores(&request, row));
        }
        for (id, request, row) in self.asked {
            let (found, finish) = self.done.remove(&id).unwrap_or_default();
            let expected = self.alone.reference(&request, row);
            if self.cancelled.contains(&id) {
                assert!(expected.starts_with(&found) && finish.is_none(), "{found:?} of {expected:?}");
                continue;
            }
            assert_eq!(found, expected, "{request:?}");
            let stops = found.last().is_some_and(|last| STOP.contains(last));
            assert_eq!(finish, Some(if stops { FinishReason::Stop } else { FinishReason::Length }));
        }
    }
}

/// Requests come and go as `seed` says; each gets what it gets alone, of a model `alone` in main memory.
fn check_schedule(world: &World, alone: &World, seed: u64) {
    println!("schedule {seed}");
    let mut schedule = Schedule::new(world, alone, ChaCha8Rng::seed_from_u64(seed));
    for _ in 0..schedule.rng.random_range(1..20) {
        schedule.ask();
        schedule.step();
        let (engine, EngineConfig { slots, memory, .. }) = (&schedule.engine, schedule.engine.config());
        assert!(engine.running() <= slots && memory.is_none_or(|most| engine.memory() <= most));
    }
    let mut steps = 0;
    while !schedule.engine.is_idle() {
        schedule.step();
        steps += 1;
        assert!(steps < 2000, "no end");
    }
    schedule.compare();
}

#[test]
fn any_schedule_gives_every_request_what_it_gets_alone() {
    let plain = tiny::config();
    let longrope = RopeScaling::LongRope {
        short: vec![1.0; plain.attention.head_dim / 2],
        long: vec![3.0; plain.attention.head_dim / 2],
        attention_factor: 1.1,
        original_max_seq_len: 24,
        outgrown: Outgrown::Reread,
    };
    let outgrown = DecoderConfig { rope: RopeConfig { scaling: longrope, ..RopeConfig::new(100.0) }, ..plain.clone() };
    for (config, schedules) in [(plain, 0..100), (tiny::switched(), 100..150), (outgrown, 150..200)] {
        let world = World::new(config);
        schedules.for_each(|seed| check_schedule(&world, &world, seed));
    }
}

/// A device with kernels of its own, of every backend that the tests are built for.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
#[test]
fn on_a_gpu_a_request_gets_what_it_gets_in_main_memory() {
    use burn::tensor::DeviceType;

    let kinds = [
        #[cfg(feature = "wgpu")]
        DeviceType::Wgpu,
        #[cfg(feature = "cuda")]
        DeviceType::Cuda,
    ];
    for kind in kinds {
        let device = Device::enumerate(kind).into_iter().next().expect("a GPU, or one of software");
        for (config, schedules) in [(tiny::config(), 0..2), (tiny::switched(), 100..102)] {
            let (there, here) = (World::on(&device, config.clone()), World::new(config));
            schedules.for_each(|seed| check_schedule(&there, &here, seed));
        }
    }
}

/// Encodings in which keys keep the turn of the length that their row had: a row gives another nothing that it would have
/// computed otherwise.
#[test]
fn keys_that_depend_on_the_length_of_a_row_stay_in_it() {
    let plain = tiny::config();
    let pairs = plain.attention.head_dim / 2;
    let keep = RopeScaling::LongRope {
        short: vec![1.0; pairs],
        long: vec![3.0; pairs],
        attention_factor: 1.1,
        original_max_seq_len: 24,
        outgrown: Outgrown::Keep,
    };
    for scaling in [keep, RopeScaling::Dynamic { factor: 4.0, original_max_seq_len: 24 }] {
        let rope = RopeConfig { scaling, ..RopeConfig::new(100.0) };
        let world = World::new(DecoderConfig { rope, ..plain.clone() });
        let shared = tiny::ids(SHARED, VOCAB, 1);
        let prompts = [18, 1, 2, 17].map(|more| [shared.clone(), tiny::ids(more, VOCAB, more as u64)].concat());
        let run = |prompts: &[Vec<u32>]| {
            let (mut engine, under) = world.engine(EngineConfig { chunk: 7, ..EngineConfig::default() });
            let mut done = Done::new();
            let ask = |ids: &Vec<u32>| engine.submit(request(ids.clone(), under[1])).unwrap();
            let ids: Vec<RequestId> = prompts.iter().map(ask).collect();
            while !engine.is_idle() {
                take(engine.step().unwrap(), &mut done);
            }
            ids.into_iter().map(|id| done[&id].0.clone()).collect::<Vec<_>>()
        };
        let alone: Vec<_> = prompts.iter().flat_map(|prompt| run(std::slice::from_ref(prompt))).collect();
        assert_eq!(run(&prompts), alone);
    }
}

#[test]
fn rows_of_one_mixture_share_what_they_read_however_they_came() {
    let world = World::new(tiny::config());
    let mut engine = Engine::new(&world.model, EngineConfig::default());
    let twice = [engine.add(&world.scales).unwrap(), engine.add(&world.scales.select(&[0, 1, 2, 3])).unwrap()];
    assert_eq!(twice[0], twice[1]);
    let mut other = Engine::new(&world.model, EngineConfig::default());
    let error = other.submit(request(vec![3], twice[0][1])).unwrap_err();
    assert!(error.to_string().contains("another engine"), "{error}");
}

#[test]
fn rows_under_the_models_own_scales_run_beside_others() {
    let world = World::new(tiny::config());
    let (mut engine, under) = world.engine(EngineConfig::default());
    let mut done = Done::new();
    let prompt = tiny::ids(9, VOCAB, 6);
    let all = [Under::Own, under[1], under[0]];
    let ids = all.map(|under| engine.submit(request(prompt.clone(), under)).unwrap());
    while !engine.is_idle() {
        take(engine.step().unwrap(), &mut done);
    }
    // The model's own scales are ones: the base, up to rounding.
    assert_eq!(done[&ids[0]].0, done[&ids[2]].0);
    for (id, row) in [(ids[1], 1), (ids[2], 0)] {
        assert_eq!(done[&id].0, world.reference(&request(prompt.clone(), Under::Base), row));
    }
}

#[test]
fn a_long_request_does_not_keep_later_ones_apart() {
    let world = World::new(tiny::config());
    let (mut probe, under) = world.engine(EngineConfig::default());
    probe.submit(Request { max_new_tokens: 1, ..request(vec![5], under[0]) }).unwrap();
    probe.step().unwrap();
    // Columns come in steps of 64, of which a long request takes one more.
    let world = World::with_length(tiny::config(), 256);
    let memory = Some(3 * probe.memory());
    let (mut engine, under) = world.engine(EngineConfig { memory, ..EngineConfig::default() });
    engine.submit(Request { max_new_tokens: 1, ..request(tiny::ids(150, VOCAB, 1), under[0]) }).unwrap();
    while !engine.is_idle() {
        engine.step().unwrap();
    }
    for id in 0..3 {
        engine.submit(Request { stop: vec![], ..request(vec![5 + id], under[0]) }).unwrap();
    }
    engine.step().unwrap();
    assert_eq!(engine.running(), 3);
}

#[test]
fn what_prompts_have_in_common_is_read_once() {
    let world = World::new(tiny::config());
    let (mut engine, under) = world.engine(EngineConfig { chunk: SHARED + 4, ..EngineConfig::default() });
    let group: Vec<u32> = tiny::ids(SHARED + 4, VOCAB, 1);
    let mut done = Done::new();
    let ids: Vec<RequestId> = (0..4).map(|_| engine.submit(request(group.clone(), under[1])).unwrap()).collect();
    // The others wait for the first, which reads the whole prompt in one step, and then copy it.
    take(engine.step().unwrap(), &mut done);
    assert_eq!((done.len(), engine.running(), engine.waiting()), (1, 1, 3));
    take(engine.step().unwrap(), &mut done);
    assert_eq!((done.len(), engine.running()), (4, 4));
    // The same prompt under other weights has nothing in common with it.
    let other = engine.submit(request(group.clone(), under[2])).unwrap();
    take(engine.step().unwrap(), &mut done);
    assert!(done.contains_key(&other));
    while !engine.is_idle() {
        take(engine.step().unwrap(), &mut done);
    }
    assert!(ids.iter().all(|id| done[id].0 == done[&ids[0]].0));
}

#[test]
fn a_long_prompt_is_read_in_pieces_beside_those_that_answer() {
    let world = World::new(tiny::config());
    let (mut engine, under) = world.engine(EngineConfig { chunk: 5, ..EngineConfig::default() });
    let short = engine.submit(Request { stop: vec![], ..request(vec![5], under[1]) }).unwrap();
    let long = engine.submit(request(tiny::ids(23, VOCAB, 4), under[0])).unwrap();
    let order: Vec<Vec<RequestId>> = (0..5)
        .map(|_| {
            let events = engine.step().unwrap();
            events
                .iter()
                .map(|event| match event {
                    Event::Token { request, .. } => *request,
                    other => panic!("{other:?}"),
                })
                .collect()
        })
        .collect();
    assert_eq!(order, [vec![short], vec![short], vec![short], vec![short], vec![short, long]]);
}

#[test]
fn what_does_not_fit_the_memory_waits() {
    let world = World::new(tiny::config());
    let (mut probe, under) = world.engine(EngineConfig::default());
    probe.submit(request(vec![5, 6], under[0])).unwrap();
    probe.step().unwrap();
    let one = probe.memory();
    let (mut engine, under) = world.engine(EngineConfig { memory: Some(2 * one), ..EngineConfig::default() });
    let mut done = Done::new();
    let ids: Vec<RequestId> = (0..5).map(|id| engine.submit(request(vec![5 + id], under[0])).unwrap()).collect();
    take(engine.step().unwrap(), &mut done);
    assert_eq!((engine.running() + done.values().filter(|row| row.1.is_some()).count(), engine.waiting()), (2, 3));
    while !engine.is_idle() {
        take(engine.step().unwrap(), &mut done);
        assert!(engine.memory() <= 2 * one);
    }
    assert!(ids.iter().all(|id| done[id].1.is_some()));
    let (mut small, _) = world.engine(EngineConfig { memory: Some(100), ..EngineConfig::default() });
    let error = small.submit(request(vec![5], Under::Base)).unwrap_err();
    assert!(matches!(error, GenerateError::Memory { budget: 100, .. }), "{error}");
}

/// An expert that all rows share: from some point on, bit for bit what the model does whose weights it is multiplied into.
#[test]
fn an_expert_that_has_read_enough_costs_what_the_base_costs() {
    let world = World::new(tiny::config());
    let worn = tiny::expert(&world.model, 1).apply_to(world.model.clone()).unwrap();
    let merged = worn.clone().materialize();
    let ids = tiny::ids(9, VOCAB, 6);
    let logprobs = |engine: &mut Engine<'_, Decoder>, under| {
        let request = Request { max_new_tokens: 20, stop: vec![], ..request(ids.clone(), under) };
        engine.complete(vec![request], |_, _| ControlFlow::Continue(())).unwrap().remove(0).logprobs
    };
    let base = logprobs(&mut Engine::new(&world.model, EngineConfig::default()), Under::Base);
    let expected = logprobs(&mut Engine::new(&merged, EngineConfig::default()), Under::Base);
    for (merge, own) in [(true, true), (true, false), (false, true), (false, false)] {
        let config = EngineConfig { merge, slots: 1, ..EngineConfig::default() };
        let mut engine = Engine::new(if own { &worn } else { &world.model }, config);
        let under = if own { Under::Own } else { engine.add(&world.scales).unwrap()[1] };
        let before = logprobs(&mut engine, under);
        for _ in 0..6 {
            logprobs(&mut engine, under);
            // The slot forgets what was read before.
            assert_eq!(logprobs(&mut engine, Under::Base), base);
        }
        let after = logprobs(&mut engine, under);
        assert_eq!(before != after, merge, "{before:?} {after:?}");
        // The bank of the scales has `1 + (z - 1)` for `z`.
        assert!(!merge || !own || after == expected, "{after:?} {expected:?}");
        assert_scored(&after, &expected);
    }
}

#[test]
fn tokens_that_are_given_are_scored_in_the_order_of_their_requests() {
    let world = World::new(tiny::config());
    let (mut engine, under) = world.engine(EngineConfig { chunk: 5, slots: 3, ..EngineConfig::default() });
    let prompt = tiny::ids(SHARED, VOCAB, 1);
    let request = |more: &[u32], row: usize| {
        (ScoreRequest { ids: [&prompt, more].concat(), from: SHARED, under: under[row] }, row)
    };
    let asked = [request(&[3], 1), request(&[3, 4, 5], 1), request(&[6], 0), request(&[3, 4], 2), request(&[9; 20], 1)];
    let requests = asked.iter().map(|(request, _)| request.clone()).collect();
    let found = engine.score_all(requests, || ControlFlow::Continue(())).unwrap();
    for (found, (request, row)) in found.iter().zip(&asked) {
        assert_scored(found, &world.scores(request, *row));
    }
    let stopped = engine.score_all(vec![asked[4].0.clone()], || ControlFlow::Break(()));
    assert!(matches!(stopped, Err(GenerateError::Interrupted { .. })) && engine.is_idle());
    let nothing = ScoreRequest { ids: prompt.clone(), from: SHARED, under: Under::Base };
    assert!(matches!(engine.score(nothing.clone()), Err(GenerateError::EmptyCompletion { row: 0 })));
    let error = engine.score_all(vec![asked[0].0.clone(), nothing], || ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, GenerateError::EmptyCompletion { row: 1 }) && engine.is_idle(), "{error}");
}

/// A prompt that is not read to its end may hold what is no number: who cancels it leaves nothing of it behind.
#[test]
fn a_prompt_that_is_cancelled_before_its_last_token_is_forgotten() {
    let broken = 17;
    let model = without_numbers(broken);
    let mut engine = Engine::new(&model, EngineConfig { slots: 1, chunk: 7, ..EngineConfig::default() });
    let (prompt, plain) = (vec![3, broken, 4, 5, 6, 7, 8, 9], vec![4, 5, 6]);
    let expected = engine.complete(vec![request(plain.clone(), Under::Base)], |_, _| ControlFlow::Continue(()));
    let spoilt = [engine.submit(request(prompt.clone(), Under::Base)).unwrap()];
    assert!(engine.step().unwrap().is_empty() && engine.cancel(spoilt[0]) && engine.is_idle());
    // What shares a beginning with it reads all anew, and so comes out as broken as it is.
    let again = engine.complete(vec![request(prompt[..7].to_vec(), Under::Base)], |_, _| ControlFlow::Continue(()));
    assert!(matches!(again, Err(GenerateError::NotFinite { row: 0, step: 0 })), "{again:?}");
    let after = engine.complete(vec![request(plain, Under::Base)], |_, _| ControlFlow::Continue(()));
    assert_eq!(after.unwrap(), expected.unwrap());
}

#[test]
fn what_cannot_be_completed_is_refused_by_name() {
    let world = World::new(tiny::config());
    let (mut engine, _) = world.engine(EngineConfig::default());
    let mut says = |request: Request, part: &str| {
        let error = engine.submit(request).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    says(request(vec![], Under::Base), "empty");
    says(request(vec![40], Under::Base), "token id 40");
    says(request(vec![3; 60], Under::Base), "the model reads 64");
    says(Request { max_new_tokens: 0, ..request(vec![3], Under::Base) }, "max_new_tokens is 0");
    says(Request { sampling: Sampling { top_p: 0.0, ..Sampling::PLAIN }, ..request(vec![3], Under::Base) }, "top_p");
    let plain = tiny::decoder(1);
    let error = Engine::new(&plain, EngineConfig::default()).submit(request(vec![3], Under::Own)).unwrap_err();
    assert!(error.to_string().contains("no adapters"), "{error}");
    assert!(Engine::new(&plain, EngineConfig::default()).add(&world.scales).is_err());
}

/// A model in which the embedding of one token is no number.
fn without_numbers(token: u32) -> Decoder {
    let mut model = tiny::decoder(7);
    let row = token as usize;
    model.embed.weight = model.embed.weight.map(|weight| {
        let [_, width] = weight.dims();
        let broken = Tensor::full([1, width], f32::NAN, &weight.device());
        weight.slice_assign([row..row + 1, 0..width], broken)
    });
    model
}

#[test]
fn a_row_without_numbers_leaves_and_spoils_no_other() {
    let broken = 17;
    let model = without_numbers(broken);
    let mut engine = Engine::new(&model, EngineConfig { slots: 2, ..EngineConfig::default() });
    let spoilt = engine.submit(request(vec![3, broken, 4, 5, 6, 7], Under::Base)).unwrap();
    // Read in one pass with it.
    let good = engine.submit(request(vec![3, 4, 5, 6, 7], Under::Base)).unwrap();
    let after = engine.submit(request(vec![8, 9], Under::Base)).unwrap();
    let (mut left, mut finished) = (vec![], vec![]);
    while !engine.is_idle() {
        for event in engine.step().unwrap() {
            match event {
                Event::Broken { request, step } => left.push((request, step)),
                Event::Token { request, finish, .. } => finished.extend(finish.map(|_| request)),
                other => panic!("{other:?}"),
            }
        }
    }
    finished.sort();
    assert_eq!((left, finished), (vec![(spoilt, 0)], vec![good, after]));
}
