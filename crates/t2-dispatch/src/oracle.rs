//! What a strategy may ask of the model: text and numbers, no tensors.

use t2_model::mix::Mixture;

use crate::error::DispatchError;
use crate::fitness::Fitness;

/// Who reads the question for the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The base model, bit for bit.
    Base,
    /// The base model under the classification expert of the pool.
    Classifier,
}

/// A model that answers the questions of a strategy, many at a time.
///
/// Every method is one batch: an implementation runs all questions, or all mixtures and examples, as rows of shared
/// forward passes.
pub trait Oracle {
    /// Log-likelihood of each of `options` as the answer to each of `questions`, in nats, `[questions][options]`.
    ///
    /// # Errors
    ///
    /// When a question does not fit the model, or `reader` is an expert that is not there.
    fn classify(
        &mut self,
        questions: &[String],
        options: &[&str],
        reader: Reader,
    ) -> Result<Vec<Vec<f32>>, DispatchError>;

    /// Number of labelled examples at hand.
    fn shots(&self) -> usize;

    /// Worth of each mixture of `population` on the labelled examples `shots`, `[population]`.
    ///
    /// # Errors
    ///
    /// When an example does not fit the model or cannot be graded.
    fn fitness(&mut self, population: &[Mixture], shots: &[usize]) -> Result<Vec<Fitness>, DispatchError>;
}
