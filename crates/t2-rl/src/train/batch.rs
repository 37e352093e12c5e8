//! The completions of one backward pass, laid out so that a prompt is read once and little of it is padding.

use super::learn::Row;

/// Most padding of a pass through completions, in tokens: it costs less than another pass would.
const PADDING: usize = 64;

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

/// `rows` in batches of at most `budget` tokens, prompts and padding included; a row that is longer is a batch by itself.
pub(super) fn batches<'a>(mut rows: Vec<Row<'a>>, budget: usize) -> Vec<Batch<'a>> {
    rows.sort_by_key(|(rollout, _)| (rollout.prompt.len(), &rollout.prompt, rollout.completion.ids.len()));
    let (mut batches, mut rest) = (vec![], rows.as_slice());
    while !rest.is_empty() {
        let batch = Batch::new(&rest[..fitting(rest, budget)]);
        rest = &rest[batch.rows.len()..];
        batches.push(batch);
    }
    batches
}

/// How many of `rows` make a batch of at most `budget` tokens, at least one. The rows of a prompt are not parted if those
/// before them make a batch.
fn fitting(rows: &[Row<'_>], budget: usize) -> usize {
    let fits = |len: &usize| Batch::new(&rows[..*len]).tokens() <= budget;
    let most = (2..=rows.len()).take_while(fits).last().unwrap_or(1);
    let parted = rows.get(most).map(|(next, _)| &next.prompt);
    let whole = rows[..most].iter().take_while(|(rollout, _)| Some(&rollout.prompt) != parted).count();
    if whole == 0 { most } else { whole }
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
        batch.passes = passes(order.into_iter().map(|row| (row, batch.read(row))));
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

/// Rows by what is read of them, the shortest first, in passes whose padding is small.
fn passes(rows: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let (mut passes, mut padding, mut columns) = (Vec::<Vec<usize>>::new(), 0, 0);
    for (row, read) in rows {
        match passes.last_mut() {
            Some(pass) if padding + pass.len() * (read - columns) <= PADDING => {
                padding += pass.len() * (read - columns);
                pass.push(row);
            }
            _ => {
                padding = 0;
                passes.push(vec![row]);
            }
        }
        columns = read;
    }
    passes
}

#[cfg(test)]
mod tests {
    use t2_model::generate::{Completion, FinishReason};

    use super::*;
    use crate::rollout::Rollout;

    /// A completion of `len` tokens of the prompt that is `prompt` times the token `prompt`.
    fn rollout((prompt, len): (u32, usize)) -> Rollout {
        let completion = Completion { ids: vec![1; len], logprobs: vec![0.0; len], finish: FinishReason::Length };
        Rollout { prompt: vec![prompt; prompt as usize], completion, text: String::new() }
    }

    /// Lengths of the completions of every batch, for completions `(prompt, length)` in any order, and its tokens.
    #[track_caller]
    fn check(rows: &[(u32, usize)], budget: usize, expected: &[(&[usize], usize)]) {
        let rollouts: Vec<Rollout> = rows.iter().copied().map(rollout).collect();
        let batches = batches(rollouts.iter().map(|rollout| (rollout, 1.0)).collect(), budget);
        let lens = |batch: &Batch<'_>| (0..batch.rows.len()).map(|row| batch.completion(row).len()).collect::<Vec<_>>();
        let found: Vec<_> = batches.iter().map(|batch| (lens(batch), batch.tokens())).collect();
        let expected: Vec<_> = expected.iter().map(|&(lens, tokens)| (lens.to_vec(), tokens)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_of_a_prompt_stay_together_where_they_can() {
        // A prompt of 3 and what is read of two completions; then one of 5, whose rows would not fit beside them.
        check(&[(5, 4), (3, 2), (5, 3), (3, 4)], 12, &[(&[2, 4], 9), (&[3, 4], 11)]);
        check(&[(5, 4), (3, 2), (5, 3), (3, 4)], 1000, &[(&[2, 4, 3, 4], 22)]);
        // Too many for one batch: the prompt is read again.
        check(&[(4, 5), (4, 5), (4, 5), (4, 5)], 13, &[(&[5, 5], 12), (&[5, 5], 12)]);
        check(&[(4, 5), (4, 5)], 1, &[(&[5], 8), (&[5], 8)]);
        check(&[], 100, &[]);
    }

    #[test]
    fn a_completion_of_one_token_is_predicted_by_its_prompt() {
        check(&[(3, 1), (3, 1)], 100, &[(&[1, 1], 3)]);
    }

    #[test]
    fn completions_of_like_length_are_read_together() {
        let rollouts: Vec<Rollout> = [(2, 300), (2, 20), (2, 290), (2, 21)].map(rollout).into();
        let batch = Batch::new(&rollouts.iter().map(|rollout| (rollout, 1.0)).collect::<Vec<_>>());
        assert_eq!(batch.passes, [vec![1, 3], vec![2, 0]]);
    }
}
