//! The cross-entropy method: search by drawing points, keeping the best and drawing around them.
//!
//! With elites `E` of a population `α_i ~ clip(N(μ, diag(σ²)))`: `μ ← mean(E)`, `σ ← max(std(E), min_std)`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::fitness::Fitness;

/// Settings of the search. Population, elite share and bounds are those of Transformer², which takes 50 iterations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {
    /// Points drawn in each iteration.
    pub population: usize,
    /// Share of the population, rounded, that the next one is drawn around; at least one point.
    pub elite_share: f32,
    /// Populations drawn.
    pub iterations: usize,
    /// Smallest coordinate of a point.
    pub low: f32,
    /// Largest coordinate of a point.
    pub high: f32,
    /// Mean of the first population, in every coordinate.
    pub mean: f32,
    /// Standard deviation of the first population, in every coordinate.
    pub std: f32,
    /// The standard deviation never falls below this, so that the search goes on.
    pub min_std: f32,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self {
            population: 32,
            elite_share: 0.2,
            iterations: 10,
            low: 0.0,
            high: 1.0,
            mean: 0.5,
            std: 0.5,
            min_std: 0.02,
        }
    }
}

/// A setting of the search makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{name} of the search is {value}; it must be {expected}")]
pub struct BadSearch {
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: f32,
    /// What it may be.
    pub expected: &'static str,
}

impl CrossEntropy {
    /// Refuse settings that make no sense.
    ///
    /// # Errors
    ///
    /// [`BadSearch`] names the first that is out of range.
    pub fn check(&self) -> Result<(), BadSearch> {
        const FINITE: &str = "a finite number";
        const SPREAD: &str = "a finite number of at least 0";
        let &Self { elite_share, low, high, mean, std, min_std, .. } = self;
        let is_spread = |std: f32| std.is_finite() && std >= 0.0;
        let settings = [
            ("population", self.population as f32, self.population > 0, "at least 1"),
            ("elite_share", elite_share, elite_share > 0.0 && elite_share <= 1.0, "above 0 and at most 1"),
            ("low", low, low.is_finite(), FINITE),
            ("high", high, high.is_finite() && high >= low, "a finite number of at least low"),
            ("mean", mean, mean.is_finite(), FINITE),
            ("std", std, is_spread(std), SPREAD),
            ("min_std", min_std, is_spread(min_std), SPREAD),
        ];
        match settings.into_iter().find(|(_, _, is_good, _)| !is_good) {
            Some((name, value, _, expected)) => Err(BadSearch { name, value, expected }),
            None => Ok(()),
        }
    }

    /// Number of points that the next population is drawn around.
    fn elites(&self) -> usize {
        let elites = (self.elite_share * self.population as f32).round() as usize;
        elites.clamp(1, self.population.max(1))
    }
}

/// A point and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Coordinates, `[dims]`.
    pub point: Vec<f32>,
    /// What it is worth.
    pub fitness: Fitness,
}

/// Where a search ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The best points of all iterations, as many as there are elites, best first; of equal ones the earlier first.
    pub best: Vec<Candidate>,
    /// Mean of the last elites, `[dims]`: often better than any of them where the fitness is noisy.
    pub mean: Vec<f32>,
}

/// Look for the point of `[low, high]^dims` with the greatest fitness. `fitness` is given a whole population at a time,
/// `[population][dims]`. The same seed and fitness give the same outcome.
///
/// # Errors
///
/// What `fitness` returns.
///
/// # Panics
///
/// When [`CrossEntropy::check`] refuses `config`, and when `fitness` does not value every point.
pub fn maximise<E>(
    config: &CrossEntropy,
    dims: usize,
    seed: u64,
    mut fitness: impl FnMut(&[Vec<f32>]) -> Result<Vec<Fitness>, E>,
) -> Result<Outcome, E> {
    assert_eq!(config.check(), Ok(()), "the search can be made");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut search = Gaussian { mean: vec![config.mean; dims], std: vec![config.std; dims] };
    let mut best: Vec<Candidate> = Vec::new();
    for _ in 0..config.iterations {
        let population: Vec<Vec<f32>> = (0..config.population).map(|_| search.draw(config, &mut rng)).collect();
        let worth = fitness(&population)?;
        assert_eq!(worth.len(), population.len(), "the fitness values every point");
        let valued = population.into_iter().zip(worth).map(|(point, fitness)| Candidate { point, fitness });
        let elites = top(valued.collect(), config.elites());
        search.fit(&elites, config.min_std);
        best = top([best, elites].concat(), config.elites());
    }
    Ok(Outcome { best, mean: search.mean.iter().map(|mean| mean.clamp(config.low, config.high)).collect() })
}

/// The `count` best of `candidates`, best first. The sort is stable: of equal ones the earlier stays in front.
fn top(mut candidates: Vec<Candidate>, count: usize) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.fitness));
    candidates.truncate(count);
    candidates
}

/// A normal distribution with independent coordinates.
struct Gaussian {
    /// `[dims]`.
    mean: Vec<f32>,
    /// `[dims]`.
    std: Vec<f32>,
}

impl Gaussian {
    fn draw(&self, config: &CrossEntropy, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let draw = |(mean, std): (&f32, &f32)| (mean + std * standard_normal(rng)).clamp(config.low, config.high);
        self.mean.iter().zip(&self.std).map(draw).collect()
    }

