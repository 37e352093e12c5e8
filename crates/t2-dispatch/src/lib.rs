#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod cross_entropy;
mod error;
mod fitness;
mod model_oracle;
mod oracle;
mod pool;
mod query;
pub mod strategy;
mod two_pass;

/// Burn as this crate uses it. Take tensors and devices from here, and they are those of the version it was built with.
pub use burn;
pub use error::DispatchError;
pub use fitness::Fitness;
pub use model_oracle::{Grade, Labelled, ModelOracle, Shot};
pub use oracle::{Oracle, Question, Reader, Reply};
pub use pool::{CLASSIFIER, ExpertPool};
pub use query::{Choice, OTHER, Query};
pub use strategy::{Registered, STRATEGIES, Strategy, StrategyConfig};
pub use t2_chat::Message;
/// The crate that models, tokenizers, experts and mixtures are of.
pub use t2_model;
pub use two_pass::{Answer, TwoPasses, two_pass, two_pass_with};
