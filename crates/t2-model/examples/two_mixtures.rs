//! Load a folder, decompose its MLPs, make an expert by hand, and generate two rows under different mixtures.
//!
//! `cargo run --package t2-model --example two_mixtures`

#![expect(clippy::print_stdout, reason = "an example prints what it found")]

use t2_model::burn::prelude::Device;
use t2_model::{
    Active, Bank, CausalLm, DecomposeOptions, Decomposition, Expert, ExpertInfo, GenerateConfig, Message, Mixture,
    Prompts, Targets, Tokenizer, checkpoint, generate,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tiny").as_ref();
    let tokenizer = Tokenizer::load(folder)?.ok_or("the folder has no tokenizer")?;
    let loaded = checkpoint::load(folder, None, &Device::flex())?;

    let cache = tempfile::tempdir()?;
    let options = DecomposeOptions { cache: Some(cache.path()), ..DecomposeOptions::default() };
    let decomposition =
        Decomposition::with(&loaded.model, Targets::MLP, options, |_| std::ops::ControlFlow::Continue(()))?;
    let model = loaded.model.adapted(&decomposition)?;

    let neutral = Expert::from_model(&model, ExpertInfo::for_model("louder", &model))?;
    let louder = neutral.iter().map(|(path, z)| (path.to_owned(), z.iter().map(|z| 2.0 * z).collect())).collect();
    let expert = Expert::new(louder, neutral.info)?;

    let rows = Bank::new(&model, &[&expert])?.rows(&[Mixture::base(1), Mixture::global(vec![0.5])])?;
    let prompts = vec![tokenizer.encode_chat(&[Message::user("Tom has 4 apples. He buys 3 more. How many now?")])?; 2];
    let config = GenerateConfig { max_new_tokens: 40, stop: loaded.generation.eos, ..GenerateConfig::default() };
    for completion in generate(&model, Prompts::new(&prompts).under(Active::Rows(&rows)), &config)? {
        println!("{}", tokenizer.decode(completion.answer_ids())?);
    }
    Ok(())
}
