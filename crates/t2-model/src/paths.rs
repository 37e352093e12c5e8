//! The dotted path of the parameter a module visitor stands at.

use std::fmt;

/// Path of nested module names, `blocks.0.mlp.up.weight`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// Descend into `name`.
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// Go back to the parent of the module entered last.
    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
