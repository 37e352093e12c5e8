//! A strategy in one file, and a run of it on a tiny random model: the recipe of `docs/recipes.md`.
//!
//! `cargo run --package t2-dispatch --example new_strategy`

use t2_dispatch::{Choice, DispatchError, ExpertPool, Oracle, Query, Registered, Strategy};

/// What the registry lists.
pub const ENTRY: Registered = Registered {
    name: "named",
    about: "the expert that the prompt names",
    is_base: false,
    needs_examples: false,
    build: |_| Box::new(Named),
};

/// The first expert whose name occurs in the prompt; the base model where none does.
pub struct Named;

impl Strategy for Named {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn choose(
        &mut self,
        queries: &[Query],
        pool: &ExpertPool,
        _: &mut dyn Oracle,
    ) -> Result<Vec<Choice>, DispatchError> {
        let choose = |query: &Query| {
            let text = query.text();
            let named = pool.names().iter().position(|name| text.contains(name));
            Ok(pool.choice(named, vec![])?)
        };
        queries.iter().map(choose).collect()
    }
}

#[path = "../tests/suite/tiny.rs"]
mod tiny;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tiny = tiny::Tiny::new(&["math", "code"])?;
    let queries = [Query::user("write code"), Query::user("tell a story")];
    let mut strategy = (ENTRY.build)(&t2_dispatch::StrategyConfig::default());
    let passes = t2_dispatch::two_pass(&mut *strategy, &queries, &tiny.pool, &mut tiny.oracle(64))?;
    let labels: Vec<&str> = passes.answers.iter().map(|answer| answer.choice.label.as_str()).collect();
    assert_eq!(labels, ["code", "base"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_recipe_runs() {
        super::main().unwrap();
    }

    #[test]
    fn the_recipe_is_this_file() {
        let here = include_str!("new_strategy.rs");
        let (strategy, _) = here.split_once("\n#[path").unwrap();
        let (_, strategy) = strategy.split_once("\n\n").unwrap();
        assert!(include_str!("../../../docs/recipes.md").contains(strategy), "docs/recipes.md shows another strategy");
    }
}
