//! A task of one's own and an expert that learns it, broken off after the second step and taken up again.
//!
//! `cargo run --package t2-rl --example own_task`

#![expect(clippy::print_stdout, reason = "an example prints what it found")]

use std::ops::ControlFlow::{Break, Continue};
use t2_rl::prelude::*;

struct Vowels(Vec<Example>);

#[rustfmt::skip]
impl Task for Vowels {
    fn name(&self) -> &str { "vowels" }
    fn load(&self, _: Split, n: usize) -> Result<Vec<Example>, TaskError> { Ok(self.0.iter().take(n).cloned().collect()) }
    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok(graded.iter().map(|(_, answer)| reward(answer.contains(['a', 'e', 'i', 'o', 'u']))).collect())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokenizer = Tokenizer::new(t2_model::text::bpe::train(["Tom has 4 cats."; 20].into_iter(), 280, &["<|end|>"])?);
    let base = DecoderConfig { vocab: 280, ..DecoderConfig::tiny() }.init(&Device::flex());
    let model = base.clone().trainable(&Decomposition::of(&base, Targets::ALL)?)?;
    let task = Vowels(vec![Example::new("Say a vowel.", "a")]);
    let (info, dir) = (ExpertInfo::for_model("vowels", &model), tempfile::tempdir()?);
    let inputs = TrainInputs::new(&tokenizer, &task, &task.0, &info, dir.path());
    let config = TrainConfig { steps: 3, max_new_tokens: 4, ..TrainConfig::default() };
    let mut seen = (Vec::new(), |step: Step<'_>| if step.metrics.step == 2 { Break(()) } else { Continue(()) });
    println!("{}", train(model.clone(), &config, inputs, &mut seen).expect_err("two steps are enough"));
    train(model, &config, inputs, &mut seen)?;
    seen.0.iter().for_each(|s: &StepMetrics| println!("step {}: mean reward {:+.2}", s.step, s.reward_mean));
    Ok(())
}
