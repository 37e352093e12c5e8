//! Classification expert: the question for the topic, put to an expert trained on it (arXiv 2501.06252, section
//! 3.2, B).

use crate::error::DispatchError;
use crate::oracle::{Oracle, Reader};
use crate::pool::ExpertPool;
use crate::query::{Choice, Query};
use crate::strategy::{Registered, Strategy, topic};

pub(super) const ENTRY: Registered = Registered {
    name: "classifier",
    about: "an expert trained on naming topics names the topic",
    is_base: false,
    needs_examples: false,
    build: |_| Box::new(Classifier),
};

/// The expert of the topic that the classification expert finds most likely; the base model for `other`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classifier;

impl Strategy for Classifier {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn choose(
        &mut self,
        queries: &[Query],
        pool: &ExpertPool,
        oracle: &mut dyn Oracle,
    ) -> Result<Vec<Choice>, DispatchError> {
        topic::choose(queries, pool, oracle, Reader::Classifier)
    }
}
