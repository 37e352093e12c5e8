//! Pretraining of the bundled model: next-token cross-entropy over the [corpus](t2_task::tiny::corpus).
//!
//! A row is one document, so that no question is ever cut off from its answer; documents of like length share a batch.
//! Matrices of the blocks learn by Muon, which learned faster than `AdamW` in trials; everything else by `AdamW`.
//!
//! Resumable and deterministic: the state on disk is the weights, the optimizer, the step and the position in the
//! corpus, and a run resumed from it makes the same model as one that was never interrupted.

mod optimizer;
mod state;

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use t2_model::adapter::Active;
use t2_model::decoder::{BadShape, CausalLm, Decoder, DecoderConfig};
use t2_model::files::{WriteError, write_atomically};
use t2_model::text::{Tokenizer, TokenizerError};
use t2_task::tiny::corpus::{Document, RECITALS_FIRST, documents};

use optimizer::Optimizer;
use state::{Progress, read_progress, restore, save, state_file};

/// Ends every document and every answer.
pub const END: &str = "<|end|>";
/// Fills rows that are shorter than others.
pub const PAD: &str = "<|pad|>";
/// Ids 0 to 3 of the tokenizer.
const SPECIAL: [&str; 4] = [PAD, END, "<|user|>", "<|assistant|>"];
/// Documents after the first recitals that the tokenizer is learned from.
const TOKENIZER_DOCUMENTS: usize = 20_000;
/// Documents that are sorted by length together.
const POOL: usize = 1024;
/// The conversation as the model reads it.
const CHAT_TEMPLATE: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\
    {% if m.role == 'assistant' %}<|end|>{% endif %}{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// How the bundled model is pretrained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Tokens of a batch, about: documents are added until there are this many, padding included.
    pub batch_tokens: usize,
    /// Highest learning rate, reached after the warm-up. That of Muon is scaled to move a matrix as far as `AdamW`.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from zero; then it falls to a tenth along a cosine.
    pub warmup_steps: usize,
    /// Weight of the tokens of a question in the loss, random ones apart, which weigh nothing; those of answers and prose
    /// weigh 1.
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
    /// Tokens seen since the beginning, without padding.
    pub tokens: usize,
}

/// Why pretraining stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The system gave no thread.
    #[error("cannot start the threads that pretraining takes ({0}); close something and try again")]
    Threads(String),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There is no decoder of this shape.
    #[error(transparent)]
    Shape(#[from] BadShape),
    /// The folder holds a run of another configuration.
    #[error("{path} belongs to a run with other settings; go on with those, or choose another folder")]
    OtherRun {
        /// The file that says so.
        path: PathBuf,
    },
    /// The loss is no number any more; the last checkpoint is from before.
    #[error("step {step}: the loss is not finite; lower the learning rate and go on from the last checkpoint")]
    NotFinite {
        /// The step.
        step: usize,
    },
    /// The caller broke off; the state is on disk.
    #[error("interrupted after {step} of {steps} steps")]
    Interrupted {
        /// Steps done.
        step: usize,
        /// Steps in all.
        steps: usize,
    },
    /// A checkpoint could not be read.
    #[error("the checkpoint {path} is unusable ({reason}); delete it to start over")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// What the bundled model is pretrained with.
#[derive(Clone, Copy, Debug)]
pub struct PretrainInputs<'a> {
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The folder of the checkpoints.
    pub dir: &'a Path,
    /// Where to compute.
    pub device: &'a Device,
}

