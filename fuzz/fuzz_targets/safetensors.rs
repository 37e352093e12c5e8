//! The weights of a folder: whatever the bytes of `model.safetensors`, they are read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use t2_model::checkpoint::Files;

const CONFIG: &str = r#"{
    "model_type": "llama", "vocab_size": 2, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "tie_word_embeddings": true
}"#;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("there is room for a small file");
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("there is room for a small file");
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("there is room for a small file");
    let Ok(files) = Files::open(folder.path()) else { return };
    let _ = files.stored_as();
    let _ = files.hash(None);
    let _ = files.load(&t2_model::burn::prelude::Device::flex(), t2_model::checkpoint::LoadOptions::default());
});
