//! Chat templates give the text that transformers gives, in the style of each family, and none runs away.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use t2_model::Message;
use t2_model::text::{ChatOptions, ChatTemplate};

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

/// What `golden/make_templates.py` writes.
#[derive(serde::Deserialize)]
struct Families {
    special: Map<String, Value>,
    conversations: Vec<Conversation>,
    rendered: BTreeMap<String, Family>,
}

/// Whose templates are looked at.
#[derive(PartialEq)]
enum Origin {
    /// Our own.
    Ours,
    /// Of real models. Where transformers refuses, such as to go through tools that are none, we may not. And where they
    /// add text to what `safe` returns, Jinja escapes the text for HTML, which nobody means.
    Real,
}

/// Expect the texts of every conversation by every template in the file at `path`.
#[track_caller]
fn check_all(path: &Path, origin: Origin) {
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
                (_, None) if origin == Origin::Real => {}
                (Ok(_), Some(text)) if origin == Origin::Real && text.contains("&#34;") => {}
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
    check_all(&golden(), Origin::Ours);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test asks for its data through the environment")]
fn real_templates_too() {
    match std::env::var_os("T2_TOKENIZERS").map(|dir| Path::new(&dir).join("chats.json")).filter(|path| path.exists()) {
        Some(path) => check_all(&path, Origin::Real),
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
    check_refused(&format!("{range}{{% for a in r %}}{{% for b in r %}}{{% endfor %}}{{% endfor %}}"), "--raw");
    check_refused(&format!("{range}{{% set x = 'x' * 9999 %}}{{% for a in r %}}{{{{ x }}}}{{% endfor %}}"), "bytes");
}

/// Expect `change`, done over and over to `ns.x`, to be refused for what it makes. It begins as `start`.
#[track_caller]
fn check_grows(start: &str, change: &str) {
    let source = format!("{{% set ns = namespace(x={start}) %}}{{% for i in range(99999) %}}{change}{{% endfor %}}");
    check_refused(&source, "grew in circles");
}

#[test]
fn texts_and_lists_that_grow_without_end_are_refused() {
    for expression in [
        "ns.x ~ ns.x",
        "ns.x + ns.x",
        "ns.x * 2",
        "3 * ns.x",
        "[ns.x, ns.x] | join",
        "ns.x.join([ns.x, ns.x, ns.x])",
        "ns.x | replace('a', 'aa')",
        "ns.x.replace('a', 'aa')",
        "'%s%s' % (ns.x, ns.x)",
        "'{0}{0}'.format(ns.x)",
        "(ns.x ~ '<') | e",
        "(ns.x ~ '<') | urlencode | urlencode",
        "[ns.x, ns.x] | string",
        "[ns.x, ns.x] | tojson",
        "(ns.x ~ '\\na') | indent(9)",
        "(ns.x ~ ns.x) if ns.x else ''",
        "f(ns.x)",
    ] {
        let twice = "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}";
        check_grows("'aaaaaaaaaaaaaaaa'", &format!("{twice}{{% set ns.x = {expression} %}}"));
    }
    for expression in [
        "ns.x + ns.x",
        "ns.x * 2",
        "[ns.x, ns.x]",
        "(ns.x, ns.x)",
        "{1: ns.x, 2: ns.x}",
        "dict(a=ns.x, b=ns.x)",
        "[1] | batch(9, ns.x) | list",
        "(ns.x | map('string') | list) + ns.x",
    ] {
        check_grows("[1]", &format!("{{% set ns.x = {expression} %}}"));
    }
    check_grows("[1]", "{% set ns.x = ns.x, ns.x %}");
    check_grows("'a'", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}");
    let text = "text ".repeat(99);
    check_grows("'a'", &format!("{{% set y %}}{{% for j in range(9999) %}}{text}{{% endfor %}}{{% endset %}}"));
    check_grows("[]", "{% set ns.x = ns.x + ['a' * 9999 ~ i] %}");
}

#[test]
fn what_is_nested_or_long_beyond_use_is_refused() {
    let deep =
        |change: &str| format!("{{% set ns = namespace(x=[1]) %}}{{% for i in range(99999) %}}{change}{{% endfor %}}");
    check_refused(&deep("{% set ns.x = [ns.x] %}"), "deep");
    check_refused(&deep("{% set ns.x = namespace(x=ns.x) %}"), "deep");
    check_refused(&deep("{% set ns.x = ns.x | batch(1) | list %}"), "deep");
    check_refused("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns | upper }}", "deep");
    check_refused("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns in 'a' }}", "deep");
    check_refused("{{ ([1] * 10 ** 12) | list }}", "grew in circles");
    check_refused("{{ ([1, 2] * 9223372036854775807) | length }}", "grew in circles");
    check_refused("{{ range(10 ** 9) | list }}", "too many");
}

#[test]
fn numbers_that_cannot_be_reckoned_with_are_refused() {
    check_refused("{{ 1 is divisibleby(0) }}", "divisible by 0");
    check_refused("{{ true is divisibleby(false) }}", "divisible by 0");
    check_refused("{{ 1.5 is divisibleby(0.0) }}", "divisible by 0");
    check_refused("{{ 'a' is divisibleby(2) }}", "divisible");
    check_refused("{{ [1] | batch(10 ** 15) }}", "grew in circles");
    check_refused("{{ [1] | batch(10 ** 9, 'x') }}", "grew in circles");
    check_refused("{{ [1] | slice(10 ** 12) }}", "grew in circles");
    check_refused("{{ [1] | slice(0) }}", "0");
    check_refused("{{ range(2 ** 62, -(2 ** 62), -1) }}", "range");
    check_refused("{{ range(0, 5, -(2 ** 63)) }}", "range");
    check_refused("{{ 1 // 0 }}", "");
    check_refused("{{ 1 % 0 }}", "");
    check_refused("{{ 'a' | center(10 ** 15) }}", "");
    check_refused("{{ 'a\nb' | indent(10 ** 15) }}", "");
    check_refused("{{ {'a': 1} | tojson(indent=10 ** 15) }}", "");
    check_refused("{{ '%999999999999d' % 1 }}", "");
    check_refused("{{ 'a'.zfill(10 ** 15) }}", "");
    for (source, text) in [
        (
            "{{ [6 is divisibleby(3), 7 is divisibleby(3), -6 is divisibleby(-1), 1.5 is divisibleby(0.5)] }}",
            "[True, False, True, True]",
        ),
        ("{{ [1, 2, 3] | batch(2) | list }}", "[[1, 2], [3]]"),
        ("{{ range(3, 0, -2) | list }}", "[3, 1]"),
    ] {
        let rendered = ChatTemplate::new(source, Map::new()).render(&[Message::user("a")], &ChatOptions::default());
        assert_eq!(rendered.unwrap(), text, "{source}");
    }
}

#[test]
fn ordinary_texts_are_formatted() {
    let options = ChatOptions::default();
    for (source, text) in [
        (r#"{{ '%s {"id": 1234567}' % messages[0].content }}"#, r#"a {"id": 1234567}"#),
        ("{{ '{}: 100% 12345678'.format(messages[0].content) }}", "a: 100% 12345678"),
        ("{{ '100%% 12345678d %s' % messages[0].content }}", "100% 12345678d a"),
    ] {
        assert_eq!(ChatTemplate::new(source, Map::new()).render(&[Message::user("a")], &options).unwrap(), text);
    }
}

#[test]
fn a_long_conversation_is_no_text_that_grows() {
    let template = "{% set ns = namespace(all='', last=[]) %}{% for m in messages %}{% set ns.all = m.content ~ '!' %}\
                    {% set ns.last = ns.last + [m] %}{{ m.role ~ ': ' ~ (m.content | trim) + '\\n' }}{% endfor %}";
    let messages = vec![Message::user("word ".repeat(500)); 2000];
    let text = ChatTemplate::new(template, Map::new()).render(&messages, &ChatOptions::default()).unwrap();
    assert_eq!(text.lines().count(), messages.len());
}

/// `source` with a few characters changed, cut out, or put where others are.
fn damaged(source: &str, rng: &mut ChaCha8Rng) -> String {
    let mut chars: Vec<char> = source.chars().collect();
    for _ in 0..rng.random_range(1..8) {
        let [from, to] = [(); 2].map(|()| rng.random_range(0..chars.len()));
        let length = rng.random_range(1..12).min(chars.len() - from);
        match rng.random_range(0..4) {
            0 => chars[from] = chars[to],
            1 if length < chars.len() => drop(chars.drain(from..from + length)),
            2 => chars.extend_from_within(from..from + length),
            _ => {
                let part = chars[from..from + length].to_vec();
                drop(chars.splice(to..to, part));
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_templates_are_refused_or_read() {
    let Families { special, conversations, rendered } =
        serde_json::from_slice(&std::fs::read(golden()).unwrap()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for Family { template, .. } in rendered.values() {
        for Conversation { messages, tools, variables } in &conversations {
            let options = ChatOptions { tools: tools.clone(), variables: variables.clone() };
            let template = ChatTemplate::new(&damaged(template, &mut rng), special.clone());
            // Either is fine; it must come back.
            let _ = template.render(messages, &options);
        }
    }
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
    check_refused("{{ 'a' * 1000000000000 }}", "template was stopped");
    check_refused("{{ 'a'.ljust(1000000000000) }}", "template failed");
    check_refused("{{ '%999999999999d' % 1 }}", "template failed");
    check_refused("{{ '{:>999999999999}'.format(1) }}", "template failed");
    check_refused("{{ range(1000000000000) | list }}", "template failed");
}
