//! Chat templates give the text that transformers gives, in the style of each family, and none runs away.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use t2_model::Message;
use t2_model::text::{ChatOptions, ChatTemplate};

/// Templates that add text to what `safe` returns. Jinja escapes the text for HTML then (`&#34;`), which nobody means.
const MARKUP: [&str; 3] = ["v3.jinja", "v3_spm.jinja", "meetkai-functionary-medium-v3.1.jinja"];

#[derive(serde::Deserialize)]
struct Conversation {
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    variables: Map<String, Value>,
}

#[derive(serde::Deserialize)]
struct Family {
    template: String,
    /// Of each conversation, `None` where transformers refuses.
    texts: Vec<Option<String>>,
}

/// What golden/make_templates.py writes.
#[derive(serde::Deserialize)]
struct Families {
    special: Map<String, Value>,
    conversations: Vec<Conversation>,
    rendered: BTreeMap<String, Family>,
}

/// What is expected of a conversation that transformers refuses.
#[derive(PartialEq)]
enum Refused {
    /// An error.
    Too,
    /// Nothing: real templates stumble there by accident, such as over tools that are none.
    Whatever,
}

/// Expect the texts of every conversation by every template in the file at `path`, but for templates that are `excepted`.
#[track_caller]
fn check_all(path: &Path, refused: Refused, excepted: &[&str]) {
    let Families { special, conversations, rendered } = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut wrong = vec![];
    for (name, Family { template, texts }) in rendered {
        let template = ChatTemplate::new(&template, special.clone());
        assert_eq!(texts.len(), conversations.len());
        for (at, (conversation, expected)) in conversations.iter().zip(texts).enumerate() {
            let options = ChatOptions { tools: conversation.tools.clone(), variables: conversation.variables.clone() };
            match (template.render(&conversation.messages, &options), expected) {
                (Ok(ours), Some(text)) if ours == text => {}
                (Err(_), None) => {}
                (_, None) if refused == Refused::Whatever => {}
                _ if excepted.contains(&name.as_str()) => {}
                (ours, expected) => wrong.push(format!("{name}, conversation {at}: {ours:?}, not {expected:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families.json")
}

#[test]
fn conversations_are_written_as_by_transformers() {
    check_all(&golden(), Refused::Too, &[]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test asks for its data through the environment")]
fn real_templates_too() {
    match std::env::var_os("T2_TOKENIZERS").map(|dir| Path::new(&dir).join("chats.json")).filter(|path| path.exists()) {
        Some(path) => check_all(&path, Refused::Whatever, &MARKUP),
        None => println!("skipped: set T2_TOKENIZERS to what golden/make_templates.py --real has written"),
    }
}

#[test]
fn messages_and_objects_are_written_alike() {
    let template =
        ChatTemplate::new("{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}{{ tools }}", Map::new());
    let options = ChatOptions::default();
    let text = template.render(&[Message::user("a"), Message::assistant("b")], &options).unwrap();
    assert_eq!(text, "user: a;assistant: b;None");
    let objects = [json!({ "role": "user", "content": "a" }), json!({ "role": "assistant", "content": "b" })];
    assert_eq!(template.render(&objects, &options).unwrap(), text);
}

/// Expect `source` to fail with an error that says `why`.
#[track_caller]
fn check_refused(source: &str, why: &str) {
    let error =
        ChatTemplate::new(source, Map::new()).render(&[Message::user("a")], &ChatOptions::default()).unwrap_err();
    assert!(error.to_string().contains(why), "{source:.60}: {error}");
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let range = "{% set r = range(9999) %}";
    check_refused(&format!("{range}{{% for a in r %}}{{% for b in r %}}{{% endfor %}}{{% endfor %}}"), "steps");
    check_refused("{% macro f(x) %}{{ f(x + 1) }}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}", "");
    check_refused("{% for a in [1] recursive %}{{ loop([a]) }}{% endfor %}", "");
    check_refused(&format!("{range}{{% set x = 'x' * 9999 %}}{{% for a in r %}}{{{{ x }}}}{{% endfor %}}"), "bytes");
}

#[test]
fn long_expressions_are_read() {
    let (terms, branches) = (300, 300);
    for (chain, text) in [("1 + ", "301"), ("a or ", "1"), ("'' ~ ", "1"), ("not not ", "True")] {
        let source = ["{% set a = 1 %}{{ ", &chain.repeat(terms), "1 }}"].concat();
        assert_eq!(
            ChatTemplate::new(&source, Map::new()).render(&[] as &[Value], &ChatOptions::default()).unwrap(),
            text
        );
    }
    let source = ["{% if a %}", &"{% elif a %}".repeat(branches), "{% else %}x{% endif %}"].concat();
    let text = ChatTemplate::new(&source, Map::new()).render(&[] as &[Value], &ChatOptions::default()).unwrap();
    assert_eq!(text, "x");
}

#[test]
fn a_template_that_is_none_is_an_error() {
    for source in
        ["{{", "{%", "{#", "{{ 'a", "{% for %}", "{% endfor %}", "{% if %}", "{{ a..b }}", "{% raw %}{{", "{{ '\\x' }"]
    {
        check_refused(source, "template failed");
    }
    let deep = 20_000;
    check_refused(&["{{ ", &"(".repeat(deep), "1", &")".repeat(deep), " }}"].concat(), "template failed");
    check_refused(&["{% if a %}".repeat(deep), "{% endif %}".repeat(deep)].concat(), "template failed");
    check_refused(&["{{ ", &"-".repeat(deep), "1 }}"].concat(), "template failed");
    check_refused(&["{{ a", &"[0".repeat(deep)].concat(), "template failed");
    check_refused(&["{% if a %}", &"{% elif a %}".repeat(deep), "{% endif %}"].concat(), "elif");
    for chain in ["-", "not ", "a + ", "a.", "a|e|", "a and ", "a ~ ", "a if a else ", "a < ", "2 ** "] {
        check_refused(&["{{ ", &chain.repeat(deep), "a }}"].concat(), "template failed");
    }
    check_refused("{{ 'a' * 1000000000000 }}", "template failed");
    check_refused("{{ 'a'.ljust(1000000000000) }}", "template failed");
    check_refused("{{ '%999999999999d' % 1 }}", "template failed");
    check_refused("{{ '{:>999999999999}'.format(1) }}", "template failed");
    check_refused("{{ range(1000000000000) | list }}", "template failed");
}
