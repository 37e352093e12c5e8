//! Jinja as transformers sets it up, on minijinja.

use chrono::Local;
use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, functions};
use minijinja_contrib::globals::{cycler, joiner};

use super::budget::Budget;
use super::python::{refuse, text};
use super::{arithmetic, date, filters, methods, slice};

/// Steps after which a template is stopped, some seconds. The longest conversation that a model can read takes a
/// hundredth of them.
pub(super) const MAX_STEPS: u64 = 20_000_000;

/// Filters whose results may be large.
const MAKING: [&str; 32] = [
    "capitalize",
    "center",
    "e",
    "escape",
    "forceescape",
    "format",
    "indent",
    "join",
    "lines",
    "list",
    "lower",
    "map",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    slice::FILTER,
];
/// Filters whose results hold lists that were none before.
const NESTING: [&str; 5] = ["batch", "dictsort", "groupby", "items", "slice"];
/// Filters that make room for as many items as they are told.
const PARTING: [&str; 2] = ["batch", "slice"];
/// The largest number that a range may begin at, end at, or step by: sums of three of them are no overflow.
const MAX_RANGE: usize = isize::MAX as usize / 4;
/// Filters of minijinja's that write a list for themselves where they expect a text.
const OF_TEXT: [&str; 6] = ["capitalize", "lines", "lower", "safe", "split", "upper"];

/// The environment that a chat template is rendered in, which counts what it makes.
pub(super) fn environment(budget: &Budget) -> Environment<'static> {
    let uncounted = Arc::new(uncounted());
    let mut env = (*uncounted).clone();
    count_filters(&mut env, &uncounted, budget);
    arithmetic::add_to(&mut env, budget);
    let methods_budget = budget.clone();
    env.set_unknown_method_callback(move |state, value, method, args| {
        let made = methods::call(state, value, method, args)?;
        methods_budget.spend_on(&made)?;
        Ok(made)
    });
    let namespace_budget = budget.clone();
    env.add_function("namespace", move |names: Option<Value>| {
        names.as_ref().map_or(Ok(()), |names| namespace_budget.spend_on_all(names))?;
        functions::namespace(names)
    });
    let dict_budget = budget.clone();
    env.add_function("dict", move |value: Option<Value>, names: Kwargs| {
        let made = functions::dict(value, names)?;
        dict_budget.spend_on_all(&made).map(|()| made)
    });
    let written = budget.clone();
    env.set_formatter(move |out, _, value| {
        let text = text(value)?;
        written.spend(text.len())?;
        Ok(out.write_str(&text)?)
    });
    env
}

/// Replace filters of `env` by those of `uncounted` that also count what they make.
fn count_filters(env: &mut Environment<'static>, uncounted: &Arc<Environment<'static>>, budget: &Budget) {
    for name in MAKING.into_iter().chain(NESTING) {
        let (uncounted, budget) = (uncounted.clone(), budget.clone());
        env.add_filter(name, move |mut args: Rest<Value>| {
            if let Some(value) = args.first_mut().filter(|value| OF_TEXT.contains(&name) && value.as_object().is_some())
            {
                *value = text(value)?.into_owned().into();
            }
            if PARTING.contains(&name)
                && let Some(Ok(parts)) = args.get(1).map(|count| usize::try_from(count.clone()))
            {
                // Each part is a list, which takes more than an item.
                budget.spend_on_items(parts.saturating_mul(4))?;
            }
            let made = uncounted.empty_state().apply_filter(name, &args)?;
            if NESTING.contains(&name) { budget.spend_on_all(&made) } else { budget.spend_on(&made) }?;
            Ok::<_, Error>(made)
        });
    }
}

fn uncounted() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_fuel(Some(MAX_STEPS));
    env.add_function("raise_exception", |message: &Value| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text(message)?.into_owned()))
    });
    env.add_function("range", |lower: isize, upper: Option<isize>, step: Option<isize>| {
        let all = [Some(lower), upper, step];
        match all.into_iter().flatten().find(|number| number.unsigned_abs() > MAX_RANGE) {
            Some(number) => Err(refuse(format!("a range has {number}, expected at most {MAX_RANGE} either way"))),
            None => functions::range(lower, upper, step),
        }
    });
    // Jinja has none of these. What they make is not counted.
    env.remove_global("debug");
    env.remove_filter("chain");
    env.remove_filter("zip");
    env.add_function("strftime_now", |format: &str| date::strftime(format, &Local::now()));
    env.add_function("cycler", |items: Rest<Value>| cycler(items.0));
    env.add_function("joiner", joiner);
    filters::add(&mut env);
    env
}
