//! Completes batches of prompts with candle's Llama, for `benches/peers/engine.py`: as `benches/examples/decoding.rs`, line
//! for line. Prompts of a batch must be of one length: candle's Llama takes no mask for padding.

use std::error::Error;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::utils::init_global_threadpool;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The allocator of `t2`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    init_global_threadpool();
    let folder = std::env::args().nth(1).ok_or("the argument is a folder with a Llama")?;
    let config = config(Path::new(&folder))?;
    let files = weights(Path::new(&folder))?;
    // SAFETY: nobody writes to the checkpoint meanwhile.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&files, DType::F32, &Device::Cpu)? };
    let model = Llama::load(weights, &config)?;
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&model, &config, serde_json::from_str(&line?)?)?);
    }
    Ok(())
}

/// The model's config. Newer ones keep the base of the rotary encoding where candle does not look.
fn config(folder: &Path) -> Result<Config> {
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    if let Some(theta) = config["rope_parameters"].get("rope_theta").cloned() {
        config["rope_theta"] = theta;
    }
    Ok(serde_json::from_value::<LlamaConfig>(config)?.into_config(false))
}

fn weights(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect())
}

fn answer(model: &Llama, config: &Config, mut request: Value) -> Result<Value> {
    let prompts: Vec<Vec<u32>> = serde_json::from_value(request["prompts"].take())?;
    let new_tokens: usize = serde_json::from_value(request["new_tokens"].take())?;
    let mut cache = Cache::new(true, DType::F32, config, &Device::Cpu)?;
    let mut step = |tokens: Vec<u32>, seq: usize, at: usize| -> Result<Vec<u32>> {
        let tokens = Tensor::from_vec(tokens, (prompts.len(), seq), &Device::Cpu)?;
        Ok(model.forward(&tokens, at, &mut cache)?.argmax(D::Minus1)?.to_vec1()?)
    };
    let prompt_len = prompts.first().map_or(0, Vec::len);
    let start = Instant::now();
    let mut last = step(prompts.concat(), prompt_len, 0)?;
    let (first, mut ids) = (start.elapsed(), vec![last[0]]);
    for at in 1..new_tokens {
        last = step(last, 1, prompt_len + at - 1)?;
        ids.push(last[0]);
    }
    let rest = start.elapsed() - first;
    Ok(json!({"first": first.as_secs_f64(), "rest": rest.as_secs_f64(), "ids": ids}))
}
