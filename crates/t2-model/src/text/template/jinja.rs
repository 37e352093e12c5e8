//! Jinja as transformers sets it up, on minijinja.

use chrono::Local;
use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use minijinja_contrib::globals::{cycler, joiner};

use super::python::text;
use super::{date, filters, methods};

/// Steps after which a template is stopped, some seconds. The longest conversation that a model can read takes a
/// hundredth of them.
pub(super) const MAX_STEPS: u64 = 20_000_000;

/// The environment that chat templates are rendered in.
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_fuel(Some(MAX_STEPS));
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(|out, _, value| Ok(out.write_str(&text(value)?)?));
    env.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    env.add_function("strftime_now", |format: &str| date::strftime(format, &Local::now()));
    env.add_function("cycler", |items: Rest<Value>| cycler(items.0));
    env.add_function("joiner", joiner);
    filters::add(&mut env);
    env
}
