//! Two passes on a tiny random model: a strategy of one's own takes an expert for whatever has a number in it. The expert
//! is untrained, so all answers are those of the base model.
//!
//! `cargo run --package t2-dispatch --example two_passes`

#![expect(clippy::print_stdout, reason = "an example prints what it found")]
use t2_dispatch::burn::prelude::Device;
use t2_dispatch::t2_model::{CausalLm, DecoderConfig, Decomposition, Expert, ExpertInfo, Targets, Tokenizer, text};
use t2_dispatch::{Choice, DispatchError, ExpertPool, ModelOracle, Oracle, Query, Strategy, two_pass};

struct Numbers;
impl Strategy for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }
    fn choose(&mut self, all: &[Query], pool: &ExpertPool, _: &mut dyn Oracle) -> Result<Vec<Choice>, DispatchError> {
        all.iter().map(|query| Ok(pool.choice(query.text().contains(char::is_numeric).then_some(0), vec![])?)).collect()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokenizer = Tokenizer::new(text::bpe::train(["Tom has 4 apples."; 20].into_iter(), 280, &["<|end|>"])?);
    let model = DecoderConfig { vocab: 280, max_seq_len: 256, ..DecoderConfig::tiny() }.init(&Device::flex());
    let model = model.clone().adapted(&Decomposition::of(&model, Targets::ALL)?)?;
    let pool = ExpertPool::new(&model, vec![Expert::from_model(&model, ExpertInfo::for_model("math", &model))?])?;
    let queries = [Query::user("4 + 3?"), Query::user("Hello")];
    let passes = two_pass(&mut Numbers, &queries, &pool, &mut ModelOracle::new(&model, &tokenizer, &pool))?;
    passes.answers.iter().for_each(|a| println!("{}, {} tokens", a.choice.label, a.completion.ids.len()));
    Ok(())
}
