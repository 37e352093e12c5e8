//! Pretraining of the bundled model: next-token cross-entropy over the [corpus](crate::corpus), packed without padding.
//!
//! Resumable and deterministic: the state on disk is the weights, the optimizer, the step and the position in the
//! corpus, and a run resumed from it makes the same model as one that was never interrupted.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};
use t2_model::config::DecoderConfig;
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::files::{WriteError, write_atomically};
use t2_model::mix::Mix;
use t2_model::tokenizer::{Tokenizer, TokenizerError};

use crate::corpus::{Document, documents};

/// Ends every document and every answer.
pub const END: &str = "<|end|>";
/// Fills rows that are shorter than others.
pub const PAD: &str = "<|pad|>";
/// Ids 0 to 3 of the tokenizer.
const SPECIAL: [&str; 4] = [PAD, END, "<|user|>", "<|assistant|>"];
/// Documents that the tokenizer is learned from.
const TOKENIZER_DOCUMENTS: usize = 20_000;
/// The conversation as the model reads it.
const CHAT_TEMPLATE: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\
    {% if m.role == 'assistant' %}<|end|>{% endif %}{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// How the bundled model is pretrained.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Highest learning rate, reached after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from zero; then it falls to a tenth along a cosine.
    pub warmup_steps: usize,
    /// Weight of the tokens of a question in the loss; those of answers and prose weigh 1.
    pub question_weight: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Largest norm of the gradient of one parameter.
    pub max_grad_norm: f32,
    /// Seed of the initial weights and of the corpus.
    pub seed: u64,
    /// Steps between two checkpoints.
    pub save_every: usize,
}

/// What a step reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PretrainStep {
    /// Steps done, this one included.
    pub step: usize,
    /// Mean cross-entropy of the batch, nats per token.
    pub loss: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens seen since the beginning.
    pub tokens: usize,
}

/// Why pretraining stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A checkpoint could not be read.
    #[error("the checkpoint {path} is unusable ({reason}); delete it to start over")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// Position of a run: all that a resumed one needs besides weights and optimizer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    step: usize,
    next_document: usize,
    /// Tokens of documents already read that no batch has used yet, with their weights in the loss.
    pending: Vec<(u32, f32)>,
}

/// Train a fresh decoder, or go on where `dir` says an earlier run stopped.
///
/// `report` sees every step and may break off; the state is then on disk and the model so far is returned.
///
/// # Errors
///
/// [`PretrainError`] when the tokenizer or the disk fails.
pub fn pretrain(
    config: &PretrainConfig,
    shape: &DecoderConfig,
    tokenizer: &Tokenizer,
    (dir, device): (&Path, &Device),
    mut report: impl FnMut(PretrainStep) -> ControlFlow<()>,
) -> Result<Decoder, PretrainError> {
    let device = device.clone().autodiff();
    device.seed(config.seed);
    let mut model = shape.init(&device);
    let mut optimizer = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_weight_decay(config.weight_decay)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(config.max_grad_norm)))
        .init();
    let mut progress = Progress::default();
    if state_file(dir).exists() {
        (model, optimizer, progress) = restore(dir, model, optimizer)?;
    }
    let mut rows = Rows::new(config, tokenizer, &progress);
    while progress.step < config.steps {
        let (tokens, weights) = rows.batch(config, &device)?;
        let loss = cross_entropy(&model, tokens, weights);
        let value = loss.clone().into_scalar::<f32>();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let learning_rate = learning_rate(config, progress.step);
        model = optimizer.step(learning_rate, model, grads);
        progress =
            Progress { step: progress.step + 1, next_document: rows.next_document, pending: rows.pending.clone() };
        let tokens = progress.step * config.batch * config.seq;
        let flow = report(PretrainStep { step: progress.step, loss: value, learning_rate, tokens });
        if flow.is_break() || progress.step % config.save_every == 0 {
            save(dir, &model, &optimizer, &progress)?;
        }
        if flow.is_break() {
            break;
        }
    }
    Ok(model.valid())
}

/// Weighted mean of the negative log-probability of each next token, for `tokens` and `weights` `[batch, seq + 1]`.
fn cross_entropy(model: &Decoder, tokens: Tensor<2, Int>, weights: Tensor<2>) -> Tensor<1> {
    let [_, columns] = tokens.dims();
    let inputs = tokens.clone().slice_dim(1, 0..columns - 1);
    let targets = tokens.slice_dim(1, 1..columns);
    let logits = model.forward(inputs, None, Mix::Base);
    let weights = weights.slice_dim(1, 1..columns);
    let logprobs = log_softmax(logits, 2).gather(2, targets.unsqueeze_dim(2)).squeeze_dim::<2>(2);
    (logprobs * weights.clone()).sum().neg() / weights.sum()
}

/// Learning rate of the step after `step` steps: linear warm-up, then a cosine down to a tenth.
fn learning_rate(config: &PretrainConfig, step: usize) -> f64 {
    if step < config.warmup_steps {
        return config.learning_rate * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let done = (step - config.warmup_steps) as f64 / (config.steps - config.warmup_steps).max(1) as f64;
    config.learning_rate * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()))
}

/// The corpus as rows of token ids.
struct Rows<'a> {
    documents: Box<dyn Iterator<Item = Document>>,
    tokenizer: &'a Tokenizer,
    next_document: usize,
    pending: Vec<(u32, f32)>,
}

