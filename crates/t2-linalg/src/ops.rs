//! What a decoder computes, each operation in one pass: by kernels of this crate for f32 tensors in main memory, and for
//! tensors on GPUs.
//!
//! Burn has these operations too, as chains of simple ones, each with a buffer and, on a GPU, a launch of its own.
//!
//! Every function is exact to rounding and says so in `tests/ops/`, where Burn's chain is the reference. [`product`],
//! [`exact_product`], [`draw`] and [`log_probabilities`] take any tensors. The others return `None` where they do not
//! apply, and the caller goes the general way.
//!
//! Under automatic differentiation [`product`], [`factored`], [`attention`], [`rms_norm`], [`gated`] and [`rotated`] have a
//! way back of their own in main memory, to states and to the scales of [`factored`]. Where a weight is to be trained, and
//! on GPUs, the way is Burn's.

use std::ops::Range;
use std::sync::OnceLock;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData, TensorReadError};

pub use crate::cpu::{Draw, Drawn, Likelihood, on_all_cores};
use crate::{cpu, gpu};

/// Which keys the queries of a pass see: those of a row are the last of the keys of that row.
#[derive(Debug)]
pub struct Rows {
    keys: Vec<Range<usize>>,
    held_in: Option<Vec<usize>>,
    /// The same on a GPU, once a kernel asks for it.
    table: OnceLock<Tensor<2, Int>>,
}

impl Rows {
    /// `keys` are the columns that each row has, or one range for all: what lies before is padding, what lies behind is
    /// not yet written. `held_in` says which row of keys and values each row of queries reads; `None`: its own.
    pub fn new(keys: Vec<Range<usize>>, held_in: Option<Vec<usize>>) -> Self {
        Self { keys, held_in, table: OnceLock::new() }
    }

    /// The columns that each row has, or one range for all rows.
    pub fn keys(&self) -> &[Range<usize>] {
        &self.keys
    }

    /// Which row of keys and values each row of queries reads, if not its own.
    pub fn held_in(&self) -> Option<&[usize]> {
        self.held_in.as_deref()
    }

    /// How many columns the longest row reaches to.
    pub fn columns(&self) -> usize {
        self.keys.iter().map(|keys| keys.end).max().unwrap_or(0)
    }

    /// For each of `batch` rows the row of keys, its first column and the one behind its last, `[batch, 3]`.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "kernels of GPUs read it"))]
    pub(crate) fn table(&self, batch: usize, device: &Device) -> Tensor<2, Int> {
        let table = || {
            let row = |row: usize| {
                let Range { start, end } = self.keys[row.min(self.keys.len() - 1)];
                [self.held_in.as_ref().map_or(row, |rows| rows[row]), start, end].map(|number| number as u32)
            };
            let numbers: Vec<u32> = (0..batch).flat_map(row).collect();
            Tensor::from_data(TensorData::new(numbers, [batch, 3]), (device, DType::U32))
        };
        self.table.get_or_init(table).clone()
    }

    /// Refuse rows that are not those of `batch` rows of `seq` queries and of `held` rows of `columns` keys.
    fn check(&self, [batch, seq]: [usize; 2], [held, columns]: [usize; 2]) {
        let is_there = match &self.held_in {
            Some(rows) => rows.len() == batch && rows.iter().all(|&row| row < held),
            None => held == batch,
        };
        assert!([1, batch].contains(&self.keys.len()), "{batch} rows, {} ranges of keys", self.keys.len());
        assert!(is_there, "{batch} rows of queries, {held} of keys: {self:?}");
        assert!(
            self.keys.iter().all(|keys| keys.end <= columns && keys.end >= seq),
            "{seq} of {columns} columns: {self:?}"
        );
    }
}

/// Who sees what: the queries of a row are the last of its keys, and none sees a later one.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The keys of each row.
    pub rows: &'a Rows,
    /// How many keys a query sees, the last of which is its own; `None`: all.
    pub window: Option<usize>,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Scores are kept within `±cap` by `cap tanh(score / cap)`.
    pub cap: Option<f32>,
}

/// What the queries see, weighted by the softmax of their scores, `[batch, seq, heads * head_dim]`, for `q` `[batch, heads,
/// seq, head_dim]` and `k` and `v` `[rows, kv_heads, columns, head_dim]`. A query that sees nothing gets zeros. On a GPU
/// it is for a few queries of each row: more are better off with products of matrices.
///
/// # Panics
///
/// Where `seen` has ranges for another number of rows, keys beyond the last column or row, or that end before there are as
/// many columns as queries.
pub fn attention(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, seen: &Seen<'_>) -> Option<Tensor<3>> {
    let ([batch, heads, seq, head_dim], [held, kv_heads, columns, _]) = (q.dims(), k.dims());
    assert_eq!(k.dims(), v.dims(), "shapes of keys and values");
    assert_eq!((k.dims()[3], heads % kv_heads), (head_dim, 0), "shapes of queries and keys");
    seen.rows.check([batch, seq], [held, columns]);
    cpu::attention(q, k, v, seen).or_else(|| gpu::attention(q, k, v, seen))
}

