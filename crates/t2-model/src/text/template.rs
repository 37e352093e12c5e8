//! Chat templates: the Jinja programs that turn a conversation into the text a checkpoint was trained on.

mod arithmetic;
mod budget;
mod date;
mod filters;
mod format;
mod jinja;
mod json;
mod methods;
mod operators;
mod python;
mod slice;
mod source;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use minijinja::{Error, ErrorKind, context};
use serde::Serialize;
use serde_json::{Map, Value};

use super::tokenizer::{TokenizerError, read};
use super::vocabulary::beside::{Beside, CONFIG};
use budget::{Budget, Spent};
use jinja::{MAX_STEPS, environment};
use python::Shown;
use source::translate;

/// The longest text that a template may write. A million tokens are about a tenth of it.
const MAX_TEXT_BYTES: usize = 64 << 20;
/// The special tokens that templates may name.
const SPECIAL: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A chat template and the special tokens it may name.
///
/// It renders as in transformers, but for the filter `safe`: there, text that is joined to what `safe` returns is escaped
/// for HTML, which no template means, and here it is not.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    /// The Jinja program for minijinja, or what is wrong with it.
    program: Result<String, String>,
    special: Map<String, Value>,
    /// The file that it stands in, for messages.
    path: Option<PathBuf>,
}

/// What a conversation comes with, apart from its messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatOptions {
    /// Functions that the model may call, each described by a JSON schema in the way of its template. With none, a
    /// template sees no tools.
    pub tools: Vec<Value>,
    /// Names that a template reads beside these, such as `enable_thinking` of Qwen3.
    pub variables: Map<String, Value>,
}

impl ChatTemplate {
    /// The template in `source`. `special` are the texts of `bos_token`, `eos_token` and the like.
    pub fn new(source: &str, special: Map<String, Value>) -> Self {
        Self { source: source.to_owned(), program: translate(source), special, path: None }
    }

    /// The template `source` of the file at `path`.
    pub(super) fn of_file(source: &str, special: Map<String, Value>, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..Self::new(source, special) }
    }

    /// The template in `chat_template.jinja`, else in `tokenizer_config.json`, else `None`. The special tokens are those
    /// of the files `beside` the vocabulary in `dir`.
    pub(super) fn load(dir: &Path, beside: &Beside) -> Result<Option<Self>, TokenizerError> {
        let file = dir.join("chat_template.jinja");
        let (source, path) = match read(&file)? {
            Some(bytes) => (Some(String::from_utf8_lossy(&bytes).into_owned()), file),
            None => (default_template(&beside.config["chat_template"]), dir.join(CONFIG)),
        };
        let special = SPECIAL.iter().filter_map(|&name| Some((name.to_owned(), beside.token(name)?.into())));
        Ok(source.map(|source| Self::of_file(&source, special.collect(), &path)))
    }

    /// The text of `messages`, up to where the assistant answers. A message is a [`Message`](crate::Message), or any
    /// object with a `role` and what else the template reads, such as `name` and `tool_calls`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Template`] when the template refuses the conversation, or is none;
    /// [`TokenizerError::EndlessTemplate`] when it takes more steps or memory than any conversation needs.
    pub fn render(&self, messages: &[impl Serialize], options: &ChatOptions) -> Result<String, TokenizerError> {
        let path = || self.path.clone();
        let broken = |reason: &String| TokenizerError::Template { path: path(), reason: reason.clone() };
        let program = self.program.as_ref().map_err(broken)?;
        let messages: Vec<_> = messages.iter().map(shown).collect();
        let tools = (!options.tools.is_empty()).then(|| options.tools.iter().map(shown).collect::<Vec<_>>());
        let [special, variables] = [&self.special, &options.variables]
            .map(|names| names.iter().map(|(name, value)| (name, shown(value))).collect::<minijinja::Value>());
        let mut text = BoundedText::default();
        let render = || {
            let always = context! { messages, tools, documents => (), add_generation_prompt => true };
            let names = context! { ..variables, ..always, ..special };
            environment(&Budget::default()).template_from_str(program)?.render_captured_to(names, &mut text).map(drop)
        };
        render().map_err(|e| match limit(&e) {
            Some(reason) => TokenizerError::EndlessTemplate { path: path(), reason },
            None => TokenizerError::Template { path: path(), reason: e.to_string() },
        })?;
        Ok(String::from_utf8_lossy(&text.0).into_owned())
    }

    /// The Jinja program, as the checkpoint has it.
    pub fn source(&self) -> &str {
        &self.source
    }
}

fn shown(value: impl Serialize) -> minijinja::Value {
    Shown::wrap(minijinja::Value::from_serialize(value))
}

/// What a template has written, up to [`MAX_TEXT_BYTES`].
#[derive(Default)]
struct BoundedText(Vec<u8>);

impl Write for BoundedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which limit of ours `error` is about, in words; `None` when it is about something else.
fn limit(error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::WriteFailure => {
            Some(format!("it wrote more than {MAX_TEXT_BYTES} bytes, more than any model reads"))
        }
        ErrorKind::OutOfFuel => Some(format!("it was not done after {MAX_STEPS} steps, as if it ran in circles")),
        _ => Spent::cause_of(error).map(Spent::to_string),
    }
}

/// The template to use: `chat_template` is one, or a list of named ones with a `default`.
fn default_template(value: &Value) -> Option<String> {
    let named = || value.as_array()?.iter().find(|one| one["name"] == "default")?["template"].as_str();
    value.as_str().or_else(named).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use t2_chat::Message;

    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let special = serde_json::json!({ "bos_token": "<s>", "eos_token": "</s>" });
        ChatTemplate::new(source, special.as_object().unwrap().clone())
    }

    #[track_caller]
    fn check(source: &str, expected: &str) {
        let chat = [Message::user(" 1 < 2? "), Message::assistant("yes"), Message::user("'why'")];
        assert_eq!(template(source).render(&chat, &ChatOptions::default()).unwrap(), expected);
    }

    #[test]
    fn templates_render_as_in_transformers() {
        check("{{ bos_token }}{{ pad_token }}{% if tools %}no{% endif %}", "<s>");
        check(
            "{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m.content.strip() }}\n    {% endif %}\n{% endfor %}",
            "1 < 2?\n'why'\n",
        );
        check("a text of more than a few bytes: {{ messages[1].content }}", "a text of more than a few bytes: yes");
        check("{{ messages[::-1][0]['content'] | tojson }}", "\"'why'\"");
        check("{{ messages[0].content.split('<')[-1].lstrip() }}|{{ messages[1:] | length }}", "2? |2");
        check(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "3",
        );
        check("{{ strftime_now('%Y')[:2] }}{% if add_generation_prompt %}{{ eos_token }}{% endif %}", "20</s>");
    }

    #[test]
    fn a_template_can_refuse() {
        let error = template("{{ raise_exception('roles must alternate') }}")
            .render(&[] as &[Message], &ChatOptions::default())
            .unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn the_default_of_several_templates_is_taken() {
        let list = serde_json::json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
        assert_eq!(default_template(&list).as_deref(), Some("b"));
        assert_eq!(default_template(&Value::Null), None);
    }
}
