//! A GGUF file: whatever its bytes, it is read or refused.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use t2_model::Tokenizer;
use t2_model::checkpoint::{self, Files, LoadOptions};
use t2_model::format::gguf::{Gguf, parse};

/// More numbers than this are not worth a fuzzer's time.
const MOST_NUMBERS: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    if parse(bytes).is_err() {
        return;
    }
    let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("there is room for a small file");
    file.write_all(bytes).expect("there is room for a small file");
    let Ok(gguf) = Gguf::open(file.path()) else { return };
    for tensor in gguf.tensors() {
        if tensor.shape.iter().product::<usize>() <= MOST_NUMBERS {
            tensor.values();
        }
    }
    let _ = checkpoint::summarize(file.path());
    let _ = Tokenizer::load(file.path());
    if let Ok(files) = Files::open(file.path()) {
        let _ = files.stored_as();
        let _ = files.hash(None);
        if files.config.num_params() <= MOST_NUMBERS {
            let _ = files.load(&t2_model::burn::prelude::Device::flex(), LoadOptions::default());
        }
    }
});