impl<'a> Rows<'a> {
    fn new(config: &PretrainConfig, tokenizer: &'a Tokenizer, progress: &Progress) -> Self {
        let documents = Box::new(documents(config.seed).skip(progress.next_document));
        Self { documents, tokenizer, next_document: progress.next_document, pending: progress.pending.clone() }
    }

    /// The next tokens and their weights, `[batch, seq + 1]`; the last column of a row is only predicted.
    fn batch(
        &mut self,
        config: &PretrainConfig,
        device: &Device,
    ) -> Result<(Tensor<2, Int>, Tensor<2>), PretrainError> {
        let wanted = config.batch * (config.seq + 1);
        while self.pending.len() < wanted {
            let Some(document) = self.documents.next() else { break };
            self.pending.extend(encode(self.tokenizer, &document, config.question_weight)?);
            self.next_document += 1;
        }
        let (ids, weights): (Vec<i64>, Vec<f32>) =
            self.pending.drain(..wanted).map(|(id, weight)| (i64::from(id), weight)).unzip();
        let shape = [config.batch, config.seq + 1];
        Ok((
            Tensor::from_data(TensorData::new(ids, shape), device),
            Tensor::from_data(TensorData::new(weights, shape), device),
        ))
    }
}

/// The tokens of a document exactly as the model meets them when it answers, and the end; with their weights.
fn encode(tokenizer: &Tokenizer, document: &Document, question_weight: f32) -> Result<Vec<(u32, f32)>, TokenizerError> {
    let (prompt, answer) = document.turns.split_at(document.turns.len() - 1);
    let prompt = if prompt.is_empty() { vec![] } else { tokenizer.encode_chat(prompt)? };
    let mut ids: Vec<(u32, f32)> = prompt.into_iter().map(|id| (id, question_weight)).collect();
    for turn in answer {
        ids.extend(tokenizer.encode_fragment(&turn.content)?.into_iter().map(|id| (id, 1.0)));
    }
    ids.extend(tokenizer.token_id(END).map(|id| (id, 1.0)));
    Ok(ids)
}

/// Learn a tokenizer of `vocab` ids from the corpus and write it to `dir` with the chat template.
///
/// # Errors
///
/// [`PretrainError`] when the trainer or the disk fails.
pub fn write_tokenizer(dir: &Path, vocab: usize, seed: u64) -> Result<(), PretrainError> {
    let texts: Vec<String> =
        documents(seed).take(TOKENIZER_DOCUMENTS).flat_map(|d| d.turns).map(|turn| turn.content).collect();
    let tokenizer = t2_model::bpe::train(texts.iter().map(String::as_str), vocab, &SPECIAL)?;
    let json = tokenizer.to_string(true).map_err(|e| TokenizerError::Tokenize(e.to_string()))?;
    write_atomically(&dir.join("tokenizer.json"), json.as_bytes())?;
    let config = serde_json::json!({ "eos_token": END, "pad_token": PAD, "chat_template": CHAT_TEMPLATE });
    write_atomically(&dir.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())?;
    Ok(())
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("pretrain.json")
}

fn record_file(dir: &Path, kind: &str, step: usize) -> PathBuf {
    dir.join(format!("pretrain-{kind}-{step}.bpk"))
}

/// Weights and optimizer first, under names with their step; then the state that names them; then the old ones go.
fn save(dir: &Path, model: &Decoder, optimizer: &ModuleOptimizer, progress: &Progress) -> Result<(), PretrainError> {
    let step = progress.step;
    let weights = model.clone().into_record().into_bytes();
    let moments = optimizer.into_bytes();
    for (kind, bytes) in [("model", weights), ("optimizer", moments)] {
        let path = record_file(dir, kind, step);
        let bytes = bytes.map_err(|error| unusable(&path, &error))?;
        write_atomically(&path, &bytes)?;
    }
    let before = read_progress(dir).ok();
    let state = serde_json::to_vec(progress).map_err(|error| unusable(&state_file(dir), &error))?;
    write_atomically(&state_file(dir), &state)?;
    if let Some(before) = before.filter(|before| before.step != step) {
        for kind in ["model", "optimizer"] {
            // A file that cannot be removed only costs space.
            let _ = std::fs::remove_file(record_file(dir, kind, before.step));
        }
    }
    Ok(())
}

fn read_progress(dir: &Path) -> Result<Progress, PretrainError> {
    let path = state_file(dir);
    let text = std::fs::read(&path).map_err(|error| unusable(&path, &error))?;
    serde_json::from_slice(&text).map_err(|error| unusable(&path, &error))
}

fn restore(
    dir: &Path,
    model: Decoder,
    optimizer: ModuleOptimizer,
) -> Result<(Decoder, ModuleOptimizer, Progress), PretrainError> {
    let progress = read_progress(dir)?;
    let read = |kind| {
        let path = record_file(dir, kind, progress.step);
        std::fs::read(&path).map(burn::tensor::Bytes::from_bytes_vec).map_err(|error| unusable(&path, &error))
    };
    let weights = ModuleRecord::from_bytes(read("model")?);
    let model_path = record_file(dir, "model", progress.step);
    let weights = weights.map_err(|error| unusable(&model_path, &error))?;
    let model = model.try_load_record(weights).map_err(|error| unusable(&model_path, &error))?;
    let optimizer = optimizer.from_bytes(read("optimizer")?);
    let optimizer =
        optimizer.map_err(|error: RecordError| unusable(&record_file(dir, "optimizer", progress.step), &error))?;
    Ok((model, optimizer, progress))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> PretrainError {
    PretrainError::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}
