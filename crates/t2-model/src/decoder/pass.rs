//! What the blocks of one forward pass share: positions, and who may look where.

use std::ops::Range;

use burn::prelude::*;

use super::cache::KvCache;
use super::config::{BlockKind, DecoderConfig, RopeConfig, Rotary};
use super::rope::Rotation;
use crate::adapter::Active;

/// What every block of one forward pass shares.
pub(super) struct Pass<'a> {
    pub(super) config: &'a DecoderConfig,
    /// For each of the [`kinds`](DecoderConfig::kinds) of blocks; one where all are plain.
    views: Vec<View>,
    pub(super) active: Active<'a>,
}

/// How blocks of one kind see the columns of the pass.
#[derive(Clone)]
pub(super) struct View {
    /// How queries and keys are turned; `None` where they are not.
    pub(super) rotation: Option<Rotation>,
    /// The first column that any query sees.
    pub(super) first: usize,
    /// True where a query must not look, `[batch or 1, 1, seq, columns from first on]`; `None` when nothing is hidden.
    pub(super) hidden: Option<Tensor<4, Bool>>,
}

/// Rows and columns of a pass.
struct Grid {
    /// Padding columns on the left of each row, or once for all.
    pad: Vec<usize>,
    /// The columns that are new.
    columns: Range<usize>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        config: &'a DecoderConfig,
        cache: Option<&KvCache>,
        seq: usize,
        active: Active<'a>,
        device: &Device,
    ) -> Self {
        let start = cache.map_or(0, KvCache::len);
        let mut pad = cache.map_or(vec![0], |cache| cache.pad().to_vec());
        if pad.iter().all(|&p| p == pad[0]) {
            pad.truncate(1);
        }
        let grid = Grid { pad, columns: start..start + seq };
        let kinds = if config.kinds.is_empty() { &[BlockKind::PLAIN] } else { config.kinds.as_slice() };
        let mut views: Vec<View> = vec![];
        for (i, kind) in kinds.iter().enumerate() {
            // A tensor is built once, whichever kinds share it.
            let with = |same: &dyn Fn(&BlockKind) -> bool| kinds[..i].iter().position(same).map(|i| &views[i]);
            let rotation = match with(&|other| other.rotary == kind.rotary) {
                Some(view) => view.rotation.clone(),
                None => config.rope_of(kind.rotary).map(|rope| grid.rotation(rope, config, device)),
            };
            let (first, hidden) = match with(&|other| other.window == kind.window) {
                Some(view) => (view.first, view.hidden.clone()),
                None => grid.hidden(kind.window, device),
            };
            views.push(View { rotation, first, hidden });
        }
        Self { config, views, active }
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
        let positions = |&pad: &usize| self.columns.clone().map(|column| column.saturating_sub(pad)).collect();
        let positions: Vec<Vec<usize>> = self.pad.iter().map(positions).collect();
        Rotation::new(rope, config.attention.head_dim, &positions, device)
    }

    /// The first column that a query sees through `window`, and what is hidden of the columns from there on.
    fn hidden(&self, window: Option<usize>, device: &Device) -> (usize, Option<Tensor<4, Bool>>) {
        let Range { start, end } = self.columns;
        let sees_from = |query: usize| window.map_or(0, |window| (query + 1).saturating_sub(window));
        let first = sees_from(start);
        let is_all_seen = self.columns.len() == 1 && self.pad.iter().all(|&pad| pad <= first);
        let hidden = (!is_all_seen).then(|| {
            let rows = self.pad.iter().flat_map(|&pad| {
                self.columns.clone().flat_map(move |query| {
                    let visible = pad.max(sees_from(query))..=query;
                    (first..end).map(move |key| !visible.contains(&key))
                })
            });
            let shape = [self.pad.len(), 1, self.columns.len(), end - first];
            Tensor::from_data(TensorData::new(rows.collect(), shape), device)
        });
        (first, hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each row and query of `columns`, the columns that it sees, from the first to before the second, and whether a mask was needed to say so.
    #[track_caller]
    fn check(pad: &[usize], columns: Range<usize>, window: Option<usize>, seen: &[&[(usize, usize)]], masked: bool) {
        let grid = Grid { pad: pad.to_vec(), columns: columns.clone() };
        let (first, hidden) = grid.hidden(window, &Device::flex());
        assert_eq!(hidden.is_some(), masked);
        let width = columns.end - first;
        let hidden: Vec<bool> = match hidden {
            Some(hidden) => hidden.into_data().iter::<bool>().collect(),
            None => vec![false; pad.len() * columns.len() * width],
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
}