/// `x w`, `[m, n]`, for `x` `[m, k]` and `w` `[k, n]`, of any type and on any device.
///
/// f32 in main memory goes through kernels that read the weights once, in long runs and with all cores, and few rows on a
/// GPU through one that reads them once, whatever the strides of `w`: a transposed weight is not copied. How a row of `x`
/// is summed depends on the number of rows, as with any blocked product; its result is that of the row alone up to
/// rounding.
pub fn product(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    cpu::product(&x, &w).or_else(|| gpu::product(&x, &w)).unwrap_or_else(|| x.matmul(w))
}

/// `a b`, `[m, n]`, for `a` `[m, k]` and `b` `[k, n]`, of f32 in true f32: for what is computed once and stays, such as a
/// weight. In a product of its own, a GPU may round every factor to the eleven bits of TF32.
pub fn exact_product(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    gpu::exact_product(&a, &b).unwrap_or_else(|| product(a, b))
}

/// `x w + b`, `[m, n]`, for each of two or three weights `[k, n]` and their biases `[n]`, for few rows `x` `[m, k]`: cores
/// are told once, and a GPU launches once. There the weights all have biases or none has, and of two none.
pub fn products<const N: usize>(
    x: &Tensor<2>,
    weights: [&Tensor<2>; N],
    biases: [Option<&Tensor<1>>; N],
) -> Option<[Tensor<2>; N]> {
    let on_cpu = cpu::products(x, weights).map(|ys| {
        let mut biases = biases.into_iter();
        ys.map(|y| match biases.next().flatten() {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        })
    });
    on_cpu.or_else(|| gpu::products(x, weights, biases))
}

/// `x / sqrt(mean(x²) + eps) ∘ gamma` over the last dimension, for `x` `[…, width]` and `gamma` `[width]`, in f32.
///
/// # Panics
///
/// When there are more or fewer gains than numbers in a row.
pub fn rms_norm<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, eps: f64) -> Option<Tensor<D>> {
    cpu::rms_norm(x, gamma, eps).or_else(|| gpu::rms_norm(x, gamma, eps))
}

/// `((x U) ∘ σ) Vᵀ`, `[m, n]`, for `x` `[m, d_in]`, `u` `[d_in, k]`, `sigma` `[k]` and `vt` `[k, n]`, in main memory.
/// Differentiable in `x` and `sigma`; `None` where the factors are to be trained too.
pub fn factored(x: &Tensor<2>, u: &Tensor<2>, sigma: &Tensor<1>, vt: &Tensor<2>) -> Option<Tensor<2>> {
    cpu::factored(x, u, sigma, vt)
}

/// What `logits` `[tokens, vocab]` say of `targets`, a token for each row, in main memory. The memory of the logits is used
/// for their slopes if it has no other owner.
///
/// # Errors
///
/// Gives `logits` back where they are no f32 tensor in main memory that a gradient is wanted of, to be scored the general
/// way.
///
/// # Panics
///
/// Where there are more or fewer targets than rows, or one is no token of the vocabulary.
pub fn likelihood(logits: Tensor<2>, targets: &[usize]) -> Result<Likelihood, Box<Tensor<2>>> {
    cpu::likelihood(logits, targets)
}

/// What a gate goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Φ(x)`, with `tanh` in place of the error function.
    GeluTanh,
}

/// `f(gate) ∘ up`, for tensors of one shape, where `f` is what the gate goes through.
///
/// # Panics
///
/// When the shapes differ.
pub fn gated<const D: usize>(gate: &Tensor<D>, up: &Tensor<D>, f: Gate) -> Option<Tensor<D>> {
    cpu::gated(gate, up, f).or_else(|| gpu::gated(gate, up, f))
}

/// `x` `[batch, heads, seq, head_dim]` with the first `rotated` numbers of each head turned in pairs half of `rotated`
/// apart, by `cos` and `signed_sin` `[batch or 1, 1, seq, rotated]`, of which the sines are negated in the first half. In
/// main memory; on a GPU [`placed`] turns what it places.
///
/// # Panics
///
/// Where the angles are not those of one row or of all, or of another number of tokens.
pub fn rotated(x: &Tensor<4>, cos: &Tensor<4>, signed_sin: &Tensor<4>) -> Option<Tensor<4>> {
    cpu::rotated(x, cos, signed_sin)
}

