//! The completions of one backward pass, laid out so that a prompt is read once and little of it is padding.

use super::learn::Row;

/// A pass through completions goes on with the next longer ones until it holds this many tokens: products of so many rows
/// are as fast as larger ones.
const PASS_TOKENS: usize = 256;

/// Completions that are learned from together.
pub(super) struct Batch<'a> {
    /// The completions, those of one prompt side by side.
    pub(super) rows: Vec<Row<'a>>,
    /// The prompts, each once.
    pub(super) prompts: Vec<&'a [u32]>,
    /// For each row its prompt, an index into `prompts`.
    pub(super) owners: Vec<usize>,
    /// Rows that are read together, the shortest completions first. Those of a single token are in none: the token is
    /// predicted by the prompt.
    pub(super) passes: Vec<Vec<usize>>,
}

/// `rows` in batches of at most `budget` tokens, prompts and padding included; a row that is longer is alone.
pub(super) fn batches<'a>(mut rows: Vec<Row<'a>>, budget: usize) -> Vec<Batch<'a>> {
    rows.sort_by_key(|(rollout, _)| (rollout.prompt.len(), &rollout.prompt, rollout.completion.ids.len()));
    let (mut batches, mut rest) = (vec![], rows.as_slice());
    while let Some(first) = rest.first() {
        let mut batch = Batch::new(&[*first]);
        for len in 2..=rest.len() {
            let larger = Batch::new(&rest[..len]);
            if larger.tokens() > budget {
                break;
            }
            batch = larger;
        }
        rest = &rest[batch.rows.len()..];
        batches.push(batch);
    }
    batches
}

impl<'a> Batch<'a> {
    /// `rows` as they are, equal prompts side by side.
    fn new(rows: &[Row<'a>]) -> Self {
        let (mut prompts, mut owners) = (Vec::<&[u32]>::new(), vec![]);
        for (rollout, _) in rows {
            if prompts.last() != Some(&rollout.prompt.as_slice()) {
                prompts.push(&rollout.prompt);
            }
            owners.push(prompts.len() - 1);
        }
        let mut batch = Self { rows: rows.to_vec(), prompts, owners, passes: vec![] };
        let mut order: Vec<usize> = (0..rows.len()).filter(|&row| batch.read(row) > 0).collect();
        order.sort_by_key(|&row| batch.read(row));
        for row in order {
            match batch.passes.last() {
                Some(pass)
                    if batch.columns(pass) * pass.len() < PASS_TOKENS || batch.columns(pass) == batch.read(row) =>
                {
                    batch.passes.last_mut().expect("there is one").push(row);
                }
                _ => batch.passes.push(vec![row]),
            }
        }
        batch
    }

    /// The completion of a row.
    pub(super) fn completion(&self, row: usize) -> &'a [u32] {
        &self.rows[row].0.completion.ids
    }

    /// Tokens of a completion that are read: nothing follows the last.
    pub(super) fn read(&self, row: usize) -> usize {
        self.completion(row).len().saturating_sub(1)
    }

    /// Columns of a pass: what is read of its longest completion.
    pub(super) fn columns(&self, pass: &[usize]) -> usize {
        pass.iter().map(|&row| self.read(row)).max().unwrap_or(0)
    }

    /// Tokens of the longest prompt.
    pub(super) fn prompt_len(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0)
    }

    /// Tokens of the longest completion.
    pub(super) fn completion_len(&self) -> usize {
        (0..self.rows.len()).map(|row| self.completion(row).len()).max().unwrap_or(0)
    }

    /// Tokens that go through the model, padding included.
    fn tokens(&self) -> usize {
        let completions: usize = self.passes.iter().map(|pass| pass.len() * self.columns(pass)).sum();
        self.prompts.len() * self.prompt_len() + completions
    }
}
