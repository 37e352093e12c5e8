//! What the two passes may ask of the model: text and numbers, no tensors.

use std::ops::ControlFlow;

use t2_chat::Message;
use t2_model::adapter::Mixture;
use t2_model::generate::Completion;

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

/// What is to be answered, and under which experts.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The conversation, ending with a turn of the user.
    pub prompt: &'a [Message],
    /// Seed of the answer, where it is sampled.
    pub seed: u64,
    /// What it runs under.
    pub mixture: &'a Mixture,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The answer in text, without the token that ended it.
    pub text: String,
    /// The answer in token ids, with their log-probabilities and how it ended.
    pub completion: Completion,
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

    /// Refuse a prompt that [`answer`](Self::answer) would refuse: asked of all before the first pass looks at any.
    ///
    /// # Errors
    ///
    /// When a prompt does not fit the model.
    fn check(&mut self, prompts: &[&[Message]]) -> Result<(), DispatchError>;

    /// Answer every question under its own mixture. `on_token` sees each new token as `(question, id)` and may break
    /// off.
    ///
    /// # Errors
    ///
    /// When a question does not fit the model, and when `on_token` broke off.
    fn answer(
        &mut self,
        questions: &[Question<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Reply>, DispatchError>;
}
