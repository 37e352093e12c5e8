//! Drawing from rows of logits where they are: a cube for each row, and a few numbers that are read back.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{UNITS, element, empty, grid};
use crate::kernel::reduce::{max_of_cube, sum_of_cube};

/// What a row of `how` holds: the inverse of the temperature, 0 for the most likely token, `top_k`, `top_p`, `min_p` and
/// where the token lies.
pub(super) const SETTINGS: usize = 5;

/// What a row of the result holds: the token, its log-probability, and 1 if the logits are a distribution.
pub(super) const RESULTS: usize = 3;

/// A token of each row of `logits`, `[rows, vocab]`, drawn as `how` says, `[rows, SETTINGS]`: `[rows, RESULTS]`.
pub(super) fn draw(logits: CubeTensor, how: CubeTensor) -> CubeTensor {
    let (logits, how) = (into_contiguous(logits), into_contiguous(how));
    let [rows, vocab] = logits.meta.shape().dims();
    let out = empty(&logits, [rows, RESULTS], DType::F32);
    draw_row::launch(
        &logits.client,
        grid(rows),
        CubeDim::new_1d(UNITS as u32),
        logits.clone().into_buffer_arg(),
        how.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows,
        vocab,
        element(logits.dtype).expect("the caller has asked whether the kernels take it"),
    );
    out
}

#[cube(launch)]
fn draw_row<E: Float>(
    logits: &[E],
    how: &[f32],
    out: &mut [f32],
    rows: usize,
    vocab: usize,
    #[define(E)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row < rows {
        let unit = UNIT_POS as usize;
        let first = row * vocab;
        let mut scratch = Shared::<[f32]>::new_slice(UNITS);
        let mut top = f32::MIN.runtime();
        let mut strange = 0.0f32;
        let mut i = unit;
        while i < vocab {
            let logit = f32::cast_from(logits[first + i]);
            // NaN and infinity, by their bits: a GPU may compute as if there were none.
            if (u32::reinterpret(logit) & 0x7fff_ffffu32) > 0x7f80_0000u32 || u32::reinterpret(logit) == 0x7f80_0000u32
            {
                strange = 1.0;
            }
            top = top.max(logit);
            i += UNITS;
        }
        let top = max_of_cube(&mut scratch, top);
        let strange = max_of_cube(&mut scratch, strange);
        let sum = mass_from::<E>(&mut scratch, logits, first, vocab, top, 1.0, 0);

        let at = row * comptime!(SETTINGS);
        let cold = how[at];
        let id = if cold > 0.0f32 {
            pick::<E>(&mut scratch, logits, first, vocab, top, how, at)
        } else {
            most_likely::<E>(&mut scratch, logits, first, vocab, top)
        };
        if unit == 0 {
            let at = row * comptime!(RESULTS);
            out[at] = id;
            out[at + 1] = f32::cast_from(logits[first + id as usize]) - top - sum.ln();
            out[at + 2] = select(strange > 0.0f32 || sum <= 0.0f32, 0.0f32, 1.0f32);
        }
    }
}

/// The first token whose logit is `top`.
#[cube]
fn most_likely<E: Float>(scratch: &mut Shared<[f32]>, logits: &[E], first: usize, vocab: usize, top: f32) -> f32 {
    let mut lowest = (vocab - 1) as f32;
    let mut i = UNIT_POS as usize;
    while i < vocab {
        if f32::cast_from(logits[first + i]) >= top {
            lowest = lowest.min(i as f32);
        }
        i += UNITS;
    }
    -max_of_cube(scratch, -lowest)
}

/// A number that is larger for a larger logit, and 0 for none.
#[cube]
fn key_of(logit: f32) -> u32 {
    let bits = u32::reinterpret(logit);
    select(bits >= 0x8000_0000u32, !bits, bits | 0x8000_0000u32)
}

/// The logit of a key.
#[cube]
fn logit_of(key: u32) -> f32 {
    f32::reinterpret(select(key >= 0x8000_0000u32, key & 0x7fff_ffffu32, !key))
}

/// The odds of all tokens of these keys or larger ones add up to this.
#[cube]
fn mass_from<E: Float>(
    scratch: &mut Shared<[f32]>,
    logits: &[E],
    first: usize,
    vocab: usize,
    top: f32,
    cold: f32,
    key: u32,
) -> f32 {
    let mut mass = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let logit = f32::cast_from(logits[first + i]);
        if key_of(logit) >= key {
            mass += ((logit - top) * cold).exp();
        }
        i += UNITS;
    }
    sum_of_cube(scratch, mass)
}

/// How many tokens have this key or a larger one.
#[cube]
fn count_from<E: Float>(scratch: &mut Shared<[f32]>, logits: &[E], first: usize, vocab: usize, key: u32) -> f32 {
    let mut count = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < vocab {
        if key_of(f32::cast_from(logits[first + i])) >= key {
            count += 1.0;
        }
        i += UNITS;
    }
    sum_of_cube(scratch, count)
}

/// The largest key that at least `count` tokens have or exceed.
#[cube]
fn key_of_count<E: Float>(scratch: &mut Shared<[f32]>, logits: &[E], first: usize, vocab: usize, count: f32) -> u32 {
    let mut key = 0u32;
    let mut bit = 0x8000_0000u32;
    while bit > 0u32 {
        if count_from::<E>(scratch, logits, first, vocab, key | bit) >= count {
            key |= bit;
        }
        bit >>= 1u32;
    }
    key
}

