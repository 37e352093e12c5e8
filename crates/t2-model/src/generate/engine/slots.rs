//! Which request is in which slot of the cache, and how much of it is read. No tensors here.

use t2_linalg::ops::Draw;

use super::{Request, RequestId, ScoreRequest, Under};
use crate::decoder::LmShape;
use crate::generate::{FinishReason, Sampling};

/// A prompt waits for another that is being read if they have so many more tokens in common than what is read already.
const WORTH_WAITING: usize = 16;

/// The slots of a cache.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// The length after which the keys of a row must be computed anew.
    outgrown_at: Option<usize>,
    /// The length up to which rows that begin alike have the same keys there.
    same_up_to: Option<usize>,
    /// Counts what was put into slots.
    clock: u64,
}

/// A slot, and the row in it or the one that was there last.
#[derive(Debug, Default)]
struct Slot {
    /// What is to be read: a prompt and its new tokens, or all but the last of the tokens that are scored.
    ids: Vec<u32>,
    /// How many of them the cache holds.
    filled: usize,
    under: Under,
    /// When a row was put here.
    placed: u64,
    row: Option<Row>,
}

/// A request that runs.
#[derive(Debug)]
struct Row {
    id: RequestId,
    goal: Goal,
}

/// A request: what is to be read, and what for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ids: Vec<u32>,
    pub(super) under: Under,
    goal: Goal,
}

/// What is wanted of a row.
#[derive(Debug)]
enum Goal {
    /// New tokens after a prompt.
    Complete { prompt_len: usize, max_new_tokens: usize, sampling: Sampling, seed: u64, stop: Vec<u32> },
    /// Log-probabilities of tokens that are given.
    Score {
        /// How many tokens are read before the first whose successor is scored.
        before: usize,
        targets: Vec<u32>,
        /// Those that are known.
        logprobs: Vec<f32>,
    },
}

impl From<Request> for Job {
    fn from(request: Request) -> Self {
        let Request { ids, under, seed, sampling, stop, max_new_tokens } = request;
        let goal = Goal::Complete { prompt_len: ids.len(), max_new_tokens, sampling, seed, stop };
        Self { ids, under, goal }
    }
}

impl From<ScoreRequest> for Job {
    fn from(ScoreRequest { mut ids, from, under }: ScoreRequest) -> Self {
        let targets = ids[from..].to_vec();
        ids.pop();
        Self { ids, under, goal: Goal::Score { before: from - 1, targets, logprobs: vec![] } }
    }
}

impl Job {
    /// How many columns it takes at most.
    pub(super) fn columns(&self) -> usize {
        self.goal.columns(self.ids.len())
    }

    /// How many of its tokens need not be read if a slot holds them.
    fn sharable(&self) -> usize {
        match self.goal {
            Goal::Complete { prompt_len, .. } => prompt_len - 1,
            Goal::Score { before, .. } => before,
        }
    }
}

impl Goal {
    /// How many columns a row of `len` tokens takes at most.
    fn columns(&self, len: usize) -> usize {
        match self {
            Self::Complete { prompt_len, max_new_tokens, .. } => prompt_len + max_new_tokens,
            Self::Score { .. } => len,
        }
    }
}

/// What a request leaves behind that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// It is in no slot.
    NotThere,
    /// Keys and values that others may use.
    Sound,
    /// Some of which nobody knows whether they are numbers, in this slot.
    Unsure(usize),
}

/// What a slot holds that a prompt begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// The slot; `None` when there is nothing.
    pub(super) from: Option<usize>,
    /// How many tokens.
    pub(super) common: usize,
}

/// A row of a pass: its slot, and what is read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) slot: usize,
    pub(super) under: Under,
    /// Tokens of the row that the cache holds.
    pub(super) start: usize,
    /// The tokens to read.
    pub(super) ids: Vec<u32>,
    /// How long the row is.
    pub(super) len: usize,
}

impl Piece {
    /// Whether the row's next token is known after it.
    pub(super) fn is_last(&self) -> bool {
        self.start + self.ids.len() == self.len
    }
}

impl Slots {
    pub(super) fn new(LmShape { outgrown_at, same_up_to, .. }: LmShape) -> Self {
        Self { slots: vec![], outgrown_at, same_up_to, clock: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many requests run.
    pub(super) fn running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.row.is_some()).count()
    }

