//! A decomposition keeps to the memory it is allowed, and an export to a tensor at a time, by what the allocator hands out.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;

use burn::prelude::*;
use peak_alloc::PeakAlloc;
use t2_linalg::HostSvd;
use t2_model::adapter::expert::Parametrization;
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, Files, GenerationDefaults};
use t2_model::decoder::{AttentionConfig, DecoderConfig, MlpConfig};
use t2_model::decomposition::{DecomposeConfig, DecomposeError, Targets, decompose};
use t2_model::export::{Export, MergeOptions, write_merged};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;

/// What the process holds beside the matrices: threads, names, buffers for files.
const BESIDE: usize = MIB;

/// Tensors' worth that an export holds at a time: the stored values, the factors, the change, the sum of both and its
/// bytes. The model has 28 that large.
const TENSORS: usize = 6;

/// Eight blocks of 1.9 MiB in f32.
static CONFIG: LazyLock<DecoderConfig> = LazyLock::new(|| DecoderConfig {
    vocab: 8,
    d_model: 160,
    layers: 8,
    attention: AttentionConfig::new(4, 4, 40),
    mlp: MlpConfig::new(768),
    tied_head: true,
    ..DecoderConfig::tiny()
});

// One test: the allocator counts the whole process.
#[test]
fn the_memory_allowed_is_not_exceeded_and_is_used_and_an_export_holds_one_tensor() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    {
        let model = CONFIG.init(&device);
        checkpoint::save(&model, &Llama, &GenerationDefaults::default(), folder.path()).unwrap();
    }
    let keep_on = |_| ControlFlow::Continue(());
    let run = |memory: Option<usize>| {
        let cache = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let weights = files.weights(Targets::ALL, None, &device).unwrap();
        let config = DecomposeConfig { memory, ..DecomposeConfig::default() };
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let outcome = decompose(weights, config, &HostSvd::default(), cache.path(), keep_on);
        outcome.map(|report| (report, ALLOCATOR.peak_usage() - before))
    };
    let (free, _) = run(None).unwrap();
    let mut peaks = vec![];
    for memory in [free.memory / 3, free.memory / 2, free.memory] {
        // faer reserves twice the last cache for each thread, once and for all; the best of several runs is free of it.
        let (report, peak) = (0..4).map(|_| run(Some(memory)).unwrap()).min_by_key(|(_, peak)| *peak).unwrap();
        println!("allowed {memory}, planned {}, peak {peak}", report.memory);
        assert_eq!(report.matrices, 56);
        assert!(report.memory <= memory && peak <= report.memory + BESIDE, "{peak} of {} of {memory}", report.memory);
        peaks.push(peak);
    }
    assert!(peaks[0] < peaks[2], "a larger allowance is made use of: {peaks:?}");
    let error = run(Some(MIB)).unwrap_err();
    assert!(matches!(error, DecomposeError::Memory { memory: 1, .. }), "{error}");
    export(folder.path());
}

/// Write a merged folder, and expect that what is held at a time is made of one tensor: its values, their change, their
/// bytes, and the factors of the change with one product of them.
fn export(base: &Path) {
    let device = Device::flex();
    let [factors, merged] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let files = Files::open(base).unwrap();
    let weights = files.weights(Targets::ALL, None, &device).unwrap();
    let keep_on = |_| ControlFlow::Continue(());
    decompose(weights, DecomposeConfig::default(), &HostSvd::default(), factors.path(), keep_on).unwrap();
    let expert = expert(base);
    let mut keep_on = |_, _| ControlFlow::Continue(());
    let export = Export {
        files: &files,
        expert: Some(&expert),
        factors: factors.path(),
        device: &device,
        progress: &mut keep_on,
    };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let report = write_merged(export, MergeOptions::default(), merged.path()).unwrap();
    let peak = ALLOCATOR.peak_usage() - before;
    let MlpConfig { d_hidden, .. } = CONFIG.mlp;
    let tensor = size_of::<f32>() * CONFIG.d_model * d_hidden;
    println!("exported {} bytes at a peak of {peak}, {:.1} tensors", report.bytes, peak as f64 / tensor as f64);
    assert!(peak < TENSORS * tensor + BESIDE, "{peak} bytes, {} tensors of {tensor}", peak / tensor);
}

/// An expert that doubles everything.
fn expert(base: &Path) -> Expert {
    let adapted = CONFIG.parameters().filter(|(path, _)| Targets::ALL.matches(path));
    let z = adapted.map(|(path, shape)| (path, vec![2.0; shape.into_iter().min().unwrap()]));
    let info = ExpertInfo {
        name: "double".to_owned(),
        base_model: checkpoint::hash(base).unwrap(),
        targets: Targets::ALL,
        parametrization: Parametrization::Scale,
        training: String::new(),
    };
    Expert::new(z.collect(), info).unwrap()
}
