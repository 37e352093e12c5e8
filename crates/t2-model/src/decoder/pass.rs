//! What the blocks of one forward pass share: positions, and who may look where.

use std::cell::OnceCell;
use std::rc::Rc;

use burn::prelude::*;
use t2_linalg::ops::Rows;

use super::cache::{KvCache, Span, indices};
use super::config::{BlockKind, DecoderConfig, RopeConfig, Rotary};
use super::rope::Rotation;
use crate::adapter::Active;

/// What every block of one forward pass shares.
pub(super) struct Pass<'a> {
    pub(super) config: &'a DecoderConfig,
    /// The columns of each row that are no padding, and the slot of each, where it has one in the cache.
    pub(super) rows: Rows,
    /// The slots on the device, once they are asked for.
    slots: OnceCell<Tensor<1, Int>>,
    /// For each of the [`kinds`](DecoderConfig::kinds) of blocks; one where all are plain.
    views: Vec<View>,
    pub(super) active: Active<'a>,
}

/// How blocks of one kind see the columns of the pass.
#[derive(Clone)]
pub(super) struct View {
    /// How queries and keys are turned; `None` where they are not.
    pub(super) rotation: Option<Rotation>,
    /// How many columns a query sees, its own included; `None`: all.
    pub(super) window: Option<usize>,
    pub(super) mask: Rc<Mask>,
}

/// What is hidden from the blocks of one window, as tensors; computed when it is first asked for.
pub(super) struct Mask {
    grid: Rc<Grid>,
    window: Option<usize>,
    device: Device,
    hidden: OnceCell<(usize, Option<Tensor<4, Bool>>)>,
}

impl Mask {
    fn new(grid: Rc<Grid>, window: Option<usize>, device: &Device) -> Self {
        Self { grid, window, device: device.clone(), hidden: OnceCell::new() }
    }

    /// The first column that any query sees, and what is hidden of the columns from there on: true where a query must not
    /// look, `[batch or 1, 1, seq, columns from first on]`; `None` when nothing is.
    pub(super) fn hidden(&self) -> &(usize, Option<Tensor<4, Bool>>) {
        self.hidden.get_or_init(|| self.grid.hidden(self.window, &self.device))
    }
}

/// Rows and columns of a pass.
struct Grid {
    /// The columns of each row, or once for all.
    rows: Vec<Span>,
    /// How many of them are new.
    seq: usize,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        config: &'a DecoderConfig,
        cache: Option<&KvCache>,
        seq: usize,
        active: Active<'a>,
        device: &Device,
    ) -> Self {
        let mut rows = cache.map_or(vec![Span { first: 0, start: 0, len: seq }], |cache| cache.spans(seq));
        if rows.iter().all(|&row| row == rows[0]) {
            rows.truncate(1);
        }
        let keys = rows.iter().map(|row| row.first..row.start + seq).collect();
        let grid = Rc::new(Grid { rows, seq });
        let kinds = if config.kinds.is_empty() { &[BlockKind::PLAIN] } else { config.kinds.as_slice() };
        let mut views: Vec<View> = vec![];
        for (i, kind) in kinds.iter().enumerate() {
            // A tensor is built once, whichever kinds share it.
            let with = |same: &dyn Fn(&BlockKind) -> bool| kinds[..i].iter().position(same).map(|i| &views[i]);
            let rotation = match with(&|other| other.rotary == kind.rotary) {
                Some(view) => view.rotation.clone(),
                None => config.rope_of(kind.rotary).map(|rope| grid.rotation(rope, config, device)),
            };
            let mask = match with(&|other| other.window == kind.window) {
                Some(view) => view.mask.clone(),
                None => Rc::new(Mask::new(grid.clone(), kind.window, device)),
            };
            views.push(View { rotation, window: kind.window, mask });
        }
        let rows = Rows::new(keys, cache.and_then(KvCache::placed_in));
        Self { config, rows, slots: OnceCell::new(), views, active }
    }

    /// The columns that any row of the pass has, of the rows of the pass, `[batch, kv_heads, columns, head_dim]`, of those of
    /// `all` rows that are held.
    pub(super) fn pick(&self, all: Tensor<4>) -> Tensor<4> {
        let all = match self.rows.columns() {
            columns if columns < all.dims()[2] => all.slice_dim(2, 0..columns),
            _ => all,
        };
        let Some(slots) = self.rows.held_in() else { return all };
        let first = slots.first().copied().unwrap_or(0);
        if slots.iter().copied().eq(first..first + slots.len()) {
            return all.slice_dim(0, first..first + slots.len());
        }
        let index = self.slots.get_or_init(|| indices(slots, &all.device()));
        all.select(0, index.clone())
    }

    /// How block `layer` sees the pass.
    pub(super) fn view(&self, layer: usize) -> &View {
        &self.views[layer % self.views.len()]
    }
}