    /// The requests that run.
    pub(super) fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.slots.iter().filter_map(|slot| slot.row.as_ref().map(|row| row.id))
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.slots.resize_with(slots.max(self.len()), Slot::default);
    }

    /// How many columns the longest of the requests that run takes at most.
    pub(super) fn columns(&self) -> usize {
        self.slots
            .iter()
            .filter_map(|slot| slot.row.as_ref().map(|row| (slot, row)))
            .map(|(slot, row)| row.goal.columns(slot.ids.len()))
            .max()
            .unwrap_or(0)
    }

    /// The longest beginning of `job` that a slot holds.
    pub(super) fn shared(&self, job: &Job) -> Shared {
        let ready = |slot: &Slot| self.common(slot, job).min(slot.filled);
        let all = self.slots.iter().enumerate().map(|(index, slot)| Shared { from: Some(index), common: ready(slot) });
        all.filter(|shared| shared.common > 0).max_by_key(|shared| shared.common).unwrap_or_default()
    }

    /// Whether another row is reading what `job` begins with, so that it had better wait.
    pub(super) fn is_coming(&self, job: &Job) -> bool {
        let running = self.slots.iter().filter(|slot| slot.row.is_some());
        let coming = running.map(|slot| self.common(slot, job)).max().unwrap_or(0);
        coming >= self.shared(job).common + WORTH_WAITING
    }

    /// How many tokens at the beginning of `job` are those of `slot`, read or not. Tokens whose successors are asked for
    /// are read in any case, such as the last of a prompt.
    fn common(&self, slot: &Slot, job: &Job) -> usize {
        let longer = slot.ids.len().max(job.ids.len());
        if slot.under != job.under || self.same_up_to.is_some_and(|limit| longer > limit) {
            return 0;
        }
        slot.ids.iter().zip(&job.ids[..job.sharable()]).take_while(|(one, other)| one == other).count()
    }

    /// Put a request into a free slot and say which: the one that holds its beginning, if no more is lost there than it
    /// holds, else the one that was used longest ago. The caller copies what is `shared` from another slot.
    ///
    /// # Panics
    ///
    /// When no slot is free.
    pub(super) fn place(&mut self, id: RequestId, job: Job, shared: Shared) -> usize {
        let is_free = |index: &usize| self.slots[*index].row.is_none();
        let is_spent = |index: &usize| self.slots[*index].filled <= 2 * shared.common;
        let oldest = (0..self.len()).filter(is_free).min_by_key(|&index| self.slots[index].placed);
        let in_place = shared.from.filter(is_free).filter(is_spent);
        let index = in_place.or(oldest).expect("the caller has made room");
        self.clock += 1;
        self.slots[index] = Slot {
            ids: job.ids,
            filled: shared.common,
            under: job.under,
            placed: self.clock,
            row: Some(Row { id, goal: job.goal }),
        };
        index
    }

    /// How the next token of the row in the slot `index` is drawn, once `piece` of it is read; `None` where none is.
    pub(super) fn draw(&self, piece: &Piece) -> Option<Draw<'_>> {
        let slot = &self.slots[piece.slot];
        match &slot.row.as_ref()?.goal {
            Goal::Complete { prompt_len, sampling, seed, .. } if piece.is_last() => {
                Some(sampling.draw_at(&slot.ids, *seed, slot.ids.len() - prompt_len))
            }
            _ => None,
        }
    }

    /// The tokens to be scored that follow the last ones of `piece`, as many.
    pub(super) fn targets(&self, piece: &Piece) -> &[u32] {
        match self.slots[piece.slot].row.as_ref().map(|row| &row.goal) {
            Some(Goal::Score { before, targets, .. }) => {
                let end = piece.start + piece.ids.len();
                &targets[piece.start.saturating_sub(*before)..end.saturating_sub(*before)]
            }
            _ => &[],
        }
    }

    /// The rows of each pass of a step: those that wait for one token together, then pieces of prompts, `chunk` tokens of
    /// them at most, in the order of the requests. Rows of a pass are all under the model's own scales, or none is.
    pub(super) fn passes(&self, chunk: usize, capacity: usize) -> Vec<Vec<Piece>> {
        let mut passes = vec![];
        for own in [false, true] {
            let rows = self.unread(1).filter(|piece| (piece.under == Under::Own) == own);
            let rows: Vec<Piece> = rows.filter(Piece::is_last).collect();
            passes.extend((!rows.is_empty()).then_some(rows));
        }
        let mut waiting: Vec<Piece> = self.unread(usize::MAX).filter(|piece| piece.ids.len() > 1).collect();
        waiting.sort_by_key(|piece| self.slots[piece.slot].placed);
        let mut left = chunk.max(1);
        while let Some(first) = waiting.first().filter(|_| left > 0) {
            let (own, seq) = (first.under == Under::Own, first.ids.len().min(left));
            // Less than half of a row is padding.
            let fits = |piece: &Piece| {
                (piece.under == Under::Own) == own && piece.ids.len() > seq / 2 && piece.start + seq <= capacity
            };
            let mut pass = vec![];
            waiting.retain(|piece| {
                let is_taken = pass.is_empty() || (fits(piece) && (pass.len() + 1) * seq <= left);
                if is_taken {
                    let mut piece = piece.clone();
                    piece.ids.truncate(seq);
                    pass.push(piece);
                }
                !is_taken
            });
            left -= (pass.len() * seq).min(left);
            pass.sort_by_key(|piece| piece.slot);
            passes.push(pass);
        }
        passes
    }

    /// What is not read of each row that runs, `most` tokens of it.
    fn unread(&self, most: usize) -> impl Iterator<Item = Piece> {
        let running = self.slots.iter().enumerate().filter(|(_, slot)| slot.row.is_some());
        running.map(move |(index, slot)| Piece {
            slot: index,
            under: slot.under,
            start: slot.filled,
            ids: slot.ids[slot.filled..].iter().take(most).copied().collect(),
            len: slot.ids.len(),
        })
    }

    /// Count the tokens of `pass` as read.
    pub(super) fn read(&mut self, pass: &[Piece]) {
        pass.iter().for_each(|piece| self.slots[piece.slot].filled += piece.ids.len());
    }

    /// Give the row in the slot `index` its next token. It leaves if this was its last.
    ///
    /// # Panics
    ///
    /// When no row is there.
    pub(super) fn push(&mut self, index: usize, id: u32) -> (RequestId, Option<FinishReason>) {
        let outgrown_at = self.outgrown_at;
        let slot = &mut self.slots[index];
        let row = slot.row.as_ref().expect("a row that was read");
        let (request, stops) = (row.id, matches!(&row.goal, Goal::Complete { stop, .. } if stop.contains(&id)));
        let is_full = slot.ids.len() + 1 == row.goal.columns(slot.ids.len());
        let finish = if stops { Some(FinishReason::Stop) } else { is_full.then_some(FinishReason::Length) };
        slot.ids.push(id);
        if finish.is_some() {
            slot.row = None;
        } else if outgrown_at.is_some_and(|limit| slot.ids.len() == limit + 1) {
            slot.filled = 0;
        }
        (request, finish)
    }

    /// Give the row in the slot `index` the log-probabilities of its next tokens. It leaves if they were the last: with
    /// those of all of them.
    pub(super) fn extend(&mut self, index: usize, more: &[f32]) -> Option<(RequestId, Vec<f32>)> {
        let slot = &mut self.slots[index];
        let Row { id, goal: Goal::Score { targets, logprobs, .. } } = slot.row.as_mut()? else { return None };
        logprobs.extend(more);
        let done = (logprobs.len() == targets.len()).then(|| (*id, std::mem::take(logprobs)));
        if done.is_some() {
            slot.row = None;
        }
        done
    }

    /// Take the request out of its slot, which goes on holding what it holds.
    pub(super) fn release(&mut self, request: RequestId) -> Released {
        let is_its = |slot: &Slot| slot.row.as_ref().is_some_and(|row| row.id == request);
        let Some(index) = self.slots.iter().position(is_its) else { return Released::NotThere };
        let slot = &mut self.slots[index];
        let has_new = match slot.row.take().map(|row| row.goal) {
            Some(Goal::Complete { prompt_len, .. }) => slot.ids.len() > prompt_len,
            _ => false,
        };
        if slot.filled == 0 || (has_new && slot.filled + 1 == slot.ids.len()) {
            return Released::Sound;
        }
        // Whether what was read of the prompt are numbers shows when a token is drawn.
        *slot = Slot::default();
        Released::Unsure(index)
    }

    /// Empty the slot `index`: which request was in it, with how many tokens new or scored.
    ///
    /// # Panics
    ///
    /// When no row is there.
    pub(super) fn discard(&mut self, index: usize) -> (RequestId, usize) {
        let slot = std::mem::take(&mut self.slots[index]);
        let row = slot.row.expect("a row that was read");
        let step = match row.goal {
            Goal::Complete { prompt_len, .. } => slot.ids.len() - prompt_len,
            Goal::Score { logprobs, .. } => logprobs.len(),
        };
        (row.id, step)
    }
}
