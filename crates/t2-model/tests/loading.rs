//! What loading a checkpoint holds in memory beside the model, by what the allocator hands out.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it measured")]

use burn::prelude::*;
use burn::tensor::DType;
use peak_alloc::PeakAlloc;
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, GenerationDefaults};
use t2_model::decoder::{DecoderConfig, MlpConfig};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// An embedding of 8 MiB in f32, the largest tensor, and two MLPs of 3 x 1 MiB.
fn config() -> DecoderConfig {
    DecoderConfig { vocab: 8192, d_model: 256, mlp: MlpConfig::new(1024), tied_head: true, ..DecoderConfig::tiny() }
}

/// What loading may hold beside the model, in largest tensors. It holds none of them: this is room for names, and for
/// the tiles of every thread.
const BESIDE: f64 = 0.1;

// One test: the allocator counts the whole process.
#[test]
fn beside_the_model_memory_holds_less_than_a_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    checkpoint::save(&config.init(&Device::flex()), &Llama, &GenerationDefaults::default(), folder.path()).unwrap();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let loaded = checkpoint::load(folder.path(), Some(dtype), &Device::flex()).unwrap();
        let model = ALLOCATOR.current_usage() - before;
        let beside = ALLOCATOR.peak_usage() - before - model;
        let largest = config.vocab * config.d_model * dtype.size();
        println!("{}: model {model}, beside it {beside}, largest tensor {largest} bytes", dtype.name());
        assert!(model >= config.num_params() * dtype.size() && loaded.dtype == dtype);
        assert!((beside as f64) < BESIDE * largest as f64, "{beside} of {largest}");
    }
}