impl DecoderConfig {
    fn rope_of(&self, rotary: Rotary) -> Option<&RopeConfig> {
        match rotary {
            Rotary::Global => Some(&self.rope),
            Rotary::Local => self.local_rope.as_ref(),
            Rotary::Off => None,
        }
    }
}

impl Grid {
    /// The rotation of the new columns, whose positions count from the first token of each row.
    fn rotation(&self, rope: &RopeConfig, config: &DecoderConfig, device: &Device) -> Rotation {
        let positions = |row: &Span| {
            let columns = row.start..row.start + self.seq;
            (columns.map(|column| column.saturating_sub(row.first)).collect(), row.len)
        };
        let rows: Vec<(Vec<usize>, usize)> = self.rows.iter().map(positions).collect();
        Rotation::new(rope, config.attention.head_dim, &rows, device)
    }

    /// The first column that a query sees through `window`, and what is hidden of the columns from there on.
    fn hidden(&self, window: Option<usize>, device: &Device) -> (usize, Option<Tensor<4, Bool>>) {
        let sees_from = |query: usize| window.map_or(0, |window| (query + 1).saturating_sub(window));
        let starts = self.rows.iter().map(|row| row.start);
        let (earliest, latest) = (starts.clone().min().unwrap_or(0), starts.max().unwrap_or(0));
        let (first, end) = (sees_from(earliest), latest + self.seq);
        let is_all_seen = self.seq == 1 && earliest == latest && self.rows.iter().all(|row| row.first <= first);
        let hidden = (!is_all_seen).then(|| {
            let rows = self.rows.iter().flat_map(|row| {
                (row.start..row.start + self.seq).flat_map(move |query| {
                    let visible = row.first.max(sees_from(query))..=query;
                    (first..end).map(move |key| !visible.contains(&key))
                })
            });
            let shape = [self.rows.len(), 1, self.seq, end - first];
            Tensor::from_data(TensorData::new(rows.collect(), shape), device)
        });
        (first, hidden)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// For each row and query of `columns`, the columns that it sees, from the first to before the second, and whether a mask was needed to say so.
    #[track_caller]
    fn check(pad: &[usize], columns: Range<usize>, window: Option<usize>, seen: &[&[(usize, usize)]], masked: bool) {
        let Range { start, end } = columns;
        let rows = pad.iter().map(|&first| Span { first, start, len: end - first }).collect();
        check_rows(Grid { rows, seq: end - start }, window, seen, masked);
    }

    #[track_caller]
    fn check_rows(grid: Grid, window: Option<usize>, seen: &[&[(usize, usize)]], masked: bool) {
        let (first, hidden) = grid.hidden(window, &Device::flex());
        assert_eq!(hidden.is_some(), masked);
        let width = grid.rows.iter().map(|row| row.start + grid.seq).max().unwrap() - first;
        let hidden: Vec<bool> = match hidden {
            Some(hidden) => hidden.into_data().iter::<bool>().collect(),
            None => vec![false; grid.rows.len() * grid.seq * width],
        };
        let found: Vec<Vec<usize>> = hidden
            .chunks(width)
            .map(|row| row.iter().zip(first..).filter(|(hidden, _)| !**hidden).map(|(_, column)| column).collect())
            .collect();
        let expected: Vec<Vec<usize>> =
            seen.iter().flat_map(|row| row.iter().map(|&(from, to)| (from..to).collect())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_query_sees_its_window_and_no_padding() {
        check(&[0], 0..3, None, &[&[(0, 1), (0, 2), (0, 3)]], true);
        check(&[0], 0..4, Some(2), &[&[(0, 1), (0, 2), (1, 3), (2, 4)]], true);
        check(&[1, 0], 2..4, None, &[&[(1, 3), (1, 4)], &[(0, 3), (0, 4)]], true);
        check(&[1, 0], 3..4, Some(3), &[&[(1, 4)], &[(1, 4)]], false);
        check(&[2, 0], 3..4, Some(3), &[&[(2, 4)], &[(1, 4)]], true);
        check(&[0], 5..6, None, &[&[(0, 6)]], false);
        check(&[0], 5..6, Some(2), &[&[(4, 6)]], false);
    }

    #[test]
    fn rows_in_slots_begin_at_columns_of_their_own() {
        let grid = |starts: &[usize], seq| {
            let rows = starts.iter().map(|&start| Span { first: 0, start, len: start + seq }).collect();
            Grid { rows, seq }
        };
        check_rows(grid(&[3, 1], 1), None, &[&[(0, 4)], &[(0, 2)]], true);
        check_rows(grid(&[2, 2], 1), None, &[&[(0, 3)], &[(0, 3)]], false);
        check_rows(grid(&[0, 4], 2), None, &[&[(0, 1), (0, 2)], &[(0, 5), (0, 6)]], true);
        check_rows(grid(&[5, 3], 1), Some(2), &[&[(4, 6)], &[(2, 4)]], true);
    }
}
