//! Time and memory of what a training step does after sampling: scoring, going backward, summing the gradient of `z`.
//!
//! `cargo run --release --package t2-benches --example learning_step -- MODEL FACTORS CONFIG [TASK] [ROWS]` (Linux: it
//! reads /proc) takes a folder in the layout of Hugging Face, the folder of its factors (`t2 decompose` says where that
//! is), a `TrainConfig` as JSON, and a file of questions, or how many words each prompt is to have; none of these ends
//! before `max_new_tokens`. With `ROWS` the completions of every step are also learned from the plain way, under the scales
//! that the run began with: logits of all positions at once, so many rows at a time.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement takes its arguments and prints a line a step"
)]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use t2_model::adapter::{Active, ExpertInfo};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::generate::score::Sequences;
use t2_model::text::Tokenizer;
use t2_rl::policy::{LossInputs, Needs, PolicyGradient, Reinforce};
use t2_rl::t2_task::{Example, Split, Task, TaskError};
use t2_rl::t2_task::{Settings, jsonl};
use t2_rl::{Sample, Step, TrainConfig, TrainInputs, train};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, factors, config, rest @ ..] = args.as_slice() else { return Err("MODEL FACTORS CONFIG".into()) };
    let config: TrainConfig = serde_json::from_str(config)?;
    let tokenizer = Tokenizer::load(Path::new(model))?.ok_or("the folder has no tokenizer")?;
    let checkpoint = t2_model::checkpoint::load(Path::new(model), None, &Device::flex())?;
    let (task, stop): (Box<dyn Task>, _) = match rest.first() {
        Some(file) if file.ends_with(".jsonl") => {
            (Box::new(jsonl::open(file, &Settings::default())?), checkpoint.generation.eos.clone())
        }
        words => (Box::new(Alternating { words: words.map_or(Ok(64), |words| words.parse())? }), vec![]),
    };
    let plain_rows: Option<usize> = rest.get(1).map(|rows| rows.parse()).transpose()?;
    let model = checkpoint.model;
    let decomposition = Decomposition::load(&model, Targets::ALL, Path::new(factors))?;
    let model = model.trainable(&decomposition)?;
    drop(decomposition);
    let info = ExpertInfo::for_model("timed", &model);
    let examples = task.load(Split::Train, config.prompts * config.steps)?;
    let policy = Watched { began: Mutex::new(None) };
    let dir = std::env::temp_dir().join(format!("learning-step-{}", std::process::id()));
    let inputs = TrainInputs::new(&tokenizer, &*task, &examples, &info, &dir);
    let mut show = |step: Step<'_>| {
        let Ok(Some(began)) = policy.began.lock().map(|mut began| began.take()) else { return ControlFlow::Break(()) };
        let learned = began.passed();
        let tokens: usize = step.samples.iter().map(|s| s.rollout.prompt.len() + s.rollout.completion.ids.len()).sum();
        println!("{} rows, {tokens} tokens", step.samples.len());
        println!("as trained: {}, gradient norm {:.4}", learned.shown(tokens), step.metrics.grad_norm);
        if let Some(rows) = plain_rows {
            let began = Began::now();
            let norm = plain(&model, step.samples, config.group, rows);
            println!("plain:      {}, gradient norm {norm:.4}", began.passed().shown(tokens));
        }
        ControlFlow::Continue(())
    };
    train(model.clone(), &config, TrainInputs { policy: &policy, stop: &stop, ..inputs }, &mut show)?;
    Ok(std::fs::remove_dir_all(dir)?)
}

