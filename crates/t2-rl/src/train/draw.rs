//! What is random in a step: the examples that are asked, and the seed of every completion.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use t2_task::Example;

use super::TrainConfig;

/// The examples of a step, each `group` times in a row, and a seed for every completion.
pub(super) fn draw<'a>(config: &TrainConfig, step: usize, examples: &[&'a Example]) -> (Vec<&'a Example>, Vec<u64>) {
    let chosen = (step * config.prompts..(step + 1) * config.prompts).map(|position| {
        let (epoch, index) = (position / examples.len(), position % examples.len());
        examples[shuffled(config.seed, epoch, examples.len())[index]]
    });
    let rows = chosen.flat_map(|example| std::iter::repeat_n(example, config.group)).collect();
    let mut rng = stream(config.seed, 2 * step as u64);
    let seeds = (0..config.prompts * config.group).map(|_| rng.random()).collect();
    (rows, seeds)
}

/// The order of the examples in `epoch`.
fn shuffled(seed: u64, epoch: usize, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut stream(seed, 2 * epoch as u64 + 1));
    order
}

/// Independent random numbers for every purpose: even streams draw tokens, odd ones shuffle examples.
fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_draws_every_example_and_the_next_one_in_another_order() {
        let examples: Vec<Example> = (0..6).map(|i| Example::new(format!("{i}?"), "")).collect();
        let examples: Vec<&Example> = examples.iter().collect();
        let config = TrainConfig { prompts: 2, group: 3, seed: 4, ..TrainConfig::default() };
        let steps: Vec<_> = (0..6).map(|step| draw(&config, step, &examples)).collect();
        let (mut asked, mut all_seeds): (Vec<&str>, Vec<u64>) = (vec![], vec![]);
        for (rows, seeds) in &steps {
            assert_eq!((rows.len(), seeds.len()), (6, 6));
            assert!(rows.chunks(3).all(|group| group.iter().all(|&row| row == group[0])), "{rows:?}");
            asked.extend(rows.iter().step_by(3).map(|row| row.question.as_str()));
            all_seeds.extend(seeds);
        }
        let (first, second) = asked.split_at_mut(6);
        assert_ne!(first, second);
        for epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, ["0?", "1?", "2?", "3?", "4?", "5?"]);
        }
        all_seeds.sort_unstable();
        all_seeds.dedup();
        assert_eq!(all_seeds.len(), 36);
        // A function of the seed and the step alone.
        assert_eq!(draw(&config, 3, &examples), steps[3]);
        assert_ne!(draw(&TrainConfig { seed: 5, ..config }, 3, &examples), steps[3]);
    }
}
