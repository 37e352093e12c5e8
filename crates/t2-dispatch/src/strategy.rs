//! First pass: strategies that look at queries and choose mixtures (arXiv 2501.06252, section 3.2).
//!
//! A new strategy is one file in `strategy/` and a line in [`STRATEGIES`].

mod classifier;
mod few_shot;
mod none;
mod prompt;
mod topic;

pub use classifier::Classifier;
pub use few_shot::{Coefficients, FewShot, FewShotConfig};
pub use none::NoExperts;
pub use prompt::PromptBased;

use serde::{Deserialize, Serialize};

use crate::error::DispatchError;
use crate::oracle::Oracle;
use crate::pool::ExpertPool;
use crate::query::{Choice, Query};

/// Every strategy, in the order in which help texts list them.
pub const STRATEGIES: &[Registered] = &[none::ENTRY, prompt::ENTRY, classifier::ENTRY, few_shot::ENTRY];

/// Chooses what the second pass runs under.
pub trait Strategy: Send {
    /// The name on the command line.
    fn name(&self) -> &str;

    /// One choice among the experts of `pool` for each of `queries`.
    ///
    /// # Errors
    ///
    /// What `oracle` refuses, and whatever the strategy lacks.
    fn choose(
        &mut self,
        queries: &[Query],
        pool: &ExpertPool,
        oracle: &mut dyn Oracle,
    ) -> Result<Vec<Choice>, DispatchError>;
}

/// A strategy as the registry knows it.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The name on the command line.
    pub name: &'static str,
    /// One line for help texts and tables.
    pub about: &'static str,
    /// True when it asks nothing and needs no experts: what the others are compared with.
    pub is_base: bool,
    /// True when it learns from labelled examples, which one question does not bring.
    pub needs_examples: bool,
    /// Makes one; a strategy may remember what it found, so there is one for each task.
    pub build: fn(&StrategyConfig) -> Box<dyn Strategy>,
}

/// What the strategies of the registry are made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrategyConfig {
    /// Of `few-shot`.
    pub few_shot: FewShotConfig,
}

/// The strategy that takes the base model for everything: what the others are compared with.
pub fn base() -> &'static Registered {
    STRATEGIES.iter().find(|strategy| strategy.is_base).unwrap_or(&none::ENTRY)
}

/// The names of all strategies, as help texts and errors list them.
pub fn names() -> String {
    STRATEGIES.iter().map(|strategy| strategy.name).collect::<Vec<_>>().join(", ")
}

/// The strategy called `name`.
///
/// # Errors
///
/// [`DispatchError::UnknownStrategy`] lists the known names.
pub fn find(name: &str, config: &StrategyConfig) -> Result<Box<dyn Strategy>, DispatchError> {
    match STRATEGIES.iter().find(|strategy| strategy.name == name) {
        Some(strategy) => Ok((strategy.build)(config)),
        None => Err(DispatchError::UnknownStrategy { name: name.into(), known: names() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_found_by_its_name() {
        for strategy in STRATEGIES {
            let found = find(strategy.name, &StrategyConfig::default()).unwrap();
            assert_eq!(found.name(), strategy.name);
            assert!(!strategy.about.is_empty());
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = find("oracle", &StrategyConfig::default()).err().unwrap().to_string();
        assert_eq!(error, "there is no strategy `oracle`; use one of none, prompt, classifier, few-shot");
    }
}
