//! Few-shot adaptation: the mixture that does best on a few labelled examples (arXiv 2501.06252, section 3.2, C).
//!
//! The cross-entropy method looks for the coefficients `α_e` of `z = 1 + Σ_e α_e (z_e - 1)` on one half of the
//! examples. Its best finds, each expert alone and the base model then meet on the other half.

use serde::{Deserialize, Serialize};
use t2_model::adapter::Mixture;

use crate::cross_entropy::{CrossEntropy, maximise};
use crate::error::DispatchError;
use crate::fitness::Fitness;
use crate::oracle::Oracle;
use crate::pool::{BASE, ExpertPool};
use crate::query::{Choice, Query};
use crate::strategy::{Registered, Strategy};

pub(super) const ENTRY: Registered = Registered {
    name: "few-shot",
    about: "the mixture that does best on a few labelled examples",
    is_base: false,
    needs_examples: true,
    build: |config| Box::new(FewShot::new(config.few_shot)),
};

/// Label of coefficients found by the search.
const MIXTURE: &str = "mixture";

/// Which coefficients are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coefficients {
    /// One for each expert, `[experts]`.
    #[default]
    Global,
    /// One for each block and expert, `[layers][experts]`; wants more examples.
    PerLayer,
}

/// Settings of [`FewShot`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FewShotConfig {
    /// Which coefficients are looked for.
    pub coefficients: Coefficients,
    /// How they are looked for.
    pub search: CrossEntropy,
    /// Finds of the search that go to the held-out examples, besides the mean of its last elites.
    pub finalists: usize,
    /// Seed of the search.
    pub seed: u64,
}

impl Default for FewShotConfig {
    fn default() -> Self {
        Self { coefficients: Coefficients::Global, search: CrossEntropy::default(), finalists: 3, seed: 0 }
    }
}

/// One mixture for all queries of a task, chosen at the first call and reused: make one for each task.
#[derive(Clone, Debug, Default)]
pub struct FewShot {
    config: FewShotConfig,
    chosen: Option<Choice>,
}

impl FewShot {
    /// A strategy that has not chosen yet.
    pub fn new(config: FewShotConfig) -> Self {
        Self { config, chosen: None }
    }
}

impl Strategy for FewShot {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn choose(
        &mut self,
        queries: &[Query],
        pool: &ExpertPool,
        oracle: &mut dyn Oracle,
    ) -> Result<Vec<Choice>, DispatchError> {
        if let Some(chosen) = &self.chosen {
            return Ok(vec![chosen.clone(); queries.len()]);
        }
        let chosen = search(&self.config, pool, oracle)?;
        self.chosen = Some(chosen.clone());
        Ok(vec![chosen; queries.len()])
    }
}

/// Search on the examples of even index, decide on those of odd index.
fn search(config: &FewShotConfig, pool: &ExpertPool, oracle: &mut dyn Oracle) -> Result<Choice, DispatchError> {
    config.search.check()?;
    let found = oracle.shots();
    if found < 2 {
        return Err(DispatchError::TooFewShots { found });
    }
    let (tuning, held_out): (Vec<usize>, Vec<usize>) = (0..found).partition(|shot| shot % 2 == 0);
    let mixture = |point: &Vec<f32>| mixture_of(config.coefficients, point, pool.len());
    let dims = match config.coefficients {
        Coefficients::Global => pool.len(),
        Coefficients::PerLayer => pool.layers() * pool.len(),
    };
    let outcome = maximise(&config.search, dims, config.seed, |population| {
        let worth = oracle.fitness(&population.iter().map(mixture).collect::<Vec<_>>(), &tuning)?;
        match worth.len() {
            found if found == population.len() => Ok(worth),
            found => Err(DispatchError::Answers { found, expected: population.len() }),
        }
    })?;
    let finds = outcome.best.iter().take(config.finalists).map(|candidate| &candidate.point).chain([&outcome.mean]);
    let finalists = finalists(pool, finds.map(mixture))?;
    decide(finalists, |mixtures| oracle.fitness(mixtures, &held_out))
}

/// Coefficients `[experts]`, or `[layers * experts]`, as a mixture.
fn mixture_of(coefficients: Coefficients, point: &[f32], experts: usize) -> Mixture {
    match coefficients {
        Coefficients::Global => Mixture::global(point.to_vec()),
        Coefficients::PerLayer => Mixture::per_layer(point.chunks(experts).map(<[f32]>::to_vec).collect()),
    }
}

/// Base, experts and finds, the plainest first.
fn finalists(pool: &ExpertPool, finds: impl Iterator<Item = Mixture>) -> Result<Vec<(String, Mixture)>, DispatchError> {
    let mut all = vec![(BASE.to_owned(), Mixture::base(pool.len()))];
    for (index, name) in pool.names().into_iter().enumerate() {
        all.push((name.to_owned(), Mixture::one_hot(index, pool.len())?));
    }
    all.extend(finds.map(|find| (MIXTURE.to_owned(), find)));
    Ok(all)
}

/// The finalist with the greatest fitness; of equal ones the plainest. Its scores are the rewards, the best of all
/// finds standing for them.
fn decide(
    finalists: Vec<(String, Mixture)>,
    fitness: impl FnOnce(&[Mixture]) -> Result<Vec<Fitness>, DispatchError>,
) -> Result<Choice, DispatchError> {
    let (labels, mixtures): (Vec<String>, Vec<Mixture>) = finalists.into_iter().unzip();
    let worth = fitness(&mixtures)?;
    if worth.len() != mixtures.len() {
        return Err(DispatchError::Answers { found: worth.len(), expected: mixtures.len() });
    }
    let best = (1..worth.len()).fold(0, |best, next| if worth[next] > worth[best] { next } else { best });
    let mut scores: Vec<(String, f32)> = Vec::new();
    for (label, worth) in labels.iter().zip(&worth) {
        match scores.last_mut().filter(|(last, _)| last == label) {
            Some((_, reward)) => *reward = reward.max(worth.reward),
            None => scores.push((label.clone(), worth.reward)),
        }
    }
    Ok(Choice { mixture: mixtures[best].clone(), label: labels[best].clone(), scores })
}