/// Train a fresh decoder, or go on where `dir` says an earlier run stopped.
///
/// `report` sees every step and may break off.
///
/// # Errors
///
/// [`PretrainError`] when the tokenizer or the disk fails, when the loss is not finite, for a folder that holds another
/// run, and when `report` broke off before the last step: the state is then on disk.
pub fn pretrain(
    config: &PretrainConfig,
    shape: &DecoderConfig,
    PretrainInputs { tokenizer, dir, device }: PretrainInputs<'_>,
    mut report: impl FnMut(PretrainStep) -> ControlFlow<()>,
) -> Result<Decoder, PretrainError> {
    shape.check()?;
    let device = device.clone().autodiff();
    device.seed(config.seed);
    let mut model = shape.init(&device);
    let mut optimizer = Optimizer::new(config);
    let mut progress =
        Progress { config: config.clone(), shape: shape.clone(), step: 0, tokens: 0, pools: 0, waiting: 0 };
    if state_file(dir).exists() {
        let before = read_progress(dir)?;
        if !before.is_run_of(&progress) {
            return Err(PretrainError::OtherRun { path: state_file(dir) });
        }
        (model, optimizer) = restore(dir, before.step, model, config)?;
        progress = Progress { config: progress.config, shape: progress.shape, ..before };
    }
    let mut batches = Batches::new(config, tokenizer, shape.max_seq_len);
    batches.skip_to(&progress)?;
    let shards = Shards::new()?;
    while progress.step < config.steps {
        let batch = batches.next()?;
        let count = batch.iter().map(Vec::len).sum::<usize>();
        let (loss, grads) = shards.backward(&model, &batch, &device);
        let learning_rate = learning_rate(config, progress.step);
        if !loss.is_finite() {
            return Err(PretrainError::NotFinite { step: progress.step + 1 });
        }
        model = optimizer.step(learning_rate, model, grads);
        progress = Progress {
            step: progress.step + 1,
            tokens: progress.tokens + count,
            pools: batches.pools,
            waiting: batches.waiting.len(),
            ..progress
        };
        let flow = report(PretrainStep { step: progress.step, loss, learning_rate, tokens: progress.tokens });
        let last = progress.step == config.steps;
        if last || flow.is_break() || progress.step.is_multiple_of(config.save_every) {
            save(dir, &model, &optimizer, &progress)?;
        }
        if flow.is_break() && !last {
            return Err(PretrainError::Interrupted { step: progress.step, steps: config.steps });
        }
    }
    Ok(model.valid())
}

/// Parts of a batch that are learned from at the same time. Their number does not depend on the machine, so that the
/// model does not either.
const SHARDS: usize = 2;

/// A thread for each part of a batch.
///
/// The matrix products of so small a model are too small to be worth sharing among threads; a batch is not.
struct Shards(Vec<ThreadPool>);

impl Shards {
    fn new() -> Result<Self, PretrainError> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        let pools: Result<_, _> = (0..SHARDS).map(pool).collect();
        pools.map(Self).map_err(|error| PretrainError::Threads(error.to_string()))
    }

    /// The loss of a batch, a mean weighted by token, and its gradient.
    fn backward(&self, model: &Decoder, batch: &[Row], device: &Device) -> (f32, GradientsParams) {
        // The first token of a row follows nothing.
        let total: f32 = batch.iter().flat_map(|row| &row[1..]).map(|(_, weight)| weight).sum();
        let learn = |rows: &[Row]| {
            // Parameters of its own: graphs that share a leaf are one graph, which only one thread may go back through.
            let model = model.clone().fork(device);
            let (tokens, weights) = padded(rows, device);
            let loss = negative_log_likelihood(&model, tokens, weights) / total.max(1.0);
            (loss.clone().into_scalar::<f32>(), GradientsParams::from_grads(loss.backward(), &model))
        };
        let parts: Vec<(f32, GradientsParams)> = std::thread::scope(|scope| {
            let shards = batch.chunks(batch.len().div_ceil(SHARDS)).zip(&self.0);
            let threads: Vec<_> =
                shards.map(|(rows, pool)| scope.spawn(move || pool.install(|| learn(rows)))).collect();
            let join = |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(join).collect()
        });
        let mut sum = GradientsAccumulator::new();
        let mut loss = 0.0;
        for (part, gradients) in parts {
            loss += part;
            sum.accumulate(model, gradients);
        }
        (loss, sum.grads())
    }
}

/// Weighted sum of the negative log-probability of each next token, for `tokens` and `weights` `[batch, seq]`.
fn negative_log_likelihood(model: &Decoder, tokens: Tensor<2, Int>, weights: Tensor<2>) -> Tensor<1> {
    let [_, columns] = tokens.dims();
    let inputs = tokens.clone().slice_dim(1, 0..columns - 1);
    let targets = tokens.slice_dim(1, 1..columns);
    let logits = model.forward(inputs, None, Active::Base);
    let logprobs = log_softmax(logits, 2).gather(2, targets.unsqueeze_dim(2)).squeeze_dim::<2>(2);
    (logprobs * weights.slice_dim(1, 1..columns)).sum().neg()
}

