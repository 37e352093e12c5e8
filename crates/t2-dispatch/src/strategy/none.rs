//! No expert for anything: what the other strategies are compared with.

use crate::error::DispatchError;
use crate::oracle::Oracle;
use crate::pool::ExpertPool;
use crate::query::{Choice, Query};
use crate::strategy::{Registered, Strategy};

pub(super) const ENTRY: Registered = Registered {
    name: "none",
    about: "the base model, whatever the prompt",
    is_base: true,
    needs_examples: false,
    build: |_| Box::new(NoExperts),
};

/// The base model for every query.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExperts;

impl Strategy for NoExperts {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn choose(
        &mut self,
        queries: &[Query],
        pool: &ExpertPool,
        _: &mut dyn Oracle,
    ) -> Result<Vec<Choice>, DispatchError> {
        queries.iter().map(|_| Ok(pool.choice(None, vec![])?)).collect()
    }
}
