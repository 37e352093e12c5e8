//! `config.json`: whatever it says, it describes a decoder or is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use t2_model::architecture::{ARCHITECTURES, find};
use t2_model::burn::tensor::DType;
use t2_model::{Footprint, Targets};

/// Layers that are listed one by one below; the list itself is as long as the config says.
const MOST_LAYERS: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice::<Value>(bytes) else { return };
    let _ = find(&json);
    for architecture in ARCHITECTURES {
        let Ok(config) = architecture.config(&json) else { continue };
        assert_eq!(config.check(), Ok(()), "{}: what is accepted is a decoder", architecture.hf_name());
        config.num_params();
        if config.layers <= MOST_LAYERS {
            for source in architecture.sources(&config) {
                source.stored_shape();
            }
            Footprint::of(&config, DType::BF16, Targets::ALL);
            let again = architecture.config(&architecture.to_json(&config));
            assert!(again.is_ok(), "{}: what is written is read: {again:?}", architecture.hf_name());
        }
    }
});
