//! Prompt-based adaptation: the base model itself names the topic of the prompt (arXiv 2501.06252, section 3.2, A).

use crate::error::DispatchError;
use crate::oracle::{Oracle, Reader};
use crate::pool::ExpertPool;
use crate::query::{Choice, Query};
use crate::strategy::{Registered, Strategy, topic};

pub(super) const ENTRY: Registered = Registered {
    name: "prompt",
    about: "the base model names the topic",
    is_base: false,
    needs_examples: false,
    build: |_| Box::new(PromptBased),
};

/// The expert of the topic that the base model finds most likely; the base model for `other`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptBased;

impl Strategy for PromptBased {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn choose(
        &mut self,
        queries: &[Query],
        pool: &ExpertPool,
        oracle: &mut dyn Oracle,
    ) -> Result<Vec<Choice>, DispatchError> {
        topic::choose(queries, pool, oracle, Reader::Base)
    }
}