/// REINFORCE by automatic differentiation of everything, logits of all positions at once; the norm of the gradient.
fn plain(model: &Decoder, samples: &[Sample<'_>], group: usize, rows: usize) -> f64 {
    let rewards: Vec<f32> = samples.iter().map(|sample| sample.reward).collect();
    let advantages: Vec<f32> = rewards.chunks(group).flat_map(|group| Reinforce::PLAIN.advantages(group)).collect();
    let device = model.devices()[0].clone();
    let mut sum: Option<Vec<f64>> = None;
    for (samples, advantages) in samples.chunks(rows).zip(advantages.chunks(rows)) {
        let ids: Vec<(&[u32], &[u32])> =
            samples.iter().map(|s| (s.rollout.prompt.as_slice(), s.rollout.completion.ids.as_slice())).collect();
        let sequences = Sequences::new(&ids, &device).expect("completions have tokens");
        let log_softmax = sequences.log_softmax(model, Active::Own).expect("the model is adapted");
        let logprobs = sequences.chosen(log_softmax.clone());
        let constant = log_softmax.detach();
        let entropy = (constant.clone().exp() * constant).sum_dim(2).squeeze_dim::<2>(2) * sequences.mask.clone();
        entropy.sum().into_data();
        let loss = Reinforce::PLAIN.loss(LossInputs {
            logprobs,
            sampled: None,
            kl: None,
            entropy: None,
            advantages: Tensor::from_floats(advantages, &device),
            mask: sequences.mask,
            completions: rewards.len(),
        });
        let gradient = flat(model, &GradientsParams::from_grads(loss.backward(), model));
        sum = Some(match sum {
            Some(sum) => sum.iter().zip(gradient).map(|(sum, new)| sum + new).collect(),
            None => gradient,
        });
    }
    sum.unwrap_or_default().iter().map(|g| g * g).sum::<f64>().sqrt()
}

/// The gradient of every scale, weight after weight.
fn flat(model: &Decoder, gradients: &GradientsParams) -> Vec<f64> {
    struct Flat<'a>(&'a GradientsParams, Vec<f64>);
    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.extend(gradient.into_data().iter::<f64>());
            }
        }
    }
    let mut flat = Flat(gradients, vec![]);
    model.visit(&mut flat);
    flat.1
}

/// Every other completion is right, and prompts have so many words.
struct Alternating {
    words: usize,
}

impl Task for Alternating {
    fn name(&self) -> &'static str {
        "alternating"
    }

    fn about(&self) -> &'static str {
        "be right every other time"
    }

    fn load(&self, _: Split, limit: usize) -> Result<Vec<Example>, TaskError> {
        let word = |i: usize| ["cat", "dog", "sun", "tree", "moon"][i % 5];
        let question = |i: usize| (0..self.words).map(|place| word(i + place * place)).collect::<Vec<_>>().join(" ");
        Ok((0..limit).map(|i| Example::new(format!("{i} {}", question(i)), "")).collect())
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok((0..graded.len()).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect())
    }
}

/// Plain REINFORCE that knows when learning begins.
struct Watched {
    began: Mutex<Option<Began>>,
}

impl PolicyGradient for Watched {
    fn describe(&self) -> String {
        Reinforce::PLAIN.describe()
    }

    fn needs(&self) -> Needs {
        PolicyGradient::needs(&Reinforce::PLAIN)
    }

    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        if let Ok(mut began) = self.began.lock() {
            *began = Some(Began::now());
        }
        Reinforce::PLAIN.advantages(rewards)
    }

    fn loss(&self, inputs: LossInputs) -> Tensor<1> {
        Reinforce::PLAIN.loss(inputs)
    }
}

/// A moment, and how much memory and time of the processor were used until then.
struct Began {
    at: Instant,
    mib: f64,
    cpu_seconds: f64,
}

/// What was used since.
struct Passed {
    seconds: f64,
    cpu_seconds: f64,
    before_mib: f64,
    peak_mib: f64,
}

impl Began {
    fn now() -> Self {
        // Writing 5 here resets the peak to what is in use now. Figures that cannot be read are 0.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self { at: Instant::now(), mib: status_mib("VmRSS").unwrap_or(0.0), cpu_seconds: cpu_seconds().unwrap_or(0.0) }
    }

    fn passed(&self) -> Passed {
        Passed {
            seconds: self.at.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds().unwrap_or(0.0) - self.cpu_seconds,
            before_mib: self.mib,
            peak_mib: status_mib("VmHWM").unwrap_or(0.0),
        }
    }
}

impl Passed {
    fn shown(&self, tokens: usize) -> String {
        let Self { seconds, cpu_seconds, before_mib, peak_mib } = self;
        format!(
            "{seconds:.2} s ({cpu_seconds:.2} s of the processor), {:.0} tokens/s, peak {peak_mib:.0} MiB after {before_mib:.0} MiB",
            tokens as f64 / seconds
        )
    }
}

/// Seconds that the processor has worked for this process, on all cores, of Linux's 100 ticks each.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// A line of /proc/self/status that is given in kB, in MiB.
fn status_mib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
