//! Why no mixture could be chosen, or no answer given under one.

use std::error::Error;

use t2_model::adapter::ExpertError;
use t2_model::adapter::mixture::MixtureError;
use t2_model::generate::GenerateError;
use t2_model::text::TokenizerError;

use crate::cross_entropy::BadSearch;

/// Why a pool, a choice or an answer could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// Nothing to choose from.
    #[error("the pool has no experts to choose from; give at least one besides the classification expert")]
    EmptyPool,
    /// Two experts answer to one name.
    #[error("two experts are named `{name}`; rename one of them")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The name cannot be one of the answers to the question for the topic.
    #[error("an expert cannot be named `{name}`; use a word that is not blank and not `other` or `base`")]
    BadName {
        /// The name.
        name: String,
    },
    /// An expert does not belong to the model.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// The strategy needs an expert that the pool does not hold.
    #[error("there is no expert named `classify` among {names}; add one, or use another strategy")]
    NoClassifier {
        /// The experts there are.
        names: String,
    },
    /// No strategy has this name.
    #[error("there is no strategy `{name}`; use one of {known}")]
    UnknownStrategy {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The search needs examples to search by and others to decide by.
    #[error("few-shot needs at least 2 labelled examples, found {found}; give more, or use another strategy")]
    TooFewShots {
        /// Labelled examples at hand.
        found: usize,
    },
    /// The search cannot be made as it was set.
    #[error(transparent)]
    Search(#[from] BadSearch),
    /// A strategy asked for a labelled example that is not there.
    #[error("there is no labelled example {index} among {shots}, counted from 0; ask the oracle for their number")]
    NoShot {
        /// Position asked for.
        index: usize,
        /// Examples there are.
        shots: usize,
    },
    /// A labelled example cannot be put to the model.
    #[error("labelled example {index} cannot be put to the model")]
    Shot {
        /// Position among the labelled examples.
        index: usize,
        /// What is wrong with it.
        source: GenerateError,
    },
    /// There is nothing whose likelihood could be asked for.
    #[error("the tokenizer makes nothing of {text:?}; an answer needs at least one token")]
    NoTokens {
        /// The answer.
        text: String,
    },
    /// The grader gave up.
    #[error("the completions of the labelled examples could not be graded")]
    Grade(#[source] Box<dyn Error + Send + Sync>),
    /// The grader did not give one finite reward for each completion.
    #[error("the grader of the labelled examples gave {found}; expected {expected} finite rewards")]
    Rewards {
        /// What it gave.
        found: String,
        /// Completions it was given.
        expected: usize,
    },
    /// A strategy chose for more or fewer queries than it was given.
    #[error("the strategy `{strategy}` made {found} choices for {expected} queries; it must make one for each")]
    Choices {
        /// The strategy.
        strategy: String,
        /// Choices made.
        found: usize,
        /// Queries given.
        expected: usize,
    },
    /// An oracle did not answer everything it was asked.
    #[error("the oracle gave {found} answers to {expected} questions; it must give one for each")]
    Answers {
        /// Answers given.
        found: usize,
        /// Questions asked.
        expected: usize,
    },
    /// A mixture does not fit the experts of the pool.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// A strategy or an oracle of the user's own failed.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
    /// Text could not be turned into tokens or back.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A prompt cannot be put to the model.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}