/// Draws a token from each row of `logits`, `[rows, vocab]`, of any type and on any device, as each of `draws` says. `None`
/// for a row that is no distribution: with a NaN, with infinity, or with nothing but negative infinity.
///
/// In main memory each core takes rows; probabilities are f32, their sums f64. A GPU draws where the logits are, in f32,
/// and hands over a few numbers for each row; with a penalty for repetition it hands over the logits.
///
/// # Errors
///
/// When the device does not hand over its numbers.
///
/// # Panics
///
/// When there are not as many `draws` as rows, or a token in `seen` has no logit.
pub fn draw(logits: &Tensor<2>, draws: &[Draw<'_>]) -> Result<Vec<Option<Drawn>>, TensorReadError> {
    assert_eq!(logits.dims()[0], draws.len(), "a draw for each row");
    let Some(drawn) = gpu::draw(logits, draws) else { return cpu::draw(logits, draws) };
    let [_, each] = drawn.dims();
    let numbers = drawn.try_into_vec_as::<f32>()?;
    let read = |row: &[f32]| (row[2] > 0.0).then(|| Drawn { id: row[0] as u32, logprob: row[1] });
    Ok(numbers.chunks(each).map(read).collect())
}

/// Log-probability of one token of each row of `logits`, `[rows, vocab]`, of any type and on any device, nats. NaN for a
/// row that is no distribution.
///
/// # Errors
///
/// When the device does not hand over its numbers.
///
/// # Panics
///
/// When there are not as many `ids` as rows, or one has no logit.
pub fn log_probabilities(logits: &Tensor<2>, ids: &[u32]) -> Result<Vec<f32>, TensorReadError> {
    let [rows, vocab] = logits.dims();
    assert_eq!(rows, ids.len(), "a token for each row");
    assert!(ids.iter().all(|&id| (id as usize) < vocab), "one of {vocab} tokens");
    if let Some(known) = cpu::log_probabilities(logits, ids) {
        return Ok(known);
    }
    let ids = TensorData::new(ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>(), [rows, 1]);
    let all = log_softmax(logits.clone().cast(DType::F32), 1);
    all.gather(1, Tensor::from_data(ids, &logits.device())).try_into_vec_as::<f32>()
}

/// New tokens on their way into a cache.
#[derive(Debug)]
pub struct New<'a> {
    /// Their queries, `[batch, seq, heads, head_dim]`.
    pub queries: Tensor<4>,
    /// Their keys, `[batch, seq, kv_heads, head_dim]`.
    pub keys: Tensor<4>,
    /// Their values, `[batch, seq, kv_heads, head_dim]`.
    pub values: Tensor<4>,
    /// What queries and keys are turned by, as in [`rotated`].
    pub angles: Option<[&'a Tensor<4>; 2]>,
    /// The columns that their rows have with them.
    pub rows: &'a Rows,
    /// The cache, keys and values, `[held, kv_heads, columns, head_dim]`. It changes where it lies if it has no other owner.
    pub held: [Tensor<4>; 2],
}

/// What [`placed`] makes of new tokens.
#[derive(Debug)]
pub struct Placed {
    /// Turned queries, `[batch, heads, seq, head_dim]`.
    pub queries: Tensor<4>,
    /// The cache with the tokens in it, as in [`New`].
    pub held: [Tensor<4>; 2],
}

/// Whether [`placed`] takes tensors of `dtype` on `device`.
pub fn places(device: &Device, dtype: DType) -> bool {
    gpu::runs_on(device, dtype)
}

/// Turns queries and keys, and puts keys and values at the columns that are the last of their rows, in one launch, on a GPU
/// that [`places`] says takes them.
///
/// # Panics
///
/// Where the shapes, or the angles, are not those of one pass, and as [`attention`].
pub fn placed(new: New<'_>) -> Placed {
    let ([batch, seq, heads, head_dim], [held, kv_heads, columns, _]) = (new.queries.dims(), new.held[0].dims());
    assert_eq!(new.keys.dims(), [batch, seq, kv_heads, head_dim], "shape of keys, for {heads} heads of queries");
    assert_eq!(new.values.dims(), new.keys.dims(), "shapes of keys and values");
    assert_eq!(new.held[1].dims(), [held, kv_heads, columns, head_dim], "shapes of a cache");
    for angles in new.angles.iter().flatten() {
        let [rows, _, angles, rotated] = angles.dims();
        assert!([1, batch].contains(&rows) && angles == seq && rotated <= head_dim, "{rows} rows of {angles} angles");
    }
    new.rows.check([batch, seq], [held, columns]);
    gpu::placed(new)
}