    fn fit(&mut self, elites: &[Candidate], min_std: f32) {
        let count = elites.len().max(1) as f32;
        for (dim, (mean, std)) in self.mean.iter_mut().zip(&mut self.std).enumerate() {
            *mean = elites.iter().map(|elite| elite.point[dim]).sum::<f32>() / count;
            let variance = elites.iter().map(|elite| (elite.point[dim] - *mean).powi(2)).sum::<f32>() / count;
            *std = variance.sqrt().max(min_std);
        }
    }
}

/// A draw from N(0, 1), after Box and Muller.
fn standard_normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The search stops narrowing at `min_std` 0.02; twice that is as near as it promises.
    const NEAR: f32 = 0.04;

    fn search(config: &CrossEntropy, dims: usize, seed: u64, worth: impl Fn(&[f32]) -> (f32, f32)) -> Outcome {
        let fitness = |point: &Vec<f32>| {
            let (reward, log_likelihood) = worth(point);
            Fitness { reward, log_likelihood }
        };
        let Ok(outcome) =
            maximise(config, dims, seed, |population| Ok::<_, Infallible>(population.iter().map(fitness).collect()));
        outcome
    }

    fn distance(point: &[f32], target: &[f32]) -> f32 {
        point.iter().zip(target).map(|(x, t)| (x - t).powi(2)).sum::<f32>().sqrt()
    }

    #[track_caller]
    fn check_quadratic(target: &[f32]) {
        for seed in 0..5 {
            let config = CrossEntropy { iterations: 20, ..CrossEntropy::default() };
            let found = search(&config, target.len(), seed, |x| (-distance(x, target), 0.0));
            let inside: Vec<f32> = target.iter().map(|t| t.clamp(0.0, 1.0)).collect();
            assert!(distance(&found.best[0].point, &inside) < NEAR, "seed {seed}: {:?} for {target:?}", found.best[0]);
            assert!(distance(&found.mean, &inside) < NEAR, "seed {seed}: {:?} for {target:?}", found.mean);
        }
    }

    #[test]
    fn the_optimum_of_a_quadratic_is_found() {
        check_quadratic(&[0.3]);
        check_quadratic(&[0.0, 1.0, 0.5]);
        check_quadratic(&[0.2, 0.9, 0.4, 0.7, 0.0, 1.0]);
    }

    #[test]
    fn an_optimum_out_of_bounds_is_approached_from_inside() {
        check_quadratic(&[-1.0, 2.0]);
    }

    #[test]
    fn every_point_is_within_bounds() {
        let config = CrossEntropy { low: -0.5, high: 0.25, std: 3.0, ..CrossEntropy::default() };
        let mut drawn = 0;
        let outcome = maximise(&config, 4, 1, |population| {
            drawn += population.len();
            assert!(population.iter().flatten().all(|x| (-0.5..=0.25).contains(x)));
            Ok::<_, Infallible>(vec![Fitness { reward: 0.0, log_likelihood: 0.0 }; population.len()])
        });
        assert_eq!(drawn, 320);
        assert!(outcome.unwrap().mean.iter().all(|x| (-0.5..=0.25).contains(x)));
    }

    #[test]
    fn likelihood_decides_where_all_rewards_tie() {
        let config = CrossEntropy { iterations: 20, ..CrossEntropy::default() };
        let found = search(&config, 2, 3, |x| (1.0, -distance(x, &[0.8, 0.1])));
        assert!(distance(&found.mean, &[0.8, 0.1]) < NEAR, "{:?}", found.mean);
    }

    #[test]
    fn of_equal_points_the_first_drawn_is_the_best() {
        let config = CrossEntropy::default();
        let mut first = None;
        let outcome = maximise(&config, 2, 5, |population| {
            first.get_or_insert_with(|| population[0].clone());
            Ok::<_, Infallible>(vec![Fitness { reward: 1.0, log_likelihood: 0.0 }; population.len()])
        });
        let Ok(outcome) = outcome;
        assert_eq!(Some(&outcome.best[0].point), first.as_ref());
        assert_eq!(outcome.best.len(), 6);
    }

    #[test]
    fn a_seed_fixes_the_outcome() {
        let config = CrossEntropy::default();
        let run = |seed| search(&config, 3, seed, |x| (x[0] - x[1], x[2]));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[track_caller]
    fn check_refused(config: CrossEntropy, message: &str) {
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let plain = CrossEntropy::default();
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(CrossEntropy { iterations: 0, low: 0.5, high: 0.5, std: 0.0, ..plain }.check(), Ok(()));
        check_refused(CrossEntropy { population: 0, ..plain }, "population of the search is 0; it must be at least 1");
        check_refused(CrossEntropy { elite_share: 0.0, ..plain }, "elite_share of the search is 0");
        check_refused(CrossEntropy { elite_share: 1.5, ..plain }, "above 0 and at most 1");
        check_refused(CrossEntropy { low: f32::NEG_INFINITY, ..plain }, "low of the search is -inf");
        check_refused(
            CrossEntropy { low: 2.0, ..plain },
            "high of the search is 1; it must be a finite number of at l",
        );
        check_refused(CrossEntropy { mean: f32::NAN, ..plain }, "mean of the search is NaN");
        check_refused(CrossEntropy { std: -1.0, ..plain }, "std of the search is -1");
        check_refused(CrossEntropy { min_std: f32::INFINITY, ..plain }, "min_std of the search is inf");
    }

    #[test]
    fn an_error_of_the_fitness_ends_the_search() {
        assert_eq!(maximise(&CrossEntropy::default(), 2, 0, |_| Err("no device")), Err("no device"));
    }
}