/// The largest key, at least `floor`, so that the odds of all tokens that have or exceed it reach `enough`.
#[cube]
fn key_of_mass<E: Float>(
    scratch: &mut Shared<[f32]>,
    logits: &[E],
    first: usize,
    vocab: usize,
    top: f32,
    cold: f32,
    floor: u32,
    enough: f32,
) -> u32 {
    let mut key = 0u32;
    let mut bit = 0x8000_0000u32;
    while bit > 0u32 {
        let tried = key | bit;
        let mut reaches = true.runtime();
        if tried > floor {
            reaches = mass_from::<E>(scratch, logits, first, vocab, top, cold, tried) >= enough;
        }
        if reaches {
            key = tried;
        }
        bit >>= 1u32;
    }
    key
}

/// The token that is drawn by a temperature.
#[cube]
fn pick<E: Float>(
    scratch: &mut Shared<[f32]>,
    logits: &[E],
    first: usize,
    vocab: usize,
    top: f32,
    how: &[f32],
    at: usize,
) -> f32 {
    let (cold, top_k, top_p) = (how[at], how[at + 1], how[at + 2]);
    // Tokens of larger keys than this are kept, and of those that have it the first few.
    let mut key = 0u32;
    let mut few = vocab as f32;
    if top_k > 0.0f32 {
        key = key_of_count::<E>(scratch, logits, first, vocab, top_k);
        few = top_k - count_from::<E>(scratch, logits, first, vocab, key + 1u32);
    }
    if top_p < 1.0f32 {
        let floor = key;
        let mut all = mass_from::<E>(scratch, logits, first, vocab, top, cold, floor + 1u32);
        if floor > 0u32 {
            let ties = count_from::<E>(scratch, logits, first, vocab, floor)
                - count_from::<E>(scratch, logits, first, vocab, floor + 1u32);
            all += few.min(ties) * ((logit_of(floor) - top) * cold).exp();
        }
        key = key_of_mass::<E>(scratch, logits, first, vocab, top, cold, floor, top_p * all);
        let missing = top_p * all - mass_from::<E>(scratch, logits, first, vocab, top, cold, key + 1u32);
        let needed = (missing / ((logit_of(key) - top) * cold).exp()).ceil().max(1.0f32);
        few = if key == floor { needed.min(few) } else { needed };
    }
    walk::<E>(scratch, logits, first, vocab, top, cold, key, few, how[at + 3], how[at + 4])
}

/// The token at `uniform` of the distribution of those that are kept, in the order of their ids: each unit has a run of
/// them.
#[cube]
fn walk<E: Float>(
    scratch: &mut Shared<[f32]>,
    logits: &[E],
    first: usize,
    vocab: usize,
    top: f32,
    cold: f32,
    key: u32,
    few: f32,
    min_p: f32,
    uniform: f32,
) -> f32 {
    let unit = UNIT_POS as usize;
    let run = vocab.div_ceil(UNITS);
    let start = (unit * run).min(vocab);
    let end = (start + run).min(vocab);
    let before = ties_before::<E>(scratch, logits, first + start, first + end, key);
    let mut sum = 0.0f32;
    let mut tie = before;
    let mut i = start;
    while i < end {
        let logit = f32::cast_from(logits[first + i]);
        sum += kept_odds(logit, top, cold, key, tie < few, min_p);
        tie += select(key_of(logit) == key, 1.0f32, 0.0f32);
        i += 1;
    }
    scratch[unit] = sum;
    sync_cube();
    let (owner, left) = owner_of(&*scratch, uniform);
    sync_cube();
    if unit == owner {
        let mut left = left;
        let mut tie = before;
        let mut found = start;
        let mut i = start;
        while i < end {
            let logit = f32::cast_from(logits[first + i]);
            let odds = kept_odds(logit, top, cold, key, tie < few, min_p);
            if odds > 0.0f32 && left >= 0.0f32 {
                found = i;
                left -= odds;
            }
            tie += select(key_of(logit) == key, 1.0f32, 0.0f32);
            i += 1;
        }
        scratch[0] = found as f32;
    }
    sync_cube();
    let id = scratch[0];
    sync_cube();
    id
}

/// How many tokens before this unit's have the key; its own are those from `start` to `end`.
#[cube]
fn ties_before<E: Float>(scratch: &mut Shared<[f32]>, logits: &[E], start: usize, end: usize, key: u32) -> f32 {
    let unit = UNIT_POS as usize;
    let mut ties = 0.0f32;
    let mut i = start;
    while i < end {
        ties += select(key_of(f32::cast_from(logits[i])) == key, 1.0f32, 0.0f32);
        i += 1;
    }
    scratch[unit] = ties;
    sync_cube();
    let mut before = 0.0f32;
    let mut other = 0;
    while other < unit {
        before += scratch[other];
        other += 1;
    }
    sync_cube();
    before
}

/// The unit in whose run of tokens `uniform` lies, and how far into it, given what the odds of each run add up to. It is the
/// last that has any where rounding leads beyond.
#[cube]
fn owner_of(sums: &Shared<[f32]>, uniform: f32) -> (usize, f32) {
    let mut all = 0.0f32;
    let mut unit = 0;
    while unit < UNITS {
        all += sums[unit];
        unit += 1;
    }
    let aim = uniform * all;
    let mut owner = 0;
    let mut left = aim;
    let mut passed = 0.0f32;
    let mut unit = 0;
    while unit < UNITS {
        if sums[unit] > 0.0f32 && passed <= aim {
            owner = unit;
            left = aim - passed;
        }
        passed += sums[unit];
        unit += 1;
    }
    (owner, left)
}

/// The odds of a token, or nothing where it is cut off; `is_among_few` says whether it is kept if it has the key.
#[cube]
fn kept_odds(logit: f32, top: f32, cold: f32, key: u32, is_among_few: bool, min_p: f32) -> f32 {
    let odds = ((logit - top) * cold).exp();
    let is_kept = key_of(logit) > key || (key_of(logit) == key && is_among_few);
    select(is_kept && odds >= min_p, odds, 0.0f32)
}