/// Learning rate of the step after `step` steps: linear warm-up, then a cosine down to a tenth.
fn learning_rate(config: &PretrainConfig, step: usize) -> f64 {
    if step < config.warmup_steps {
        return config.learning_rate * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let done = (step - config.warmup_steps) as f64 / (config.steps - config.warmup_steps).max(1) as f64;
    config.learning_rate * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()))
}

/// The tokens of a document with their weights in the loss.
type Row = Vec<(u32, f32)>;

/// The corpus in batches of documents of like length. The batches of a pool come in random order.
struct Batches<'a> {
    config: &'a PretrainConfig,
    tokenizer: &'a Tokenizer,
    /// Longer documents are cut.
    longest: usize,
    documents: Box<dyn Iterator<Item = Document>>,
    pools: u64,
    waiting: Vec<Vec<Row>>,
}

impl<'a> Batches<'a> {
    fn new(config: &'a PretrainConfig, tokenizer: &'a Tokenizer, longest: usize) -> Self {
        let documents = Box::new(documents(config.seed));
        Self { config, tokenizer, longest, documents, pools: 0, waiting: Vec::new() }
    }

    /// Go on where a run that had come to `progress` stopped.
    fn skip_to(&mut self, progress: &Progress) -> Result<(), PretrainError> {
        if let Some(before) = progress.pools.checked_sub(1) {
            self.pools = before;
            self.documents = Box::new(documents(self.config.seed).skip(before as usize * POOL));
            self.read_pool()?;
            self.waiting.truncate(progress.waiting);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Vec<Row>, PretrainError> {
        loop {
            if let Some(batch) = self.waiting.pop() {
                return Ok(batch);
            }
            self.read_pool()?;
        }
    }

    fn read_pool(&mut self) -> Result<(), PretrainError> {
        let mut rows = Vec::with_capacity(POOL);
        for document in self.documents.by_ref().take(POOL) {
            let mut row = encode(self.tokenizer, &document, self.config.question_weight)?;
            row.truncate(self.longest);
            rows.push(row);
        }
        rows.sort_by_key(Vec::len);
        self.waiting.clear();
        let mut batch: Vec<Row> = Vec::new();
        for row in rows {
            let full = (batch.len() + 1) * row.len() >= self.config.batch_tokens;
            batch.push(row);
            if full {
                self.waiting.push(std::mem::take(&mut batch));
            }
        }
        if !batch.is_empty() {
            self.waiting.push(batch);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream(self.pools);
        self.waiting.shuffle(&mut rng);
        self.pools += 1;
        Ok(())
    }
}

/// Token ids and weights, `[rows, longest row]`; padding weighs nothing.
fn padded(rows: &[Row], device: &Device) -> (Tensor<2, Int>, Tensor<2>) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let filled = |row: &Row| row.iter().copied().chain(std::iter::repeat((0, 0.0))).take(columns).collect::<Vec<_>>();
    let (ids, weights): (Vec<i64>, Vec<f32>) =
        rows.iter().flat_map(filled).map(|(id, weight)| (i64::from(id), weight)).unzip();
    let shape = [rows.len(), columns];
    (Tensor::from_data(TensorData::new(ids, shape), device), Tensor::from_data(TensorData::new(weights, shape), device))
}

/// The tokens of a document exactly as the model meets them when it answers, and the end; with their weights.
fn encode(tokenizer: &Tokenizer, document: &Document, question_weight: f32) -> Result<Row, TokenizerError> {
    let (prompt, answer) = document.turns.split_at(document.turns.len() - 1);
    let question_weight = if document.random_question { 0.0 } else { question_weight };
    let prompt = if prompt.is_empty() { vec![] } else { tokenizer.encode_chat(prompt)? };
    let mut ids: Row = prompt.into_iter().map(|id| (id, question_weight)).collect();
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
    let texts: Vec<String> = documents(seed)
        .skip(RECITALS_FIRST)
        .take(TOKENIZER_DOCUMENTS)
        .flat_map(|document| document.turns)
        .map(|turn| turn.content)
        .collect();
    let tokenizer = t2_model::text::bpe::train(texts.iter().map(String::as_str), vocab, &SPECIAL)?;
    let json = tokenizer.to_string(true).map_err(|e| TokenizerError::Tokenize(e.to_string()))?;
    write_atomically(&dir.join("tokenizer.json"), json.as_bytes())?;
    let config = serde_json::json!({ "eos_token": END, "pad_token": PAD, "chat_template": CHAT_TEMPLATE });
    write_atomically(&dir.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())?;
    Ok(())
}
